//! Cases of the functions on sandboxes.

use hm_host::backend::artifact_ref;
use hm_host::host_functions::{HostFn, Policy, Role, StepScope};
use hm_plugin_protocol::{
    ArtifactRef, BuildEvent, CacheDecision, SandboxArtifactsArgs, SandboxCommitArgs, SandboxExecArgs,
    SandboxStartArgs, SnapshotRef,
};
use hm_step_sandbox::{ExecSpec, SandboxRun};
use hm_workspace::CACHE_TAG_PREFIX;
use tokio::sync::mpsc;

use super::case::{Bench, Case, Done, Happened, json};

pub(super) async fn case(name: &str, bench: &Bench) -> Case {
    let (mut step, mut events) = bench.step();
    if name == "hm_sandbox_start" {
        return Case {
            role: Role::Executor(Box::new(step)),
            args: vec![json(SandboxStartArgs { archive_id: bench.archive, parent: None })],
            done: Box::new(|happened| {
                let id = String::from_utf8(happened.answer.to_vec()).expect("an id");
                own(happened).is_some_and(|sandboxes| sandboxes.contains(&id))
            }),
        };
    }
    let id = local(bench).await.start(None).await.expect("a sandbox");
    if name == "hm_sandbox_exists" {
        let snapshot = local(bench).await.commit(&id, None).await.expect("a snapshot");
        return Case {
            role: Role::Executor(Box::new(step)),
            args: vec![json(snapshot)],
            done: Box::new(|happened| happened.answer == 1_u32.to_le_bytes()),
        };
    }
    step.sandboxes.insert(id.clone());
    let (args, done): (Vec<u8>, Done) = match name {
        "hm_sandbox_exec" => {
            let args = SandboxExecArgs {
                sandbox_id: id,
                cmd: ["sh", "-c", "echo done; exit 7"].map(str::to_owned).to_vec(),
                env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
                workdir: "/workspace".into(),
                network: false,
            };
            let done = move |happened: &Happened<'_>| {
                happened.answer == 7_i32.to_le_bytes()
                    && matches!(events.try_recv(), Ok(BuildEvent::StepLog { line, .. }) if line == "done")
            };
            (json(args), Box::new(done))
        }
        "hm_sandbox_artifacts" => {
            let (sender, _unread) = mpsc::channel(1);
            let made = ExecSpec {
                argv: ["sh", "-c", "echo made > file"].map(str::to_owned).to_vec(),
                env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
                workdir: "/workspace".into(),
                network: false,
            };
            assert_eq!(local(bench).await.exec(&id, made, sender).await.expect("a command"), 0);
            let out = bench.directory.path().canonicalize().expect("a directory").join("out/step");
            step.scope.artifacts = Some(out.clone());
            let done = move |happened: &Happened<'_>| {
                let expected = [ArtifactRef {
                    key: "file".into(),
                    mime: "application/octet-stream".into(),
                    size_bytes: 5,
                }];
                let answered: Option<Vec<ArtifactRef>> = serde_json::from_slice(happened.answer).ok();
                let Role::Executor(step) = &happened.state.role else { return false };
                let noted: Vec<ArtifactRef> = step.produced.iter().map(artifact_ref).collect();
                answered.as_deref() == Some(&expected[..]) && noted == expected && out.join("file").exists()
            };
            (json(SandboxArtifactsArgs { sandbox_id: id, paths: vec!["file".into()] }), Box::new(done))
        }
        "hm_sandbox_commit" => (
            json(SandboxCommitArgs { sandbox_id: id.clone(), keep_as: None }),
            Box::new(move |happened| {
                let snapshot: Option<SnapshotRef> = serde_json::from_slice(happened.answer).ok();
                snapshot.is_some() && own(happened).is_some_and(|sandboxes| !sandboxes.contains(&id))
            }),
        ),
        "hm_sandbox_discard" => (
            id.clone().into_bytes(),
            Box::new(move |happened| own(happened).is_some_and(|sandboxes| !sandboxes.contains(&id))),
        ),
        _ => panic!("no case for {name}"),
    };
    Case { role: Role::Executor(Box::new(step)), args: vec![args], done }
}

/// The sandboxes of the instance.
fn own(happened: &Happened<'_>) -> Option<std::collections::BTreeSet<String>> {
    match &happened.state.role {
        Role::Executor(step) => Some(step.sandboxes.clone()),
        _ => None,
    }
}

/// The local sandbox of a bench.
async fn local(bench: &Bench) -> &SandboxRun {
    bench.backends.local.open().await.expect("a sandbox")
}

/// Result of one call of an executor whose step has this scope.
async fn call(
    name: &str,
    args: impl serde::Serialize,
    scope: StepScope,
    bench: &Bench,
) -> Result<Vec<u8>, String> {
    let engine = hm_abi::Engine::new().expect("an engine");
    let function = HostFn::named(name).expect("a function");
    let mut step = bench.step().0;
    step.scope = scope;
    // All that the bench's back end has.
    if let Ok(args) = serde_json::to_value(&args)
        && let Some(id) = args.get("sandbox_id").and_then(|id| id.as_str())
    {
        step.sandboxes.insert(id.to_owned());
    }
    let policy = Policy::by_name([name.to_owned()].into());
    let state = bench.state(policy, Role::Executor(Box::new(step))).0;
    let mut instance = super::instance(&engine, function, &[json(args)], state);
    instance.call("go", b"", &super::LIMITS).await.map_err(|error| {
        std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source())
            .map(|error| format!("{error} "))
            .collect()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_keeps_and_takes_only_what_it_was_told_of() {
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::new(&super::case::backends(directory.path()));
    if !local(&bench).await.keeps() {
        return crate::support::skipped("without namespaces nothing is kept");
    }
    let tag = || SnapshotRef(format!("{CACHE_TAG_PREFIX}{}", uuid::Uuid::new_v4().simple()));
    let id = local(&bench).await.start(None).await.expect("a sandbox");
    let kept = local(&bench).await.commit(&id, Some(&tag())).await.expect("kept");
    let scope = |cache: CacheDecision, parent: Option<&SnapshotRef>| StepScope {
        cache,
        parent: parent.cloned(),
        ..bench.step().0.scope
    };
    let hit = || CacheDecision::Hit { tag: kept.clone() };
    let build_as = |tag: &SnapshotRef| CacheDecision::MissBuildAs { tag: tag.clone() };
    let nothing = CacheDecision::MissNoCommit;
    let start = || SandboxStartArgs { archive_id: bench.archive, parent: Some(kept.clone()) };

    // Neither its own nor its parent's: it is not even told whether that is there.
    for other in [scope(nothing.clone(), None), scope(build_as(&tag()), Some(&tag()))] {
        let error = call("hm_sandbox_exists", &kept, other.clone(), &bench).await.expect_err("a refusal");
        assert!(error.contains("is neither this step's nor its parent's"), "{error}");
        let error = call("hm_sandbox_start", start(), other, &bench).await.expect_err("a refusal");
        assert!(error.contains("is neither this step's nor its parent's"), "{error}");
    }
    for own in [scope(hit(), None), scope(nothing.clone(), Some(&kept))] {
        assert_eq!(call("hm_sandbox_exists", &kept, own.clone(), &bench).await, Ok(vec![1, 0, 0, 0]));
        call("hm_sandbox_start", start(), own, &bench).await.expect("a sandbox");
    }

    let own = tag();
    let id = local(&bench).await.start(None).await.expect("a sandbox");
    let commit =
        |keep_as: &SnapshotRef| SandboxCommitArgs { sandbox_id: id.clone(), keep_as: Some(keep_as.clone()) };
    for (name, scope) in [
        (&own, scope(nothing, Some(&own))),
        (&kept, scope(hit(), None)),
        (&tag(), scope(build_as(&own), None)),
    ] {
        let error = call("hm_sandbox_commit", commit(name), scope, &bench).await.expect_err("a refusal");
        assert!(error.contains("this step is not to keep its files as"), "{error}");
    }
    assert!(!local(&bench).await.exists(&own).await);
    let answer = call("hm_sandbox_commit", commit(&own), scope(build_as(&own), None), &bench).await;
    assert_eq!(answer, Ok(json(&own)));
    assert!(local(&bench).await.exists(&own).await);
}
