//! `hm cache`: shows the results that are kept, removes them, and keeps them within their limits after each build.
//! Nothing is removed that a running build uses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use chrono::{DateTime, Utc};
use hm_disk::one_line;
use hm_docker::{CachedImages, Cleared};
use hm_plugin_protocol::SnapshotRef;
use hm_step_sandbox::{CachedLayers, empty_trash, forget_vanished};
use serde_json::{Value, json};

use super::args::{CacheCommand, PruneArgs};
use super::config::Config;
use super::error::CliError;
use super::prepare::engine_env;
use super::terminal_output::{print, print_json};
use super::units::{size, span};
use super::wrap::COLUMNS;
use crate::backend::artifact_ref;
use crate::cache::{CacheLimits, Key, ListedResult, ResultMeta, Store, to_evict};
use crate::sys::System;

/// Columns of a result's step and pipeline, in a list.
const NAMES: [usize; 2] = [24, 12];

/// Sum of everything that was removed.
#[derive(Debug, Default)]
pub(super) struct Pruned {
    results: usize,
    layers: usize,
    /// Directories of projects that are no longer there.
    folders: usize,
    bytes: u64,
    /// Results that would have been removed, had no build used them.
    in_use: usize,
    /// Images, and what builds that are no more have left on an engine.
    images: Cleared,
}

/// Runs the command and returns the exit code.
pub(super) async fn cache(command: &CacheCommand) -> Result<u8, CliError> {
    let system = System::read()?;
    match command {
        CacheCommand::List { json } => list(&system.cache, *json, Utc::now()),
        CacheCommand::Prune(PruneArgs { older_than, max_size }) => {
            let limits = Config::of_user(&system.config)?.limits();
            let max_age = older_than.map_or(limits.max_age, |span| span.0);
            let max_bytes = max_size.map_or(limits.max_bytes, |size| size.0);
            let pruned = prune(&system, CacheLimits { max_bytes, max_age }, Utc::now()).await?;
            empty_trash(&system.cache).map_err(CliError::Layers)?;
            print(&pruned.to_string())
        }
        CacheCommand::Clear => print(&clear(&system).await?.to_string()),
    }
}

/// Removes what is not worth its place: what can never be used again, and what is beyond the limits. The disk is free
/// of it when the trash has been emptied, which may take long.
pub(super) async fn prune(
    system: &System,
    limits: CacheLimits,
    now: DateTime<Utc>,
) -> Result<Pruned, CliError> {
    let cache = &system.cache;
    let store = Store::open(&cache.join("results"))?;
    let layers = layers(cache)?;
    let is_there = |project: &Path| {
        // A project on a disk that is not answering is not gone.
        !fs::symlink_metadata(project).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let entries = store.entries()?;
    let keys = to_evict(&entries, &layers, limits, is_there, now);
    let mut pruned = remove(system, &store, &entries, &keys.into_iter().collect()).await?;
    let vanished = forget_vanished(cache).map_err(CliError::Layers)?;
    pruned.folders = vanished.layers;
    pruned.bytes = pruned.bytes.saturating_add(vanished.bytes);
    Ok(pruned)
}

async fn clear(system: &System) -> Result<Pruned, CliError> {
    let cache = &system.cache;
    let store = Store::open(&cache.join("results"))?;
    let entries = store.entries()?;
    let all = entries.iter().map(|listed| listed.key.clone()).collect();
    let pruned = remove(system, &store, &entries, &all).await?;
    empty_trash(cache).map_err(CliError::Layers)?;
    Ok(pruned)
}

/// Removes results, and the layers and images that no other result needs.
async fn remove(
    system: &System,
    store: &Store,
    entries: &[ListedResult],
    keys: &BTreeSet<Key>,
) -> Result<Pruned, CliError> {
    let mut pruned = Pruned::default();
    for listed in entries.iter().filter(|listed| keys.contains(&listed.key)) {
        match store.try_lock(&listed.key)? {
            Some(lock) => {
                store.forget(lock)?;
                pruned.results += 1;
                pruned.bytes = pruned.bytes.saturating_add(listed.bytes);
            }
            None => pruned.in_use += 1,
        }
    }
    // Anew, for other builds may have made some.
    let live = store.entries()?.into_iter().filter_map(|listed| Some(listed.entry?.tag.0)).collect();
    let removed = CachedLayers::open(&system.cache).remove_all_but(&live).map_err(CliError::Layers)?;
    pruned.layers = removed.layers;
    let images = CachedImages::open(&system.cache).keep_only(&live, &engine_env(system)).await;
    pruned.images = images.map_err(CliError::Images)?;
    pruned.bytes = pruned.bytes.saturating_add(removed.bytes).saturating_add(pruned.images.bytes);
    store.tidy()?;
    Ok(pruned)
}

/// The layers and images that are kept, with their sizes.
fn layers(cache: &Path) -> Result<BTreeMap<SnapshotRef, u64>, CliError> {
    let layers = CachedLayers::open(cache).list().map_err(CliError::Layers)?;
    let images = CachedImages::open(cache).list().map_err(CliError::ImageRecords)?;
    Ok(layers.into_iter().map(|layer| (layer.tag, layer.bytes)).chain(images).collect())
}

impl std::fmt::Display for Pruned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<String> = [
            (self.results, "result"),
            (self.layers, "layer"),
            (self.images.images, "image"),
            (self.images.abandoned, "leftover"),
            (self.folders, "stale folder"),
        ]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| plural(number, what))
        .collect();
        match parts.as_slice() {
            [] => writeln!(f, "nothing to remove")?,
            parts => writeln!(f, "removed {}: {} freed", parts.join(", "), size(self.bytes))?,
        }
        if self.in_use > 0 {
            writeln!(f, "in use by running builds, and kept: {}", plural(self.in_use, "result"))?;
        }
        if self.images.elsewhere > 0 {
            writeln!(f, "on another Docker Engine, and kept: {}", plural(self.images.elsewhere, "image"))?;
        }
        if let Some((number @ 1.., why)) = &self.images.left {
            writeln!(
                f,
                "kept, as no Docker Engine can be asked: {} ({})",
                plural(*number, "image"),
                one_line(why)
            )?;
        }
        Ok(())
    }
}

/// Shows what is kept.
fn list(cache: &Path, as_json: bool, now: DateTime<Utc>) -> Result<u8, CliError> {
    let store = Store::open(&cache.join("results"))?;
    let mut layers = layers(cache)?;
    let mut damaged = (0_usize, 0_u64);
    let mut results: Vec<Shown> = Vec::new();
    for ListedResult { entry, used_at, bytes, .. } in store.entries()? {
        match entry {
            Some(entry) => {
                let bytes = bytes.saturating_add(layers.remove(&entry.tag).unwrap_or_default());
                results.push(Shown { entry, used_at, bytes });
            }
            None => damaged = (damaged.0 + 1, damaged.1.saturating_add(bytes)),
        }
    }
    // The newest first.
    results.reverse();
    let unneeded = (layers.len(), layers.values().copied().fold(0, u64::saturating_add));
    let total =
        results.iter().map(|shown| shown.bytes).chain([damaged.1, unneeded.1]).fold(0, u64::saturating_add);
    if as_json {
        let counted = |(number, bytes): (usize, u64)| json!({"count": number, "bytes": bytes});
        let results: Vec<Value> = results.iter().map(Shown::json).collect();
        return print_json(&json!({
            "results": results,
            "damaged": counted(damaged),
            "unneeded_layers": counted(unneeded),
            "bytes": total,
        }));
    }
    let mut by_project: BTreeMap<&Path, Vec<&Shown>> = BTreeMap::new();
    for shown in &results {
        by_project.entry(&shown.entry.project).or_default().push(shown);
    }
    let mut text = String::new();
    for (project, results) in by_project {
        text.push_str(&format!("{}\n", end(&project.display().to_string(), COLUMNS)));
        text.push_str(&row(["SIZE", "AGE", "USED"], ["STEP", "PIPELINE"], "RUNNER"));
        results.iter().for_each(|shown| text.push_str(&shown.row(now)));
        text.push('\n');
    }
    text.push_str(&format!("{}, {}\n", plural(results.len(), "result"), size(total)));
    for ((number, bytes), what) in [(damaged, "damaged result"), (unneeded, "unneeded layer")] {
        if number > 0 {
            text.push_str(&format!(
                "{}, {}: hm cache prune removes such\n",
                plural(number, what),
                size(bytes)
            ));
        }
    }
    print(&text)
}

/// A result in a list.
struct Shown {
    entry: ResultMeta,
    used_at: DateTime<Utc>,
    /// Size, the layer included.
    bytes: u64,
}

impl Shown {
    fn row(&self, now: DateTime<Utc>) -> String {
        let since = |then: DateTime<Utc>| span(u64::try_from((now - then).num_seconds()).unwrap_or_default());
        let ResultMeta { step, pipeline, runner, made_at, .. } = &self.entry;
        let numbers = [size(self.bytes), since(*made_at), since(self.used_at)];
        row(numbers.each_ref().map(String::as_str), [step, pipeline], runner)
    }

    fn json(&self) -> Value {
        let entry = &self.entry;
        json!({
            "key": entry.key,
            "tag": entry.tag,
            "project": entry.project,
            "pipeline": entry.pipeline,
            "step": entry.step,
            "runner": entry.runner,
            "bytes": self.bytes,
            "made_at": entry.made_at,
            "used_at": self.used_at,
            "expires_at": entry.expires(entry.longest_secs.map(std::time::Duration::from_secs)),
            "duration_ms": entry.duration_ms,
            "artifacts": entry.artifacts.iter().map(artifact_ref).collect::<Vec<_>>(),
        })
    }
}

/// A line of a list, which fits.
fn row(numbers: [&str; 3], names: [&str; 2], last: &str) -> String {
    let [bytes, age, used] = numbers;
    let [step, pipeline] = names;
    let line = format!(
        "  {bytes:>8}  {age:>6}  {used:>6}  {:<2$}  {:<3$}  {last}",
        end(step, NAMES[0]),
        end(pipeline, NAMES[1]),
        NAMES[0],
        NAMES[1],
    );
    let line: String = line.chars().take(COLUMNS).collect();
    format!("{}\n", line.trim_end())
}

/// The end of a text, which says more than the beginning where it is cut.
fn end(text: &str, width: usize) -> String {
    let plain: Vec<char> = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match plain.len().checked_sub(width).filter(|over| *over > 0) {
        None => plain.into_iter().collect(),
        Some(over) => std::iter::once('…').chain(plain[over + 1..].iter().copied()).collect(),
    }
}

fn plural(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
