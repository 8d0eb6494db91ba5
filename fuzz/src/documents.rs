//! Checks of what is read as a document: pipelines, manifests, events and the other wire types, and of what is shown.

use std::fmt::Debug;

use hm_host::pipeline::{Overrides, Plan, Runners, parse};
use hm_host::plugin::check_manifest;
use hm_host::sys::{Sanitizer, printable};
use hm_plugin_protocol::serde_json;
use hm_plugin_protocol::{
    BuildEvent, CallbackData, Capability, ExecutorInput, HookEvent, HookOutcome, Pipeline, PluginError,
    PluginManifest, SandboxCommitArgs, SandboxExecArgs, SandboxStartArgs, StepResult, SubcommandInput,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Any bytes as a document of pipelines: errors or plans.
pub fn pipeline(data: &[u8]) {
    let known = ["docker", "local"].map(str::to_owned).into();
    let runners = Runners { known, default: "local".into(), for_images: "docker".into() };
    for named in parse(data, "input", "input").into_iter().flatten() {
        let Ok((_, pipeline)) = named.definition() else { continue };
        let steps = pipeline.steps.len();
        // So that unknown fields hide nothing that comes after them.
        let overrides = Overrides { lenient: true, ..Overrides::default() };
        if let Ok(plan) = Plan::new(pipeline, &overrides, &runners) {
            assert!(plan.steps().len() <= steps && plan.summary().chain_count <= steps);
            assert!(plan.steps().iter().all(|s| s.parent.is_none_or(|p| plan.steps()[p].stage <= s.stage)));
        }
    }
}

/// Any bytes as a manifest: one that passes the checks has names that are safe everywhere, and claims what it exports.
pub fn manifest(data: &[u8]) {
    same_again::<PluginManifest>(data);
    let Ok(manifest) = serde_json::from_slice::<PluginManifest>(data) else { return };
    // A module with nothing in it can provide nothing.
    let nothing = check_manifest(&manifest, |_| false);
    assert!(nothing.is_err() || manifest.capabilities.is_empty());
    match check_manifest(&manifest, |_| true) {
        Err(reason) => assert!(!reason.is_empty()),
        Ok(()) => {
            assert_name(&manifest.name);
            for capability in &manifest.capabilities {
                match capability {
                    Capability::StepExecutor(spec) => assert_name(&spec.runner),
                    Capability::OutputFormatter(spec) => assert_name(&spec.name),
                    Capability::Subcommand(spec) => assert_name(&spec.verb),
                    Capability::LifecycleHook(_) => {}
                }
            }
        }
    }
}

fn assert_name(name: &str) {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    assert!((1..=64).contains(&name.len()) && !name.starts_with('-') && name.bytes().all(inner), "{name:?}");
}

/// Any bytes as each of the wire types: what is understood means the same after it has been written and read again.
pub fn event(data: &[u8]) {
    same_again::<BuildEvent>(data);
    same_again::<HookEvent>(data);
    same_again::<HookOutcome>(data);
    same_again::<ExecutorInput>(data);
    same_again::<StepResult>(data);
    same_again::<SubcommandInput>(data);
    same_again::<Pipeline>(data);
    same_again::<PluginError>(data);
    same_again::<CallbackData>(data);
    same_again::<SandboxStartArgs>(data);
    same_again::<SandboxExecArgs>(data);
    same_again::<SandboxCommitArgs>(data);
}

fn same_again<T: DeserializeOwned + Serialize + PartialEq + Debug>(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(data) else { return };
    let written = serde_json::to_vec(&value).expect("what was read can be written");
    let again: T = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(value, again);
}

/// Any bytes on their way to a terminal: in whatever pieces they come, only text, line ends, tabs and colours leave.
pub fn terminal(data: &[u8]) {
    let (mut sanitizer, mut whole) = (Sanitizer::default(), Vec::new());
    sanitizer.push(data, &mut whole);
    let (mut sanitizer, mut pieces) = (Sanitizer::default(), Vec::new());
    for piece in data.chunks(1 + data.len() % 3) {
        sanitizer.push(piece, &mut pieces);
    }
    assert_eq!(whole, pieces);
    let text = String::from_utf8(whole).expect("always text");
    assert_harmless(&text);

    let text = String::from_utf8_lossy(data);
    let shown = printable(&text);
    assert_harmless(&shown);
    assert_eq!(printable(&shown), shown, "what is harmless stays as it is");
}

fn assert_harmless(text: &str) {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\x1b') {
        assert_plain(before);
        let (colour, after) = after.split_once('m').expect("a colour ends");
        let numbers = colour.strip_prefix('[').expect("a colour");
        assert!(numbers.len() <= 32 && numbers.bytes().all(|b| b.is_ascii_digit() || b == b';' || b == b':'));
        rest = after;
    }
    assert_plain(rest);
}

fn assert_plain(text: &str) {
    let hidden = |letter: char| {
        letter.is_control() && !matches!(letter, '\n' | '\t')
            || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!text.contains(hidden), "{text:?}");
}
