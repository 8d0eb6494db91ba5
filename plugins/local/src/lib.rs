//! The runner `local`: runs a step's command with a shell in a sandbox on this machine.
//! The sandbox itself, its layers and what it may see are the host's; this only decides what to do with them.

use hm_plugin_sdk::*;
use serde::Deserialize;

/// What a step may say in `runner_args`. Whatever else it says is left alone: pipelines carry arguments for
/// several runners.
#[derive(Deserialize)]
#[serde(default)]
struct RunnerArgs {
    /// The shell that gets the command after `-c`.
    shell: String,
    /// Whether the command may use the network.
    network: bool,
}

impl Default for RunnerArgs {
    fn default() -> Self {
        Self { shell: "sh".into(), network: true }
    }
}

impl RunnerArgs {
    /// The same, as the schema that the host checks steps against.
    fn schema() -> JsonSchema {
        let defaults = Self::default();
        serde_json::json!({
            "type": "object",
            "properties": {
                "shell": {
                    "type": "string",
                    "minLength": 1,
                    "default": defaults.shell,
                    "description": "The shell that gets the command after -c.",
                },
                "network": {
                    "type": "boolean",
                    "default": defaults.network,
                    "description": "Whether the command may use the network.",
                },
            },
            "additionalProperties": true,
        })
    }

    /// The names of a step's arguments that mean nothing here: a typo in `network` should not go unnoticed.
    fn unknown(step: &CommandStep) -> impl Iterator<Item = &str> {
        let names = step.runner_args.iter().filter_map(|args| args.as_object()).flat_map(|args| args.keys());
        names.map(String::as_str).filter(|name| !["shell", "network"].contains(name))
    }

    /// Reads a step's arguments; a step without any gets the defaults.
    fn of(step: &CommandStep) -> Result<Self, PluginError> {
        match &step.runner_args {
            None | Some(serde_json::Value::Null) => Ok(Self::default()),
            Some(args) => Self::deserialize(args).map_err(|error| {
                PluginError::new(
                    "invalid_runner_args",
                    format!("runner_args of step `{}`: {error}", step.key),
                )
            }),
        }
    }
}

/// Runs steps in sandboxes.
#[derive(Default)]
struct Local;

impl StepExecutor for Local {
    fn run(&self, input: ExecutorInput) -> Result<StepResult, PluginError> {
        if let CacheDecision::Hit { tag } = input.cache_lookup {
            if !host::sandbox_exists(&tag) {
                let message = format!("the cached state `{}` of step `{}` is gone", tag.0, input.step.key);
                return Err(PluginError::new("snapshot_gone", message));
            }
            return Ok(result(0, Some(tag)));
        }

        let args = RunnerArgs::of(&input.step)?;
        for name in RunnerArgs::unknown(&input.step) {
            let message = format!("step `{}`: runner `local` knows no argument `{name}`", input.step.key);
            host::log(Level::Warn, &message);
        }
        if let (Some(image), None) = (&input.step.image, &input.parent_snapshot) {
            let message =
                format!("step `{}`: runner `local` has no images, `{image}` is not used", input.step.key);
            host::log(Level::Warn, &message);
        }
        let sandbox_id = host::sandbox_start(SandboxStartArgs {
            archive_id: input.workspace_archive_id,
            parent: input.parent_snapshot,
        });
        let exit_code = host::sandbox_exec(SandboxExecArgs {
            sandbox_id: sandbox_id.clone(),
            cmd: vec![args.shell, "-c".into(), input.step.cmd],
            env: input.env,
            workdir: input.workdir,
            network: args.network,
        });
        if exit_code != 0 {
            host::sandbox_discard(&sandbox_id);
            return Ok(result(exit_code, None));
        }
        // Also where the cache does not want it: the steps that build in this one start from it.
        Ok(result(0, Some(host::sandbox_commit(&sandbox_id))))
    }
}

/// The result of a step that ran, or did not have to.
fn result(exit_code: i32, committed_snapshot: Option<SnapshotRef>) -> StepResult {
    StepResult { exit_code, committed_snapshot, artifacts: Vec::new() }
}

register_plugin!(
    manifest = manifest! {
        name: "local",
        capabilities: [Capability::StepExecutor(StepExecutorSpec {
            runner: "local".into(),
            default: true,
            step_schema: Some(RunnerArgs::schema()),
        })],
        required_host_fns: [
            "hm_log",
            "hm_sandbox_commit",
            "hm_sandbox_discard",
            "hm_sandbox_exec",
            "hm_sandbox_exists",
            "hm_sandbox_start",
        ],
    },
    executor = Local,
);

#[cfg(test)]
mod tests {
    use super::*;
    use mock::Host;

    fn input(cache_lookup: CacheDecision) -> ExecutorInput {
        ExecutorInput {
            step: CommandStep { key: "test".into(), cmd: "make test".into(), ..CommandStep::default() },
            workspace_archive_id: ArchiveId(uuid::Uuid::from_u128(7)),
            env: [("CI".to_owned(), "1".to_owned())].into(),
            workdir: "/workspace".into(),
            run_id: uuid::Uuid::nil(),
            step_id: uuid::Uuid::nil(),
            cache_lookup,
            parent_snapshot: None,
        }
    }

    #[test]
    fn a_command_that_succeeds_is_committed() {
        let (result, host) = mock::with(Host::default(), || Local.run(input(CacheDecision::MissNoCommit)));
        let snapshot = Some(SnapshotRef("layer-of-sandbox-0".into()));
        assert_eq!(
            result.unwrap(),
            StepResult { exit_code: 0, committed_snapshot: snapshot, artifacts: vec![] }
        );
        let start = SandboxStartArgs { archive_id: ArchiveId(uuid::Uuid::from_u128(7)), parent: None };
        assert_eq!(host.sandboxes, [start]);
        assert_eq!(
            host.sandbox_execs,
            [SandboxExecArgs {
                sandbox_id: "sandbox-0".into(),
                cmd: vec!["sh".into(), "-c".into(), "make test".into()],
                env: [("CI".to_owned(), "1".to_owned())].into(),
                workdir: "/workspace".into(),
                network: true,
            }]
        );
        assert_eq!(host.discarded, Vec::<String>::new());
    }

    #[test]
    fn a_command_that_fails_leaves_nothing_behind() {
        let prepared = Host { exit_codes: [42].into(), ..Host::default() };
        let tag = SnapshotRef("t".into());
        let (result, host) = mock::with(prepared, || Local.run(input(CacheDecision::MissBuildAs { tag })));
        assert_eq!(
            result.unwrap(),
            StepResult { exit_code: 42, committed_snapshot: None, artifacts: vec![] }
        );
        assert_eq!(host.discarded, ["sandbox-0"]);
        assert_eq!(host.snapshots, []);
    }

    #[test]
    fn a_child_starts_from_its_parent() {
        let parent = Some(SnapshotRef("parent".into()));
        let input = ExecutorInput { parent_snapshot: parent.clone(), ..input(CacheDecision::MissNoCommit) };
        let (_, host) = mock::with(Host::default(), || Local.run(input));
        assert_eq!(host.sandboxes[0].parent, parent);
    }

    #[test]
    fn a_cache_hit_runs_nothing() {
        let tag = SnapshotRef("kept".into());
        let prepared = Host { snapshots: vec![tag.clone()], ..Host::default() };
        let hit = CacheDecision::Hit { tag: tag.clone() };
        let (result, host) = mock::with(prepared, || Local.run(input(hit)));
        assert_eq!(result.unwrap().committed_snapshot, Some(tag));
        assert_eq!(host.calls, ["hm_sandbox_exists"]);
    }

    #[test]
    fn a_cache_hit_on_nothing_is_an_error() {
        let hit = CacheDecision::Hit { tag: SnapshotRef("lost".into()) };
        let (result, _) = mock::with(Host::default(), || Local.run(input(hit)));
        let error = result.unwrap_err();
        assert_eq!(error.code, "snapshot_gone");
        assert_eq!(error.message, "the cached state `lost` of step `test` is gone");
    }

    fn exec_with(runner_args: serde_json::Value) -> Result<SandboxExecArgs, PluginError> {
        let mut input = input(CacheDecision::MissNoCommit);
        input.step.runner_args = Some(runner_args);
        let (result, mut host) = mock::with(Host::default(), || Local.run(input));
        result.map(|_| host.sandbox_execs.remove(0))
    }

    #[test]
    fn runner_args_choose_shell_and_network() {
        let exec = exec_with(serde_json::json!({"shell": "bash", "network": false})).unwrap();
        assert_eq!(exec.cmd[0], "bash");
        assert!(!exec.network);
    }

    #[test]
    fn runner_args_of_other_runners_do_no_harm() {
        let exec = exec_with(serde_json::json!({"nested": {"a": [1, 2]}})).unwrap();
        assert_eq!(exec.cmd[0], "sh");
        assert!(exec.network);
        assert_eq!(exec_with(serde_json::Value::Null).unwrap().cmd[0], "sh");
    }

    #[test]
    fn runner_args_that_mean_nothing_here_are_said() {
        let mut input = input(CacheDecision::MissNoCommit);
        input.step.runner_args = Some(serde_json::json!({"netwrk": false, "network": true}));
        let (_, host) = mock::with(Host::default(), || Local.run(input));
        let message = "step `test`: runner `local` knows no argument `netwrk`".to_owned();
        assert_eq!(host.logs, [(Level::Warn, message)]);
    }

    #[test]
    fn runner_args_of_a_wrong_type_are_an_error() {
        let error = exec_with(serde_json::json!({"network": "no"})).unwrap_err();
        assert_eq!(error.code, "invalid_runner_args");
        assert!(error.message.starts_with("runner_args of step `test`: invalid type"), "{}", error.message);
    }

    #[test]
    fn an_image_that_is_not_used_is_said() {
        let mut input = input(CacheDecision::MissNoCommit);
        input.step.image = Some("alpine".into());
        let (_, host) = mock::with(Host::default(), || Local.run(input));
        let message = "step `test`: runner `local` has no images, `alpine` is not used".to_owned();
        assert_eq!(host.logs, [(Level::Warn, message)]);
    }
}
