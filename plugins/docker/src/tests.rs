//! Calls of the runner to a host, with the SDK's mock in its place; the conduct of containers is for tests with an
//! engine.

use super::*;
use mock::Host;

fn input(cache_lookup: CacheDecision) -> ExecutorInput {
    ExecutorInput {
        step: CommandStep {
            key: "test".into(),
            cmd: "make test".into(),
            image: Some("alpine:3.20".into()),
            ..CommandStep::default()
        },
        workspace_archive_id: ArchiveId(uuid::Uuid::from_u128(7)),
        env: [("CI".to_owned(), "1".to_owned())].into(),
        workdir: "/workspace".into(),
        run_id: uuid::Uuid::nil(),
        step_id: uuid::Uuid::from_u128(9),
        cache_lookup,
        parent_snapshot: None,
    }
}

/// A host that has the image already.
fn stocked() -> Host {
    Host { images: vec!["alpine:3.20".into()], ..Host::default() }
}

fn run(host: Host, input: ExecutorInput) -> (Result<StepResult, PluginError>, Host) {
    mock::with(host, || Docker.run(input))
}

fn calls(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("hm_docker_{name}")).collect()
}

#[test]
fn a_command_that_succeeds_is_committed() {
    let (result, host) = run(stocked(), input(CacheDecision::MissNoCommit));
    let tag = "run-00000000-0000-0000-0000-000000000009";
    let committed_snapshot = Some(SnapshotRef(tag.into()));
    assert_eq!(result.unwrap(), StepResult { exit_code: 0, committed_snapshot, artifacts: vec![] });
    assert_eq!(
        host.containers,
        [DockerStartArgs {
            image: "alpine:3.20".into(),
            env: [].into(),
            workdir: "/workspace".into(),
            name_hint: "test".into(),
            network: true,
        }]
    );
    let (container_id, workdir) = ("container-0".to_owned(), "/workspace".to_owned());
    assert_eq!(
        host.docker_extracts,
        [DockerExtractArgs {
            container_id: container_id.clone(),
            archive_id: ArchiveId(uuid::Uuid::from_u128(7)),
            workdir: workdir.clone(),
        }]
    );
    assert_eq!(
        host.docker_execs,
        [DockerExecArgs {
            container_id,
            cmd: vec!["sh".into(), "-c".into(), "make test".into()],
            env: [("CI".to_owned(), "1".to_owned())].into(),
            workdir,
            stdin_archive_id: None,
        }]
    );
    assert_eq!(
        host.calls,
        calls(&["image_exists", "start_container", "extract_workspace", "exec", "commit", "stop_remove"])
    );
    assert_eq!(host.removed_containers, ["container-0"]);
}

#[test]
fn a_command_that_fails_leaves_nothing_behind() {
    let tag = SnapshotRef("t".into());
    let prepared = Host { exit_codes: [42].into(), ..stocked() };
    let (result, host) = run(prepared, input(CacheDecision::MissBuildAs { tag }));
    assert_eq!(result.unwrap(), StepResult { exit_code: 42, committed_snapshot: None, artifacts: vec![] });
    assert_eq!(host.removed_containers, ["container-0"]);
    assert_eq!(host.images, ["alpine:3.20"]);
}

#[test]
fn what_the_cache_wants_is_kept_under_its_name() {
    let tag = SnapshotRef("hm-cache:0".into());
    let (result, host) = run(stocked(), input(CacheDecision::MissBuildAs { tag: tag.clone() }));
    assert_eq!(result.unwrap().committed_snapshot, Some(tag));
    assert_eq!(host.images, ["alpine:3.20", "hm-cache:0"]);
}

#[test]
fn an_image_that_is_not_there_is_pulled() {
    let (_, host) = run(Host::default(), input(CacheDecision::MissNoCommit));
    assert_eq!(host.pulled, ["alpine:3.20"]);
    assert_eq!(host.calls[..3], calls(&["image_exists", "pull", "start_container"])[..]);
}

#[test]
fn a_child_starts_from_its_parent_whatever_image_it_names() {
    let input = ExecutorInput {
        parent_snapshot: Some(SnapshotRef("parent".into())),
        ..input(CacheDecision::MissNoCommit)
    };
    let prepared = Host { images: vec!["parent".into()], ..Host::default() };
    let (result, host) = run(prepared, input);
    assert_eq!(result.unwrap().exit_code, 0);
    assert_eq!(host.containers[0].image, "parent");
    assert_eq!(host.docker_extracts.len(), 1, "the host knows what is to be done to a parent's state");
    assert_eq!(host.pulled, Vec::<String>::new());
}

#[test]
fn a_parent_that_is_gone_is_not_pulled() {
    let input = ExecutorInput {
        parent_snapshot: Some(SnapshotRef("parent".into())),
        ..input(CacheDecision::MissNoCommit)
    };
    let (result, host) = run(stocked(), input);
    let error = result.unwrap_err();
    assert_eq!(error.code, "snapshot_gone");
    assert_eq!(error.message, "the state `parent` that step `test` builds in is gone");
    assert_eq!(host.calls, calls(&["image_exists"]));
}

#[test]
fn a_step_without_an_image_is_an_error_with_both_ways_out() {
    for image in [None, Some(String::new())] {
        let mut input = input(CacheDecision::MissNoCommit);
        input.step.image = image;
        let (result, host) = run(stocked(), input);
        let error = result.unwrap_err();
        assert_eq!(error.code, "no_image");
        for part in ["step `test` has no image", "`default_image`", "\"runner\": \"local\""] {
            assert!(error.message.contains(part), "{}", error.message);
        }
        assert_eq!(host.calls, Vec::<&str>::new());
    }
}

#[test]
fn a_cache_hit_runs_nothing() {
    let tag = SnapshotRef("kept".into());
    let prepared = Host { images: vec!["kept".into()], ..Host::default() };
    let (result, host) = run(prepared, input(CacheDecision::Hit { tag: tag.clone() }));
    let committed_snapshot = Some(tag);
    assert_eq!(result.unwrap(), StepResult { exit_code: 0, committed_snapshot, artifacts: vec![] });
    assert_eq!(host.calls, calls(&["image_exists"]));
}

#[test]
fn a_cache_hit_on_nothing_is_an_error() {
    let (result, host) = run(stocked(), input(CacheDecision::Hit { tag: SnapshotRef("lost".into()) }));
    let error = result.unwrap_err();
    assert_eq!(error.code, "snapshot_gone");
    assert_eq!(error.message, "the cached state `lost` of step `test` is gone");
    assert_eq!(host.calls, calls(&["image_exists"]));
}

#[test]
fn runner_args_choose_shell_and_network() {
    let mut input = input(CacheDecision::MissNoCommit);
    input.step.runner_args = Some(serde_json::json!({"shell": "bash", "network": false, "typo": 1}));
    let (result, host) = run(stocked(), input);
    result.unwrap();
    assert_eq!(host.docker_execs[0].cmd[0], "bash");
    assert!(!host.containers[0].network);
    let message = "step `test`: runner `docker` knows no argument `typo`".to_owned();
    assert_eq!(host.logs, [(Level::Warn, message)]);
}

#[test]
fn artifacts_outside_of_the_workspace_are_refused_before_anything_runs() {
    let mut input = input(CacheDecision::MissNoCommit);
    input.step.runner_args = Some(serde_json::json!({"artifacts": ["../x"]}));
    let (result, host) = run(stocked(), input);
    assert_eq!(result.unwrap_err().code, "invalid_runner_args");
    assert_eq!(host.calls, Vec::<&str>::new());
}

fn wheel() -> ArtifactRef {
    ArtifactRef { key: "dist/a.whl".into(), mime: "application/zip".into(), size_bytes: 7 }
}

fn producing(exit_code: i32, works: bool) -> (StepResult, Host) {
    let mut input = input(CacheDecision::MissBuildAs { tag: SnapshotRef("t".into()) });
    input.step.runner_args = Some(serde_json::json!({"artifacts": ["dist/*.whl", "report"]}));
    let prepared = Host {
        exit_codes: [exit_code].into(),
        artifacts: vec![wheel()],
        artifacts_fail: !works,
        ..stocked()
    };
    let (result, host) = run(prepared, input);
    (result.unwrap(), host)
}

#[test]
fn artifacts_are_brought_out_before_the_container_goes() {
    let (result, host) = producing(0, true);
    assert_eq!((result.exit_code, &result.artifacts), (0, &vec![wheel()]));
    let (container_id, workdir) = ("container-0".into(), "/workspace".into());
    let paths = vec!["dist/*.whl".into(), "report".into()];
    assert_eq!(host.docker_artifact_calls, [DockerArtifactsArgs { container_id, paths, workdir }]);
    assert_eq!(host.calls[3..], calls(&["exec", "artifacts", "commit", "stop_remove"])[..]);
}

#[test]
fn artifacts_of_a_command_that_failed_are_brought_out() {
    let (result, host) = producing(3, true);
    assert_eq!(result, StepResult { exit_code: 3, committed_snapshot: None, artifacts: vec![wheel()] });
    assert_eq!(host.calls[3..], calls(&["exec", "artifacts", "stop_remove"])[..]);
}

#[test]
fn a_step_whose_artifacts_are_lost_has_failed_and_is_not_kept() {
    let (result, host) = producing(0, false);
    assert_eq!(result, StepResult { exit_code: NO_ARTIFACTS, committed_snapshot: None, artifacts: vec![] });
    assert_eq!(host.calls[3..], calls(&["exec", "artifacts", "stop_remove"])[..]);
    assert_eq!(producing(3, false).0.exit_code, 3, "what failed first counts");
}
