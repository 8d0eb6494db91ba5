//! Checks what a plugin says of itself against what it can do and what exists here.

use hm_plugin_protocol::{Capability, HM_PLUGIN_API_VERSION, PluginManifest};
use serde::Serialize;
use serde_json::Value;

use super::CommandParser;
use crate::host_functions::required_but_unknown;
use crate::pipeline::Checker;

/// The commands of hm itself, which no plugin can take.
pub(crate) const OWN_COMMANDS: &[&str] =
    &["build", "cache", "completions", "help", "plan", "plugin", "run", "validate", "version", "why"];

/// Most verbs that one plugin may bring.
const MAX_VERBS: usize = 20;

/// Longest name of a plugin, runner, format or verb.
const MAX_NAME: usize = 64;

/// Most capabilities, and most entries of `allowed_hosts`, that somebody can agree to.
const MAX_SHOWN: usize = 64;

/// Longest entry of `allowed_hosts` that somebody can agree to.
const MAX_ENTRY: usize = 256;

/// True if a name may be used for files, on command lines and in messages: `[a-z0-9][a-z0-9-]{0,63}`.
pub(super) fn is_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=MAX_NAME).contains(&name.len()) && !name.starts_with('-') && name.bytes().all(inner)
}

/// Checks a manifest. `has_export` says whether the module has a function of that name.
///
/// # Errors
/// The fault, as the end of a sentence about the plugin.
pub fn check(manifest: &PluginManifest, has_export: impl Fn(&str) -> bool) -> Result<(), String> {
    if manifest.api_version != HM_PLUGIN_API_VERSION {
        return Err(format!(
            "it is of API version {}, and this hm knows {HM_PLUGIN_API_VERSION}",
            manifest.api_version
        ));
    }
    name("name", &manifest.name)?;
    // Modules without a name are called so, with what they keep.
    if manifest.name.starts_with("call-") {
        return Err(format!("its name {:?} begins with `call-`", manifest.name));
    }
    if let Some(unknown) = required_but_unknown(&manifest.required_host_fns) {
        return Err(format!("it asks for host function {unknown:?}, which this hm does not have"));
    }
    let mut verbs = 0;
    for capability in &manifest.capabilities {
        let (what, exports): (&str, &[&str]) = match capability {
            Capability::StepExecutor(spec) => {
                name("runner", &spec.runner)?;
                ("a step executor", &["hm_executor_run"])
            }
            Capability::OutputFormatter(spec) => {
                name("format", &spec.name)?;
                ("an output formatter", &["hm_output_on_event", "hm_output_finalize"])
            }
            Capability::LifecycleHook(_) => ("a lifecycle hook", &["hm_hook_on_event"]),
            Capability::Subcommand(spec) => {
                name("verb", &spec.verb)?;
                if OWN_COMMANDS.contains(&spec.verb.as_str()) {
                    return Err(format!("its verb `{}` is a command of hm itself", spec.verb));
                }
                verbs += 1;
                if verbs > MAX_VERBS {
                    return Err(format!("it brings more than {MAX_VERBS} verbs"));
                }
                CommandParser::read(spec).map_err(|e| e.to_string())?;
                ("a subcommand", &["hm_subcommand_run"])
            }
        };
        if let Some(missing) = exports.iter().find(|e| !has_export(e)) {
            return Err(format!("it claims to be {what} but exports no function {missing}"));
        }
    }
    Ok(())
}

/// One thing that a plugin provides, in a few words that two versions of it can be compared by: `runner x`.
#[must_use]
pub(crate) fn provided(capability: &Capability) -> String {
    match capability {
        Capability::StepExecutor(spec) if spec.default => format!("runner {} (default)", spec.runner),
        Capability::StepExecutor(spec) => format!("runner {}", spec.runner),
        Capability::OutputFormatter(spec) => format!("format {}", spec.name),
        Capability::LifecycleHook(spec) => {
            let mut events: Vec<String> = spec.events.iter().map(word).collect();
            events.sort();
            format!("hook {} {}", word(&spec.phase), events.join(", "))
        }
        Capability::Subcommand(spec) => format!("command {}", spec.verb),
    }
}

/// A value of the protocol that is one word there.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

/// Checks that a person can be shown all that a plugin wants, and that the schemas that it gives can be used.
///
/// # Errors
/// The fault, as the end of a sentence about the plugin.
pub(crate) fn check_for_installing(manifest: &PluginManifest) -> Result<(), String> {
    let (hosts, capabilities) = (&manifest.allowed_hosts, &manifest.capabilities);
    if hosts.len() > MAX_SHOWN || capabilities.len() > MAX_SHOWN {
        return Err(format!(
            "it has more than {MAX_SHOWN} capabilities or allowed hosts, and who would read them"
        ));
    }
    if let Some(host) = hosts.iter().find(|host| host.len() > MAX_ENTRY) {
        return Err(format!("an entry of its allowed hosts has {} bytes, more than {MAX_ENTRY}", host.len()));
    }
    let steps = manifest.capabilities.iter().filter_map(|capability| match capability {
        Capability::StepExecutor(spec) => {
            Some((format!("step_schema of {}", spec.runner), spec.step_schema.as_ref()?))
        }
        _ => None,
    });
    let config = manifest.config_schema.as_ref().map(|schema| ("config_schema".to_owned(), schema));
    for (what, schema) in steps.chain(config) {
        Checker::new(schema).map_err(|reason| format!("its {what} cannot be used: {reason}"))?;
    }
    Ok(())
}

fn name(what: &str, name: &str) -> Result<(), String> {
    if is_name(name) {
        return Ok(());
    }
    // Only the beginning: the name is the plugin's, and may be anything.
    let shown: String = name.chars().take(MAX_NAME).collect();
    Err(format!("its {what} {shown:?} is not of the form [a-z0-9][a-z0-9-]{{0,63}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(change: impl FnOnce(&mut serde_json::Value)) -> Result<(), String> {
        let mut value = serde_json::json!({
            "api_version": 1, "name": "demo", "version": "0.1.0", "description": "", "required_host_fns": ["hm_log"],
            "config_schema": null,
            "capabilities": [{"kind": "step_executor", "runner": "demo", "default": false, "step_schema": null}],
        });
        change(&mut value);
        check(&serde_json::from_value(value).expect("a manifest"), |export| export == "hm_executor_run")
    }

    #[test]
    fn manifests_that_lie_or_do_not_fit_are_refused() {
        assert_eq!(manifest(|_| ()), Ok(()));
        let error = |change: fn(&mut serde_json::Value)| manifest(change).expect_err("refused");
        assert_eq!(error(|m| m["api_version"] = 2.into()), "it is of API version 2, and this hm knows 1");
        assert!(
            error(|m| m["name"] = "../../x".into()).starts_with(r#"its name "../../x" is not of the form"#)
        );
        assert!(error(|m| m["name"] = "x".repeat(65).into()).contains("is not of the form"));
        assert!(error(|m| m["name"] = "".into()).contains("is not of the form"));
        assert!(error(|m| m["capabilities"][0]["runner"] = "A".into()).starts_with(r#"its runner "A""#));
        assert_eq!(
            error(|m| m["required_host_fns"] = serde_json::json!(["hm_root"])),
            r#"it asks for host function "hm_root", which this hm does not have"#
        );
        assert_eq!(
            error(|m| m["capabilities"] =
                serde_json::json!([{"kind": "output_formatter", "name": "x", "mime": ""}])),
            "it claims to be an output formatter but exports no function hm_output_on_event"
        );
        let verb = |verb: &str, schema: Value| {
            manifest(|m| {
                m["capabilities"] = serde_json::json!([{"kind": "subcommand", "verb": verb, "about": "",
                    "args_schema": schema, "subcommands": []}]);
            })
            .expect_err("refused")
        };
        assert_eq!(verb("build", Value::Null), "its verb `build` is a command of hm itself");
        assert_eq!(
            verb("deploy", serde_json::json!({"args": [{"id": "x", "takes": "flag"}]})),
            "its command `deploy` has an argument `x` that takes nothing and has no name"
        );
        assert_eq!(
            verb("deploy", Value::Null),
            "it claims to be a subcommand but exports no function hm_subcommand_run"
        );
    }
}
