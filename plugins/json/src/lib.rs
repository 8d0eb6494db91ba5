//! The output format `json`: every event of a build as one line of JSON, as it happens.
//! The form of an event is the protocol's, and this adds nothing to it.

use hm_plugin_sdk::*;

/// Writes events as they are.
#[derive(Default)]
struct Json;

impl OutputFormatter for Json {
    fn on_event(&self, event: BuildEvent) -> Result<(), PluginError> {
        let mut line = serde_json::to_vec(&event).map_err(|error| {
            PluginError::new("not_json", format!("an event cannot be written as JSON: {error}"))
        })?;
        line.push(b'\n');
        host::write_stdout(&line);
        Ok(())
    }
}

register_plugin!(
    manifest = manifest! {
        name: "json",
        capabilities: [Capability::OutputFormatter(OutputFormatterSpec {
            name: "json".into(),
            mime: "application/x-ndjson".into(),
        })],
        required_host_fns: ["hm_write_stdout"],
    },
    output = Json,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_whatever_it_holds() {
        let step_id = uuid::Uuid::nil();
        let line = "two\nlines, a \"quote\" and \u{1b}[31m".to_owned();
        let ts = chrono::DateTime::UNIX_EPOCH;
        let events = [
            BuildEvent::StepLog { step_id, stream: StdStream::Stderr, line, ts },
            BuildEvent::BuildEnd { exit_code: 1, duration_ms: 20 },
        ];
        let ((), host) = mock::with(mock::Host::default(), || {
            for event in &events {
                Json.on_event(event.clone()).unwrap();
            }
            assert_eq!(Json.finalize().unwrap(), b"", "everything was written when it happened");
        });
        let written = String::from_utf8(host.stdout).unwrap();
        let lines: Vec<BuildEvent> =
            written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines, events);
        assert!(written.ends_with("{\"kind\":\"build_end\",\"exit_code\":1,\"duration_ms\":20}\n"));
    }
}
