//! `hm plugin list` and `hm plugin info`: what there is and what it may do. Both work whatever is wrong with the
//! plugins.

use std::fmt::Write;
use std::sync::Arc;

use hm_disk::one_line;
use serde_json::{Value, json};

use super::error::CliError;
use super::plugin_info::PluginInfo;
use super::plugin_loading::{Loaded, drain_diagnostics, isolated_loader, survey_plugins};
use super::plugin_text::{plain, provides};
use super::terminal_output::{print, print_json, warn};
use crate::host_functions::HostContext;
use crate::pipeline::find_project;
use crate::plugin::{Conflict, Location, Origin, Plugin, Plugins, Trust, UnloadedPlugin};
use crate::sys::System;

/// One line for each plugin.
pub(super) async fn list(as_json: bool) -> Result<u8, CliError> {
    survey(&System::read()?, |plugins| {
        if as_json {
            let list: Vec<Value> = plugins
                .loaded
                .iter()
                .map(|p| brief(p))
                .chain(plugins.unloaded.iter().map(absent_json))
                .collect();
            let conflicts: Vec<String> = plugins.conflicts.iter().map(ToString::to_string).collect();
            return print_json(
                &json!({"plugins": list, "conflicts": conflicts, "warnings": plugins.warnings}),
            );
        }
        print(&table(plugins))?;
        for warning in &plugins.warnings {
            warn(warning);
        }
        Ok(0)
    })
    .await
}

/// All that is known of one plugin, which is given by its name or as a file.
pub(super) async fn info(wanted: &str, as_json: bool) -> Result<u8, CliError> {
    let system = System::read()?;
    let show = |plugin: &Plugin, state, conflicts: &[Conflict]| {
        let info = PluginInfo::of(plugin, state, &system.config, conflicts);
        if as_json { print_json(&info) } else { print(&info.to_string()) }
    };
    if wanted.contains('/') || wanted.ends_with(".wasm") {
        let (plugin, state) = of_file(wanted, &system).await?;
        return show(&plugin, state, &[]);
    }
    survey(&system, |plugins| {
        if let Some(plugin) = plugins.named(wanted) {
            return show(plugin, "ready", &plugins.conflicts);
        }
        if let Some(unloaded) = plugins.unloaded.iter().find(|unloaded| unloaded.name == wanted) {
            return if as_json { print_json(&absent_json(unloaded)) } else { print(&absent_text(unloaded)) };
        }
        let known = plugins.loaded.iter().map(|plugin| plugin.name.to_string());
        let unloaded = plugins.unloaded.iter().map(|unloaded| plain(&unloaded.name));
        Err(CliError::NoSuchPlugin { name: wanted.into(), known: known.chain(unloaded).collect() })
    })
    .await
}

/// Loads all plugins of the user and the project, whether or not they can be worked with, and shows them.
async fn survey(
    system: &System,
    show: impl FnOnce(&Plugins) -> Result<u8, CliError>,
) -> Result<u8, CliError> {
    let project = find_project(&system.current_dir, system.user).unwrap_or_else(|error| {
        warn(&one_line(&error));
        None
    });
    let host_context = HostContext { project, ..HostContext::default() };
    let Loaded { plugins, host_context, listener } = survey_plugins(system, host_context, false).await?;
    let shown = show(&plugins);
    drop((plugins, host_context));
    drain_diagnostics(listener).await;
    shown
}

/// A plugin from a file, wherever that is, with what it was granted; and whether it was let in.
async fn of_file(path: &str, system: &System) -> Result<(Arc<Plugin>, &'static str), CliError> {
    let trust = Trust::read(&system.config, None)?;
    let wasm = Location::File(path.into()).fetch().await?;
    let (loader, listener) = isolated_loader(system)?;
    let candidate = loader.inspect(path, &wasm).await?;
    let entry = trust.lock.of(&candidate.digest);
    let state = match entry {
        Some(entry) if entry.installed => "installed",
        Some(_) => "trusted",
        None => "not installed",
    };
    let (grants, setting) = (entry.map(|entry| entry.grants()), trust.settings.of(&candidate.manifest.name));
    let origin = Origin::User(system.current_dir.join(path));
    let plugin = loader.grant(candidate, origin, Some(grants.unwrap_or_default()), setting)?;
    // The plugin keeps what the listener listens to.
    drop((loader, listener));
    Ok((Arc::new(plugin), state))
}

fn table(plugins: &Plugins) -> String {
    let mut text = String::new();
    for plugin in &plugins.loaded {
        let (version, provides) =
            (plugin.manifest.version.to_string(), provides(&plugin.manifest).join(", "));
        let _ = writeln!(text, "{:<12} {version:<8} {provides:<28} {}", plugin.name, plugin.origin);
    }
    for unloaded in &plugins.unloaded {
        let (name, reason) = (plain(&unloaded.name), reason(unloaded));
        let _ = writeln!(text, "{name:<12} {:<8} {reason}", unloaded.state());
    }
    for conflict in &plugins.conflicts {
        let _ = writeln!(text, "conflict: {conflict}");
    }
    text
}

fn brief(plugin: &Plugin) -> Value {
    json!({
        "name": &*plugin.name,
        "state": "ready",
        "version": plugin.manifest.version.to_string(),
        "sha256": plugin.digest,
        "origin": plugin.origin.kind(),
        "path": plugin.origin.path(),
        "provides": provides(&plugin.manifest),
    })
}

fn absent_json(unloaded: &UnloadedPlugin) -> Value {
    json!({
        "name": unloaded.name,
        "state": unloaded.state(),
        "reason": one_line(&unloaded.why),
        "sha256": unloaded.digest,
        "origin": unloaded.origin.kind(),
        "path": unloaded.origin.path(),
    })
}

fn absent_text(unloaded: &UnloadedPlugin) -> String {
    let mut text = String::new();
    for (label, value) in [
        ("name", plain(&unloaded.name)),
        ("state", unloaded.state().to_owned()),
        ("reason", reason(unloaded)),
        ("origin", unloaded.origin.to_string()),
        ("sha256", unloaded.digest.clone().unwrap_or_else(|| "unknown".into())),
    ] {
        let _ = writeln!(text, "{:<12} {value}", format!("{label}:"));
    }
    text
}

/// Reason that a plugin was not loaded, on one line: a part of it may be in the plugin's own words.
fn reason(unloaded: &UnloadedPlugin) -> String {
    one_line(&unloaded.why).replace(char::is_control, " ")
}
