//! `hm plugin list` and `hm plugin info`: what there is and what it may do.

use std::fmt::Write;

use hm_plugin_protocol::Capability;

use super::error::CliError;
use super::{Loaded, heard, load_plugins, print, warn};
use crate::plugin::{Plugin, one_line};
use crate::sandbox::{Decision, TABLE};
use crate::sys::System;

/// One line for each plugin.
pub(super) async fn list() -> Result<u8, CliError> {
    let Loaded { plugins, listener, .. } = load_plugins(&System::read()?, false).await?;
    let mut text = String::new();
    for plugin in &plugins.loaded {
        let provides: Vec<String> = plugin.manifest.capabilities.iter().map(provides).collect();
        let version = plugin.manifest.version.to_string();
        let _ = writeln!(
            text,
            "{:<12} {:<8} {:<28} {}",
            plugin.name,
            version,
            provides.join(", "),
            plugin.origin
        );
    }
    print(&text)?;
    for broken in &plugins.broken {
        warn(&one_line(broken));
    }
    drop(plugins);
    heard(listener).await;
    Ok(0)
}

/// All that is known of one plugin.
pub(super) async fn info(name: &str) -> Result<u8, CliError> {
    let Loaded { plugins, listener, .. } = load_plugins(&System::read()?, false).await?;
    let described = plugins.named(name).map(|plugin| describe(plugin));
    let broken: Vec<String> = plugins.broken.iter().map(|broken| one_line(broken)).collect();
    let known = plugins.loaded.iter().map(|p| p.name.to_string()).collect();
    drop(plugins);
    heard(listener).await;
    if let Some(text) = described {
        return print(&text);
    }
    for broken in &broken {
        warn(broken);
    }
    Err(CliError::NoSuchPlugin { name: name.into(), known })
}

fn provides(capability: &Capability) -> String {
    match capability {
        Capability::StepExecutor(spec) if spec.default => format!("runner {} (default)", spec.runner),
        Capability::StepExecutor(spec) => format!("runner {}", spec.runner),
        Capability::OutputFormatter(spec) => format!("format {}", spec.name),
        Capability::LifecycleHook(_) => "lifecycle hook".into(),
        Capability::Subcommand(spec) => format!("command {}", spec.verb),
    }
}

fn describe(plugin: &Plugin) -> String {
    let manifest = &plugin.manifest;
    // The plugin's own words must not pass for ours.
    let own = |text: &str| text.replace(char::is_control, " ");
    let list = |items: Vec<String>| {
        if items.is_empty() { "nothing".to_owned() } else { items.join("\n             ") }
    };
    let asked = manifest.required_host_fns.iter().map(|name| {
        let function = TABLE.iter().find(|f| f.name == name);
        match function.map(|f| plugin.policy.function(f)) {
            Some(Decision::Allowed) => format!("{name} (granted)"),
            _ => format!("{name} (not granted)"),
        }
    });
    [
        ("name", manifest.name.clone()),
        ("version", manifest.version.to_string()),
        ("about", own(&manifest.description)),
        ("origin", plugin.origin.to_string()),
        ("sha256", plugin.digest.clone()),
        ("provides", list(manifest.capabilities.iter().map(provides).collect())),
        ("asks for", list(asked.collect())),
        ("hosts", list(manifest.allowed_hosts.iter().map(|h| own(h)).collect())),
    ]
    .into_iter()
    .fold(String::new(), |mut text, (label, value)| {
        let _ = writeln!(text, "{:<12} {value}", format!("{label}:"));
        text
    })
}
