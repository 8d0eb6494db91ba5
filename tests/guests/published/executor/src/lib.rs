//! A step executor on the SDK 0.0.1: says what it would run and how large the project is, and counts the steps of a build.

use hm_plugin_sdk::*;

/// Bytes of the archive that are read at once.
const CHUNK: u64 = 4096;

#[derive(Default)]
struct Teller;

impl StepExecutor for Teller {
    fn run(&self, input: ExecutorInput) -> Result<StepResult, PluginError> {
        host::log(Level::Warn, &format!("running {}", input.step.key));
        let command = input.step.cmd.as_str();
        host::emit_step_log(StdStream::Stdout, format!("would run {command}\n").as_bytes());
        if command == "fail" {
            return Err(
                PluginError::new("teller_failed", "it was told to").with_doc("https://example.com/fail")
            );
        }
        let archive = input.workspace_archive_id;
        let (total, mut read) = (host::archive_total_size(archive), 0);
        while read < total {
            read += host::archive_read(archive, read, CHUNK).len() as u64;
        }
        host::emit_step_log(StdStream::Stdout, format!("read {read} of {total} bytes").as_bytes());
        let steps = host::kv_get(KvScope::Build, "steps").map_or(0, |kept| kept[0]) + 1;
        host::kv_set(KvScope::Build, "steps", &[steps]);
        host::emit_step_log(StdStream::Stderr, format!("step {steps} of this build\n").as_bytes());
        let stopped = host::should_cancel();
        let exit_code = command.strip_prefix("exit ").map_or(0, |code| code.parse().unwrap_or(2));
        Ok(StepResult {
            exit_code: if stopped { 130 } else { exit_code },
            committed_snapshot: None,
            artifacts: vec![],
        })
    }
}

register_plugin!(
    manifest = PluginManifest {
        api_version: HM_PLUGIN_API_VERSION,
        name: "published-executor".into(),
        version: semver::Version::new(0, 1, 0),
        description: "Says what it would run.".into(),
        capabilities: vec![Capability::StepExecutor(StepExecutorSpec {
            runner: "teller".into(),
            default: false,
            step_schema: None,
        })],
        required_host_fns: [
            "hm_log",
            "hm_emit_step_log",
            "hm_archive_total_size",
            "hm_archive_read",
            "hm_kv_get",
            "hm_kv_set",
            "hm_should_cancel",
        ]
        .map(String::from)
        .to_vec(),
        config_schema: None,
        allowed_hosts: vec![],
    },
    executor = Teller,
);
