//! The event stream: every line an event, in one order, nothing lost.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::Stdio;

use hm_plugin_protocol::{BuildEvent, StdStream};
use serde_json::json;

use crate::support::{Project, Running, child, logs, process_with, step};

#[test]
fn events_come_in_one_order() {
    let (ran, events) = Project::with_steps(&json!([
        step("a", "echo out; echo err >&2"), child("b", "a", "echo b"), child("c", "a", "echo c"), {"type": "wait"}, step("d", "exit 1"),
    ]))
    .events(&["-j", "2"]);
    ran.expect_code(1);
    let Some(BuildEvent::BuildStart { plan, .. }) = events.first() else { panic!("{events:?}") };
    assert_eq!((plan.step_count, plan.chain_count, plan.default_runner.as_str()), (4, 4, "local"));
    assert!(matches!(events.last(), Some(BuildEvent::BuildEnd { exit_code: 1, .. })));
    let mut phases = BTreeMap::new();
    for event in &events {
        let (step_id, expected, next) = match event {
            BuildEvent::StepQueued { step_id, .. } => (step_id, 0, 1),
            BuildEvent::StepStart { step_id, runner, .. } => {
                assert_eq!(runner, "local");
                (step_id, 1, 2)
            }
            BuildEvent::StepLog { step_id, .. } => (step_id, 2, 2),
            BuildEvent::StepEnd { step_id, .. } => (step_id, 2, 3),
            BuildEvent::ChainFailed { failed_step_id, .. } => (failed_step_id, 3, 3),
            _ => continue,
        };
        let phase = phases.entry(*step_id).or_insert(0);
        assert_eq!(*phase, expected, "{event:?} in {events:?}");
        *phase = next;
    }
    assert!(phases.values().all(|&p| p == 3));
    let streams = events.iter().filter_map(|e| match e {
        BuildEvent::StepLog { stream, line, .. } if line == "out" || line == "err" => {
            Some((line.as_str(), *stream))
        }
        _ => None,
    });
    assert_eq!(
        streams.collect::<BTreeMap<_, _>>(),
        [("out", StdStream::Stdout), ("err", StdStream::Stderr)].into()
    );
}

#[test]
fn a_flood_of_output_arrives_complete_and_in_order() {
    let (ran, events) =
        Project::with_steps(&json!([step("a", "seq 100000"), step("b", "seq 100000 >&2")])).events(&["-j2"]);
    ran.expect_code(0);
    let expected: Vec<String> = (1..=100_000).map(|n| n.to_string()).collect();
    let logs = logs(&events);
    assert!(logs["a"] == expected && logs["b"] == expected);
}

#[test]
fn output_that_is_no_text_and_lines_without_end_do_no_harm() {
    let (ran, events) = Project::with_steps(&json!([step(
        "a",
        r"printf 'a\377b\n'; head -c 3000000 /dev/zero | tr '\0' x; printf '\ndone'"
    )]))
    .events(&[]);
    ran.expect_code(0);
    let lines = &logs(&events)["a"];
    assert_eq!(lines[0], "a\u{FFFD}b");
    assert_eq!(lines[1..lines.len() - 1].concat(), "x".repeat(3_000_000));
    assert_eq!(lines[lines.len() - 1], "done");
}

#[test]
fn a_reader_that_goes_away_ends_the_build() {
    let project = Project::with_steps(&json!([step("a", "yes | head -n 3000000; sleep 976543")]));
    let mut command = project.hm(&["build"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut build = Running::start(command);
    let mut some = [0; 100];
    build.0.stdout.take().expect("a pipe").read_exact(&mut some).expect("output");
    assert_ne!(build.ended(), Some(0));
    assert!(!process_with("sleep 976543"));
    let stderr = std::io::read_to_string(build.0.stderr.take().expect("a pipe")).expect("text");
    assert_eq!(stderr, "", "a closed pipe is no news to whoever closed it");
}
