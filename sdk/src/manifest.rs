//! Helpers that write manifests: `manifest!`, and with feature `clap` also `clap_json_from`.
//! The manifest's types belong to the protocol; what is granted of it, to the host.

pub use hm_plugin_protocol::manifest::*;
use hm_plugin_protocol::{HM_PLUGIN_API_VERSION, semver};
pub use hm_plugin_protocol::{HookEventKind, HookPhase};

#[cfg(any(feature = "clap", test))]
mod clap_json;
#[cfg(any(feature = "clap", test))]
pub use clap_json::clap_json_from;

/// Makes a [`PluginManifest`].
///
/// | field | form | if it is left out |
/// |---|---|---|
/// | `name` | string | the package's name |
/// | `version` | [`semver::Version`] | the package's version |
/// | `description` | string | the package's description |
/// | `capabilities` | list of [`Capability`] | none |
/// | `required_host_fns` | list of `&str` | none |
/// | `config_schema` | [`JsonSchema`] | none |
/// | `allowed_hosts` | list of `&str` | none |
///
/// The API version is always this SDK's.
///
/// ```
/// use hm_plugin_sdk::*;
///
/// let manifest = manifest! {
///     name: "ping",
///     required_host_fns: ["hm_write_stdout"],
///     allowed_hosts: ["example.com"],
/// };
/// assert_eq!(manifest.api_version, HM_PLUGIN_API_VERSION);
/// assert_eq!(manifest.allowed_hosts, ["example.com"]);
/// ```
#[macro_export]
macro_rules! manifest {
    ($($field:ident: $value:expr),* $(,)?) => {{
        #[allow(unused_mut)]
        let mut manifest = $crate::manifest::of_package(
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION"),
            env!("CARGO_PKG_DESCRIPTION"),
        );
        $($crate::__manifest_field!(manifest $field $value);)*
        manifest
    }};
}

/// Sets one field of a manifest from the short form that `manifest!` takes.
#[doc(hidden)]
#[macro_export]
macro_rules! __manifest_field {
    ($manifest:ident name $value:expr) => {
        $manifest.name = ::std::string::String::from($value)
    };
    ($manifest:ident version $value:expr) => {
        $manifest.version = $value
    };
    ($manifest:ident description $value:expr) => {
        $manifest.description = ::std::string::String::from($value)
    };
    ($manifest:ident capabilities $value:expr) => {
        $manifest.capabilities = ::std::vec::Vec::from($value)
    };
    ($manifest:ident required_host_fns $value:expr) => {
        $manifest.required_host_fns = $crate::manifest::strings($value)
    };
    ($manifest:ident config_schema $value:expr) => {
        $manifest.config_schema = ::core::option::Option::Some($value)
    };
    ($manifest:ident allowed_hosts $value:expr) => {
        $manifest.allowed_hosts = $crate::manifest::strings($value)
    };
}

/// The manifest of a package that provides nothing and asks for nothing.
#[doc(hidden)]
#[must_use]
pub fn of_package(name: &str, version: &str, description: &str) -> PluginManifest {
    #[expect(clippy::expect_used, reason = "cargo does not build a package whose version is none")]
    let version = semver::Version::parse(version).expect("the package's version");
    PluginManifest {
        api_version: HM_PLUGIN_API_VERSION,
        name: name.to_owned(),
        version,
        description: description.to_owned(),
        capabilities: Vec::new(),
        required_host_fns: Vec::new(),
        config_schema: None,
        allowed_hosts: Vec::new(),
    }
}

/// A list of strings, from literals.
#[doc(hidden)]
pub fn strings(list: impl IntoIterator<Item = &'static str>) -> Vec<String> {
    list.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use crate::*;

    #[test]
    fn a_manifest_defaults_to_its_package() {
        let manifest = manifest! {};
        assert_eq!(manifest.api_version, HM_PLUGIN_API_VERSION);
        assert_eq!(manifest.name, "hm-plugin-sdk");
        assert_eq!(manifest.version.to_string(), env!("CARGO_PKG_VERSION"));
        assert_eq!(manifest.description, env!("CARGO_PKG_DESCRIPTION"));
        assert_eq!(manifest.capabilities, []);
        assert_eq!(manifest.config_schema, None);
    }

    #[test]
    fn every_field_can_be_set() {
        let formatter = OutputFormatterSpec { name: "x".into(), mime: "text/x".into() };
        let manifest = manifest! {
            allowed_hosts: ["a.example", "unix:/run/x.sock"],
            config_schema: serde_json::json!({"type": "object"}),
            required_host_fns: ["hm_log"],
            capabilities: [Capability::OutputFormatter(formatter.clone())],
            description: "d",
            version: semver::Version::new(1, 2, 3),
            name: format!("n-{}", 1),
        };
        let expected = PluginManifest {
            api_version: HM_PLUGIN_API_VERSION,
            name: "n-1".into(),
            version: semver::Version::new(1, 2, 3),
            description: "d".into(),
            capabilities: vec![Capability::OutputFormatter(formatter)],
            required_host_fns: vec!["hm_log".into()],
            config_schema: Some(serde_json::json!({"type": "object"})),
            allowed_hosts: vec!["a.example".into(), "unix:/run/x.sock".into()],
        };
        assert_eq!(manifest, expected);
    }

    #[test]
    fn empty_lists_need_no_type() {
        let manifest = manifest! { capabilities: [], required_host_fns: [], allowed_hosts: [] };
        assert_eq!(manifest.required_host_fns, Vec::<String>::new());
    }
}
