//! The example of the documentation that was published with 0.0.1, as a plugin.
//! Only what that page left out was added: the `Default` derive.
#![allow(clippy::unwrap_used, reason = "as it was published")]

use hm_plugin_protocol::*;
use hm_plugin_sdk::*;

#[derive(Default)]
struct MyExec;

impl StepExecutor for MyExec {
    fn run(&self, input: ExecutorInput) -> Result<StepResult, PluginError> {
        host::log(Level::Info, &format!("running {}", input.step.key));
        Ok(StepResult { exit_code: 0, committed_snapshot: None, artifacts: vec![] })
    }
}

register_plugin!(
    manifest = PluginManifest {
        api_version: HM_PLUGIN_API_VERSION,
        name: "my-exec".into(),
        version: semver::Version::parse("0.1.0").unwrap(),
        description: "demo".into(),
        capabilities: vec![Capability::StepExecutor(StepExecutorSpec {
            runner: "demo".into(),
            default: false,
            step_schema: None,
        })],
        required_host_fns: vec!["hm_log".into()],
        config_schema: None,
        allowed_hosts: vec![],
    },
    executor = MyExec,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_logs_and_succeeds() {
        let input = serde_json::json!({
            "step": {"key": "hello", "cmd": "true"},
            "workspace_archive_id": uuid::Uuid::nil(),
            "env": {},
            "workdir": "/workspace",
            "run_id": uuid::Uuid::nil(),
            "step_id": uuid::Uuid::nil(),
            "cache_lookup": {"kind": "miss_no_commit"},
        });
        let input: ExecutorInput = serde_json::from_value(input).unwrap();
        let (result, host) = mock::with(mock::Host::default(), || MyExec.run(input));
        assert_eq!(result.unwrap().exit_code, 0);
        assert_eq!(host.logs, [(Level::Info, "running hello".to_owned())]);
    }
}
