//! Cases of the functions on sandboxes.

use hm_host::sandbox::Role;
use hm_plugin_protocol::{BuildEvent, SandboxExecArgs, SandboxStartArgs, SnapshotRef};

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
    let id = bench.backend.start(None).await.expect("a sandbox");
    if name == "hm_sandbox_exists" {
        let snapshot = bench.backend.commit(&id).await.expect("a snapshot");
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
        "hm_sandbox_commit" => (
            id.clone().into_bytes(),
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
