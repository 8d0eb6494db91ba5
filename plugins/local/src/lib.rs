//! The runner `local`: runs a step's command with a shell in a sandbox on this machine.
//! The sandbox itself, its layers and what it may see are the host's; this only decides what to do with them.

use hm_plugin_sdk::*;
use hm_runner_args::{NO_ARTIFACTS, RunnerArgs};

/// Runs steps in sandboxes.
#[derive(Default)]
struct Local;

impl StepExecutor for Local {
    fn run(&self, input: ExecutorInput) -> Result<StepResult, PluginError> {
        if let CacheDecision::Hit { tag } = &input.cache_lookup {
            if !host::sandbox_exists(tag) {
                let message = format!("the cached state `{}` of step `{}` is gone", tag.0, input.step.key);
                return Err(PluginError::new("snapshot_gone", message));
            }
            let committed_snapshot = Some(tag.clone());
            return Ok(StepResult { exit_code: 0, committed_snapshot, artifacts: Vec::new() });
        }

        let args = RunnerArgs::of(&input.step, "local")?;
        // Who names this runner for all steps knows that their images are not used.
        if let (Some(image), Some(_), None) = (&input.step.image, &input.step.runner, &input.parent_snapshot)
        {
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
        // Also of a command that failed: its reports are what tells why.
        let produced = match args.artifacts {
            paths if paths.is_empty() => Some(Vec::new()),
            paths => host::sandbox_artifacts(SandboxArtifactsArgs { sandbox_id: sandbox_id.clone(), paths }),
        };
        let exit_code = if exit_code == 0 && produced.is_none() { NO_ARTIFACTS } else { exit_code };
        let artifacts = produced.unwrap_or_default();
        if exit_code != 0 {
            host::sandbox_discard(&sandbox_id);
            return Ok(StepResult { exit_code, committed_snapshot: None, artifacts });
        }
        let keep_as = match input.cache_lookup {
            CacheDecision::MissBuildAs { tag } => Some(tag),
            // The steps that build in this one start from it all the same.
            CacheDecision::Hit { .. } | CacheDecision::MissNoCommit => None,
        };
        let committed_snapshot = Some(host::sandbox_commit(SandboxCommitArgs { sandbox_id, keep_as }));
        Ok(StepResult { exit_code, committed_snapshot, artifacts })
    }
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
            "hm_sandbox_artifacts",
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
    fn what_the_cache_wants_is_kept_under_its_name() {
        let tag = SnapshotRef("hm-cache:0".into());
        let input = input(CacheDecision::MissBuildAs { tag: tag.clone() });
        let (result, host) = mock::with(Host::default(), || Local.run(input));
        assert_eq!(result.unwrap().committed_snapshot, Some(tag.clone()));
        assert_eq!(host.snapshots, [tag]);
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

    #[test]
    fn runner_args_choose_shell_and_network() {
        let mut input = input(CacheDecision::MissNoCommit);
        input.step.runner_args = Some(serde_json::json!({"shell": "bash", "network": false, "typo": 1}));
        let (_, host) = mock::with(Host::default(), || Local.run(input));
        assert_eq!(host.sandbox_execs[0].cmd[0], "bash");
        assert!(!host.sandbox_execs[0].network);
        let message = "step `test`: runner `local` knows no argument `typo`".to_owned();
        assert_eq!(host.logs, [(Level::Warn, message)]);
    }

    fn producing(exit_code: i32, works: bool) -> (StepResult, Host) {
        let mut input = input(CacheDecision::MissNoCommit);
        input.step.runner_args = Some(serde_json::json!({"artifacts": ["dist/*.whl", "report"]}));
        let prepared = Host {
            exit_codes: [exit_code].into(),
            artifacts: vec![wheel()],
            artifacts_fail: !works,
            ..Host::default()
        };
        let (result, host) = mock::with(prepared, || Local.run(input));
        (result.unwrap(), host)
    }

    fn wheel() -> ArtifactRef {
        ArtifactRef { key: "dist/a.whl".into(), mime: "application/zip".into(), size_bytes: 7 }
    }

    #[test]
    fn artifacts_are_brought_out_before_the_sandbox_goes() {
        let (result, host) = producing(0, true);
        assert_eq!((result.exit_code, &result.artifacts), (0, &vec![wheel()]));
        let (sandbox_id, paths) = ("sandbox-0".into(), vec!["dist/*.whl".into(), "report".into()]);
        assert_eq!(host.artifact_calls, [SandboxArtifactsArgs { sandbox_id, paths }]);
        let expected = ["start", "exec", "artifacts", "commit"].map(|name| format!("hm_sandbox_{name}"));
        assert_eq!(host.calls, expected);
        assert!(host.logs.is_empty(), "{:?}", host.logs);
    }

    #[test]
    fn artifacts_of_a_command_that_failed_are_brought_out() {
        let (result, host) = producing(3, true);
        assert_eq!(result, StepResult { exit_code: 3, committed_snapshot: None, artifacts: vec![wheel()] });
        assert_eq!(host.discarded, ["sandbox-0"]);
    }

    #[test]
    fn a_step_whose_artifacts_are_lost_has_failed() {
        let (result, host) = producing(0, false);
        assert_eq!(
            result,
            StepResult { exit_code: NO_ARTIFACTS, committed_snapshot: None, artifacts: vec![] }
        );
        assert_eq!(host.discarded, ["sandbox-0"]);
        assert_eq!(producing(3, false).0.exit_code, 3, "what failed first counts");
    }

    #[test]
    fn artifacts_outside_of_the_workspace_are_refused_before_anything_runs() {
        let mut input = input(CacheDecision::MissNoCommit);
        input.step.runner_args = Some(serde_json::json!({"artifacts": ["../x"]}));
        let (result, host) = mock::with(Host::default(), || Local.run(input));
        assert_eq!(result.unwrap_err().code, "invalid_runner_args");
        assert_eq!(host.calls, Vec::<&str>::new());
    }

    #[test]
    fn an_image_that_is_not_used_is_said_where_the_step_itself_names_the_runner() {
        let mut input = input(CacheDecision::MissNoCommit);
        input.step.image = Some("alpine".into());
        let (_, host) = mock::with(Host::default(), || Local.run(input.clone()));
        assert_eq!(host.logs, []);
        input.step.runner = Some("local".into());
        let (_, host) = mock::with(Host::default(), || Local.run(input));
        let message = "step `test`: runner `local` has no images, `alpine` is not used".to_owned();
        assert_eq!(host.logs, [(Level::Warn, message)]);
    }
}
