//! `hm plugin list` and `hm plugin info`: what there is and what it may do. Both work whatever is wrong with the plugins.

use std::fmt::Write;
use std::sync::Arc;

use hm_disk::one_line;
use serde_json::{Value, json};

use super::error::CliError;
use super::plugin_install::loader;
use super::plugin_known::Known;
use super::plugin_words::{plain, provides};
use super::{Loaded, heard, print, print_data, survey_plugins, warn};
use crate::host_functions::World;
use crate::pipeline::find_project;
use crate::plugin::{Absent, Conflict, Location, Origin, Plugin, Plugins, Terms};
use crate::sys::System;

/// One line for each plugin.
pub(super) async fn list(as_json: bool) -> Result<u8, CliError> {
    survey(&System::read()?, |plugins| {
        if as_json {
            let list: Vec<Value> = plugins
                .loaded
                .iter()
                .map(|p| brief(p))
                .chain(plugins.absent.iter().map(absent_json))
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
        let known = Known::of(plugin, state, &system.config, conflicts);
        if as_json { print_json(&known) } else { print(&known.to_string()) }
    };
    if wanted.contains('/') || wanted.ends_with(".wasm") {
        let (plugin, state) = of_file(wanted, &system).await?;
        return show(&plugin, state, &[]);
    }
    survey(&system, |plugins| {
        if let Some(plugin) = plugins.named(wanted) {
            return show(plugin, "ready", &plugins.conflicts);
        }
        if let Some(absent) = plugins.absent.iter().find(|absent| absent.name == wanted) {
            return if as_json { print_json(&absent_json(absent)) } else { print(&absent_text(absent)) };
        }
        let known = plugins.loaded.iter().map(|plugin| plugin.name.to_string());
        let absent = plugins.absent.iter().map(|absent| plain(&absent.name));
        Err(CliError::NoSuchPlugin { name: wanted.into(), known: known.chain(absent).collect() })
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
    let world = World { project, ..World::default() };
    let Loaded { plugins, world, listener } = survey_plugins(system, world, false).await?;
    let shown = show(&plugins);
    drop((plugins, world));
    heard(listener).await;
    shown
}

/// A plugin from a file, wherever that is, with what it was granted; and whether it was let in.
async fn of_file(path: &str, system: &System) -> Result<(Arc<Plugin>, &'static str), CliError> {
    let terms = Terms::read(&system.config, None)?;
    let wasm = Location::File(path.into()).fetch().await?;
    let (loader, listener) = loader(system)?;
    let candidate = loader.inspect(path, &wasm).await?;
    let entry = terms.lock.of(&candidate.digest);
    let state = match entry {
        Some(entry) if entry.installed => "installed",
        Some(_) => "trusted",
        None => "not installed",
    };
    let (grants, setting) = (entry.map(|entry| entry.grants()), terms.settings.of(&candidate.manifest.name));
    let origin = Origin::User(system.current_dir.join(path));
    let plugin = loader.admit(candidate, origin, Some(grants.unwrap_or_default()), setting)?;
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
    for absent in &plugins.absent {
        let (name, reason) = (plain(&absent.name), reason(absent));
        let _ = writeln!(text, "{name:<12} {:<8} {reason}", absent.state());
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

fn absent_json(absent: &Absent) -> Value {
    json!({
        "name": absent.name,
        "state": absent.state(),
        "reason": one_line(&absent.why),
        "sha256": absent.digest,
        "origin": absent.origin.kind(),
        "path": absent.origin.path(),
    })
}

fn absent_text(absent: &Absent) -> String {
    let mut text = String::new();
    for (label, value) in [
        ("name", plain(&absent.name)),
        ("state", absent.state().to_owned()),
        ("reason", reason(absent)),
        ("origin", absent.origin.to_string()),
        ("sha256", absent.digest.clone().unwrap_or_else(|| "unknown".into())),
    ] {
        let _ = writeln!(text, "{:<12} {value}", format!("{label}:"));
    }
    text
}

/// Why a plugin was not loaded, on one line: a part of it may be in the plugin's own words.
fn reason(absent: &Absent) -> String {
    one_line(&absent.why).replace(char::is_control, " ")
}

/// Prints a value as JSON, for programs.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<u8, CliError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| CliError::Write(error.into()))?;
    text.push(b'\n');
    print_data(&text)
}
