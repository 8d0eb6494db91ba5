//! The output format `human`: a build as a log that reads well in a terminal and in a file.
//! The look of the lines is in `log`; this connects it with the host.

mod log;

use std::cell::RefCell;

use hm_plugin_sdk::*;

use crate::log::{Log, Style};

/// Writes what the log makes of each event.
#[derive(Default)]
struct Human;

thread_local! {
    // A formatter is made anew for every event, and its instance lives for the whole build.
    static LOG: RefCell<Option<Log>> = const { RefCell::new(None) };
}

impl OutputFormatter for Human {
    fn on_event(&self, event: BuildEvent) -> Result<(), PluginError> {
        let text = LOG.with_borrow_mut(|log| log.get_or_insert_with(|| Log::new(style())).on_event(event));
        if !text.is_empty() {
            host::write_stdout(text.as_bytes());
        }
        Ok(())
    }
}

/// Style that the host configured: `color` and `verbose`, each on if it is `true`.
fn style() -> Style {
    let is_on = |key| host::config(key).as_deref() == Some("true");
    Style { color: is_on("color"), verbose: is_on("verbose") }
}

register_plugin!(
    manifest = manifest! {
        name: "human",
        capabilities: [Capability::OutputFormatter(OutputFormatterSpec {
            name: "human".into(),
            mime: "text/plain".into(),
        })],
        required_host_fns: ["hm_write_stdout"],
    },
    output = Human,
);

#[cfg(test)]
mod tests {
    use super::*;

    fn written_with(config: &[(&str, &str)]) -> String {
        let config = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let prepared = mock::Host { config, ..mock::Host::default() };
        let plan = PlanSummary { step_count: 0, chain_count: 0, default_runner: "local".into() };
        let run_id = uuid::Uuid::nil();
        let started_at = chrono::DateTime::UNIX_EPOCH;
        let (result, host) = mock::with(prepared, || {
            Human.on_event(BuildEvent::BuildStart { run_id, plan, started_at })?;
            Human.on_event(BuildEvent::BuildEnd { exit_code: 0, duration_ms: 5 })
        });
        result.unwrap();
        assert!(host.calls.iter().all(|call| ["config_get", "hm_write_stdout"].contains(call)));
        String::from_utf8(host.stdout).unwrap()
    }

    #[test]
    fn events_of_a_build_share_a_log() {
        assert_eq!(written_with(&[]), "Building 0 steps\n\nBuild passed in 5ms\n");
    }

    #[test]
    fn the_host_switches_color_on() {
        assert!(written_with(&[("color", "true")]).contains("\u{1b}["));
    }

    #[test]
    fn the_host_switches_details_on() {
        assert!(written_with(&[("verbose", "true")]).contains("run 00000000-0000"));
    }
}
