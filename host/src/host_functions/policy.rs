//! Policy of one plugin: what its manifest asks for, as far as the user granted it. `plugin` reads and writes the
//! grants; whoever holds a [`Policy`] enforces it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hm_abi::AllowedHosts;
use hm_plugin_protocol::PluginManifest;

use super::call_rules::RequiredGrant;

/// Grants of the user to one plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// Host functions; each does something only if the manifest asks for it too.
    pub functions: BTreeSet<String>,
    /// Entries of `allowed_hosts`, as the manifest writes them; each counts only if the manifest has it too.
    pub reach: BTreeSet<String>,
    /// Names that were granted although no manifest asks for them: host functions, and `keyring:SERVICE` for the
    /// entries that other programs keep under a service.
    pub by_name: BTreeSet<String>,
}

impl Grants {
    /// Everything that a manifest asks for.
    #[must_use]
    pub(crate) fn all_of(manifest: &PluginManifest) -> Self {
        Self {
            functions: manifest.required_host_fns.iter().cloned().collect(),
            reach: manifest.allowed_hosts.iter().cloned().collect(),
            by_name: BTreeSet::new(),
        }
    }

    /// These grants, without those in `denied`.
    #[must_use]
    pub(crate) fn without(mut self, denied: &BTreeSet<String>) -> Self {
        for set in [&mut self.functions, &mut self.reach, &mut self.by_name] {
            set.retain(|granted| !denied.contains(granted));
        }
        self
    }
}

/// Directories in which no plugin may ever write: hooks and settings in them make other programs run commands.
const TOOLS: [&str; 3] = [".git", ".hm", ".harmont"];

/// One entry of `allowed_hosts`, and what it opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AccessEntry {
    /// HTTP requests, by the rules of [`AllowedHosts`].
    Host(String),
    /// Connections to the unix socket at this absolute path.
    Socket(PathBuf),
    /// A directory of the project, as a path relative to it, that the plugin sees as `/PATH`.
    Directory {
        /// The path, without `.`, `..` or a root.
        path: PathBuf,
        /// True if the plugin may change what is in it.
        writable: bool,
    },
    /// Nothing: this host does not understand it. Manifests for other hosts may hold anything.
    Unknown,
}

impl AccessEntry {
    /// Meaning of an entry of a manifest.
    #[must_use]
    pub(crate) fn parse(entry: &str) -> Self {
        if let Some(path) = entry.strip_prefix("unix:") {
            let path = Path::new(path);
            return if path.is_absolute() { Self::Socket(path.into()) } else { Self::Unknown };
        }
        for (prefix, writable) in [("dir:", false), ("dir+rw:", true)] {
            if let Some(path) = entry.strip_prefix(prefix) {
                let path = Path::new(path);
                let inside = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
                // Whoever writes there can make git, or hm, run anything.
                let tool = path.iter().any(|part| TOOLS.iter().any(|tool| part == *tool));
                return if inside && !(writable && tool) && path.components().next().is_some() {
                    Self::Directory { path: path.into(), writable }
                } else {
                    Self::Unknown
                };
            }
        }
        let understood = AllowedHosts::parse([entry]).is_ok();
        if understood { Self::Host(entry.to_owned()) } else { Self::Unknown }
    }
}

/// Answer to whether a plugin may call a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// It may call the function.
    Allowed,
    /// Its manifest does not ask for it.
    NotAsked,
    /// Its manifest asks for it, and the user has not granted it.
    NotGranted,
    /// Its manifest asks for it, and a `plugins.toml` takes it away.
    Denied,
}

/// Policy of one plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    asked: BTreeSet<String>,
    grants: Grants,
    denied: BTreeSet<String>,
    reach: BTreeSet<String>,
}

impl Policy {
    /// Policy of a plugin: asked for by `manifest`, given by `grants`, and not listed in `denied`.
    #[must_use]
    pub fn new(manifest: &PluginManifest, grants: Grants, denied: &BTreeSet<String>) -> Self {
        let grants = grants.without(denied);
        let asked = |entry: &&String| manifest.allowed_hosts.contains(entry);
        Self {
            asked: manifest.required_host_fns.iter().cloned().collect(),
            reach: grants.reach.iter().filter(asked).cloned().collect(),
            denied: denied.clone(),
            grants,
        }
    }

    /// Policy of a module that has no manifest: only what it was granted by name.
    #[must_use]
    pub fn by_name(by_name: BTreeSet<String>) -> Self {
        Self { grants: Grants { by_name, ..Grants::default() }, ..Self::default() }
    }

    /// The same policy, with these entries of `allowed_hosts` in force.
    #[must_use]
    pub(crate) fn with_access(self, reach: BTreeSet<String>) -> Self {
        Self { reach, ..self }
    }

    /// The plugin's right to call the function of this name, for which this grant is needed.
    #[must_use]
    pub fn permission(&self, name: &str, needed: RequiredGrant) -> Permission {
        if self.grants.by_name.contains(name) {
            return Permission::Allowed;
        }
        if !self.asked.contains(name) {
            return Permission::NotAsked;
        }
        if self.denied.contains(name) {
            return Permission::Denied;
        }
        if needed == RequiredGrant::None || self.grants.functions.contains(name) {
            Permission::Allowed
        } else {
            Permission::NotGranted
        }
    }

    /// The entries of `allowed_hosts` that are in force.
    pub(crate) fn access_entries(&self) -> impl Iterator<Item = (&str, AccessEntry)> {
        self.reach.iter().map(|entry| (entry.as_str(), AccessEntry::parse(entry)))
    }

    /// True if the plugin may use the keyring entries that all programs share under this service, and not only its own.
    #[must_use]
    pub(crate) fn shares_keyring(&self, service: &str) -> bool {
        self.grants.by_name.contains(&format!("keyring:{service}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn manifest(functions: &[&str], hosts: &[&str]) -> PluginManifest {
        let value = serde_json::json!({
            "api_version": 1, "name": "p", "version": "1.0.0", "description": "", "capabilities": [],
            "required_host_fns": functions, "allowed_hosts": hosts, "config_schema": null,
        });
        serde_json::from_value(value).expect("a manifest")
    }

    #[test]
    fn what_works_is_asked_and_granted_or_granted_by_name() {
        let asks = manifest(&["hm_log", "hm_sandbox_start"], &[]);
        let nothing = manifest(&[], &[]);
        let none = BTreeSet::new();
        let all = Grants { functions: set(&["hm_log", "hm_sandbox_start"]), ..Grants::default() };
        let by_name = Grants { by_name: set(&["hm_sandbox_start"]), ..Grants::default() };
        let decide = |manifest, grants: &Grants, denied: &BTreeSet<String>| {
            let policy = Policy::new(manifest, grants.clone(), denied);
            (
                policy.permission("hm_log", RequiredGrant::None),
                policy.permission("hm_sandbox_start", RequiredGrant::Function),
            )
        };
        use Permission::{Allowed, Denied, NotAsked, NotGranted};
        assert_eq!(decide(&asks, &all, &none), (Allowed, Allowed));
        assert_eq!(decide(&asks, &Grants::default(), &none), (Allowed, NotGranted), "hm_log is harmless");
        assert_eq!(decide(&nothing, &all, &none), (NotAsked, NotAsked));
        assert_eq!(decide(&nothing, &by_name, &none), (NotAsked, Allowed));
        let denied = set(&["hm_log", "hm_sandbox_start"]);
        assert_eq!(decide(&asks, &all, &denied), (Denied, Denied));
        assert_eq!(decide(&nothing, &by_name, &denied), (NotAsked, NotAsked));
    }

    #[test]
    fn reach_is_what_manifest_and_user_both_name() {
        let asks = manifest(&[], &["a.example", "unix:/run/x.sock"]);
        let grants = Grants { reach: set(&["a.example", "b.example"]), ..Grants::default() };
        let policy = Policy::new(&asks, grants.clone(), &BTreeSet::new());
        assert_eq!(
            policy.access_entries().collect::<Vec<_>>(),
            [("a.example", AccessEntry::Host("a.example".into()))]
        );
        assert_eq!(Policy::new(&asks, grants, &set(&["a.example"])).access_entries().count(), 0);
    }

    #[test]
    fn entries_of_every_kind() {
        assert_eq!(AccessEntry::parse("unix:/run/x.sock"), AccessEntry::Socket("/run/x.sock".into()));
        assert_eq!(
            AccessEntry::parse("dir:docs"),
            AccessEntry::Directory { path: "docs".into(), writable: false }
        );
        assert_eq!(
            AccessEntry::parse("dir:.git"),
            AccessEntry::Directory { path: ".git".into(), writable: false }
        );
        assert_eq!(
            AccessEntry::parse("dir+rw:a/b"),
            AccessEntry::Directory { path: "a/b".into(), writable: true }
        );
        assert_eq!(AccessEntry::parse("*.example.com"), AccessEntry::Host("*.example.com".into()));
        for entry in [
            "unix:x",
            "unix:",
            "dir:",
            "dir:/etc",
            "dir:..",
            "dir:a/../..",
            "dir+rw:./a",
            "dir+rw:.git",
            "dir+rw:a/.hm/b",
            "a b",
            "",
        ] {
            assert_eq!(AccessEntry::parse(entry), AccessEntry::Unknown, "{entry}");
        }
    }
}
