//! An output formatter on the SDK 0.0.1: one line for each log line, and at the end how many events there were.

use std::sync::atomic::{AtomicU64, Ordering};

use hm_plugin_sdk::*;

/// A fresh `Plain` is made for each event; what must be kept is kept here.
static EVENTS: AtomicU64 = AtomicU64::new(0);

#[derive(Default)]
struct Plain;

impl OutputFormatter for Plain {
    fn on_event(&self, event: BuildEvent) -> Result<(), PluginError> {
        EVENTS.fetch_add(1, Ordering::Relaxed);
        if let BuildEvent::StepLog { line, .. } = event {
            host::write_stdout(format!("| {line}\n").as_bytes());
        }
        Ok(())
    }

    fn finalize(&self) -> Result<Vec<u8>, PluginError> {
        Ok(format!("{} events\n", EVENTS.load(Ordering::Relaxed)).into_bytes())
    }
}

register_plugin!(
    manifest = PluginManifest {
        api_version: HM_PLUGIN_API_VERSION,
        name: "published-formatter".into(),
        version: semver::Version::new(0, 1, 0),
        description: "Shows log lines.".into(),
        capabilities: vec![Capability::OutputFormatter(OutputFormatterSpec {
            name: "plain".into(),
            mime: "text/plain".into(),
        })],
        required_host_fns: vec!["hm_write_stdout".into()],
        config_schema: None,
        allowed_hosts: vec![],
    },
    output = Plain,
);
