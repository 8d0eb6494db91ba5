//! Lifecycle hooks in real builds: what they hear and when, how they stop a build, and what becomes of those that
//! break.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use hm_plugin_protocol::BuildEvent;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::foreign_plugins::module;
use crate::support::{Project, Ran, Running, exits, logs, step};

/// Imports of every hook here, and `$say`, which shows what it was called with as a warning.
const IMPORTS: &str = r#"(import "extism:host/user" "hm_log" (func $log (param i64 i64)))
    (import "extism:host/env" "input_offset" (func $input (result i64)))
    (import "extism:host/env" "error_set" (func $error (param i64)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))"#;

const WORDS: &str = r#"(data (i32.const 8192) "\"warn\"") (data (i32.const 8200) "{\"kind\":\"continue\"}")
    (data (i32.const 8300) "{\"kind\":\"abort\",\"reason\":\"enough\"}")
    (data (i32.const 8400) "{\"code\":\"no\",\"message\":\"cannot\",\"doc_url\":null}")
    (global $calls (mut i32) (i32.const 0))
    (func $say (call $log (call $block (i32.const 8192) (i64.const 6)) (call $input)))
    (func $continue (call $give (i32.const 8200) (i64.const 19)))
    (func $abort (call $give (i32.const 8300) (i64.const 34)))
    (func $fail (call $error (call $block (i32.const 8400) (i64.const 47))))"#;

pub(crate) struct Hook {
    pub(crate) name: &'static str,
    pub(crate) phase: &'static str,
    pub(crate) events: &'static [&'static str],
    pub(crate) timeout_ms: u32,
    pub(crate) run: &'static str,
}

pub(crate) const DEFAULT: Hook = Hook {
    name: "hook",
    phase: "before",
    events: &[],
    timeout_ms: 10_000,
    run: "(call $say) (call $continue) (i32.const 0)",
};

pub(crate) fn project(hooks: &[Hook], steps: &Value) -> Project {
    let project = Project::with_steps(steps);
    fs::create_dir_all(project.config().join("plugins")).expect("a directory");
    for Hook { name, phase, events, timeout_ms, run } in hooks {
        let spec =
            json!({"kind": "lifecycle_hook", "events": events, "phase": phase, "timeout_ms": timeout_ms});
        let manifest = json!({"api_version": 1, "name": name, "version": "0.1.0", "description": "",
            "config_schema": null, "required_host_fns": ["hm_log"], "capabilities": [spec]});
        let run = format!("{WORDS} (func (export \"hm_hook_on_event\") (result i32) {run})");
        let wasm = module(&manifest.to_string(), IMPORTS, &run);
        fs::write(project.config().join("plugins").join(name).with_extension("wasm"), wasm)
            .expect("a plugin");
    }
    project
}

/// Events that the hooks were told of, in order: plugin, phase and kind.
pub(crate) fn heard(ran: &Ran) -> Vec<String> {
    let told = ran.stderr.lines().filter_map(|line| line.strip_prefix("warning: plugin ")?.split_once(": {"));
    told.map(|(plugin, rest)| {
        let call: Value = serde_json::from_str(&format!("{{{rest}")).expect("an event");
        let word = |value: &Value| value.as_str().expect("a word").to_owned();
        format!("{plugin} {} {}", word(&call["phase"]), word(&call["event"]["kind"]))
    })
    .collect()
}

fn kinds(events: &[BuildEvent]) -> Vec<String> {
    let kind =
        |event| serde_json::to_value(event).expect("JSON")["kind"].as_str().expect("a kind").to_owned();
    events.iter().map(kind).collect()
}

#[test]
fn hooks_hear_what_they_asked_for_in_the_order_of_their_names() {
    const ALL: &[&str] = &["build_start", "step_queued", "step_start", "step_log", "step_end", "build_end"];
    let hooks = [
        Hook { name: "b", events: ALL, ..DEFAULT },
        Hook { name: "a", events: ALL, ..DEFAULT },
        Hook { name: "none", ..DEFAULT },
    ];
    let (ran, events) = project(&hooks, &json!([step("one", "echo hi")])).events(&[]);
    let ran = ran.expect_code(0);
    assert_eq!(kinds(&events), ALL);
    let told: Vec<String> =
        ALL.iter().flat_map(|kind| ["a", "b"].map(|hook| format!("{hook} before {kind}"))).collect();
    assert_eq!(heard(&ran), told);
    let after = [Hook { phase: "after", events: &["step_end", "build_end"], ..DEFAULT }];
    let (ran, _) = project(&after, &json!([step("one", "echo hi")])).events(&[]);
    assert_eq!(heard(&ran), ["hook after step_end", "hook after build_end"]);
}

#[test]
fn a_hook_stops_a_build_before_it_begins() {
    let hooks = [Hook { events: &["build_start"], run: "(call $abort) (i32.const 0)", ..DEFAULT }];
    let (ran, events) = project(&hooks, &json!([step("one", "true")])).events(&[]);
    assert_eq!(ran.expect_code(1).stderr, "error: plugin hook stopped the build: enough\n");
    assert_eq!(kinds(&events), ["build_start", "build_end"]);
    assert!(matches!(events[1], BuildEvent::BuildEnd { exit_code: 1, .. }));
}

#[test]
fn a_hook_stops_a_step_before_it_runs() {
    // The second step that it hears of; its state lives as long as the build.
    let run = "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (if (i32.eq (global.get $calls) (i32.const 2)) (then (call $abort)) (else (call $continue))) (i32.const 0)";
    let hooks = [Hook { events: &["step_start"], run, ..DEFAULT }];
    let steps = json!([step("one", "echo ran"), {"type": "wait"}, step("two", "echo ran"),
        {"type": "wait", "continue_on_failure": true}, step("three", "echo ran")]);
    let project = project(&hooks, &steps);
    let (ran, events) = project.events(&["-j1"]);
    assert!(ran.expect_code(1).stderr.contains("plugin hook stopped the build: enough"));
    assert_eq!(logs(&events), [("one".to_owned(), vec!["ran".to_owned()])].into());
    assert_eq!(exits(&events), [("one".to_owned(), 0), ("two".to_owned(), 130)].into());
}

#[test]
fn once_a_hook_has_stopped_the_build_no_step_is_started() {
    let steps = json!([step("one", "true"), step("two", "true"), {"type": "wait", "continue_on_failure": true},
        step("three", "true")]);
    let cases: [(&[&str], _); 2] = [(&["step_end"], vec![("one".to_owned(), 0)]), (&["step_queued"], vec![])];
    for (events, expected) in cases {
        let hooks = [Hook { events, run: "(call $abort) (i32.const 0)", ..DEFAULT }];
        let (ran, told) = project(&hooks, &steps).events(&["-j1"]);
        ran.expect_code(1);
        assert_eq!(exits(&told), expected.iter().cloned().collect(), "{events:?}");
        let starts = kinds(&told).iter().filter(|kind| *kind == "step_start").count();
        assert_eq!(starts, expected.len(), "{events:?}");
    }
}

#[test]
fn a_hook_stops_what_is_running() {
    let hooks = [Hook { events: &["step_log"], run: "(call $abort) (i32.const 0)", ..DEFAULT }];
    let (ran, events) = project(&hooks, &json!([step("one", "echo go; sleep 300")])).events(&[]);
    ran.expect_code(1);
    assert_eq!(exits(&events), [("one".to_owned(), 130)].into());
}

#[test]
fn one_interrupt_ends_a_build_whose_hook_waits() {
    // A clock, and ten minutes in nanoseconds.
    let sleep = "(call $say) (i32.store (i32.const 8616) (i32.const 1))
        (i64.store (i32.const 8624) (i64.const 600000000000))
        (drop (call $poll (i32.const 8600) (i32.const 8700) (i32.const 1) (i32.const 8800)))
        (call $continue) (i32.const 0)";
    for phase in ["before", "after"] {
        let events = &["build_start", "step_queued", "build_end"];
        let hook = Hook { phase, events, timeout_ms: 600_000, run: sleep, ..DEFAULT };
        let project = project(&[hook], &json!([step("one", "sleep 600")]));
        let mut command = project.hm(&["build"]);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut running = Running::start(command);
        let mut told = BufReader::new(running.0.stderr.take().expect("a pipe")).lines();
        assert!(told.any(|line| line.expect("a line").starts_with("warning: plugin hook: ")));
        running.signal(Signal::INT);
        assert_eq!(running.ended(), Some(130), "{phase}");
        let rest: Vec<String> = told.map(|line| line.expect("a line")).collect();
        assert!(rest.iter().any(|line| line.contains("switched off for the rest of the build")), "{rest:?}");
    }
}

#[test]
fn a_hook_turns_down_a_build_that_succeeded() {
    let hooks = [Hook { events: &["build_end"], run: "(call $abort) (i32.const 0)", ..DEFAULT }];
    let (ran, events) = project(&hooks, &json!([step("one", "true")])).events(&[]);
    ran.expect_code(1);
    assert!(matches!(events.last(), Some(BuildEvent::BuildEnd { exit_code: 1, .. })));
}

#[test]
fn a_plugin_error_before_an_event_stops_the_build_too() {
    let hooks = [Hook { events: &["step_start"], run: "(call $fail) (i32.const 1)", ..DEFAULT }];
    let (ran, _) = project(&hooks, &json!([step("one", "true")])).events(&[]);
    assert_eq!(ran.expect_code(1).stderr, "error: plugin hook stopped the build: cannot [no]\n");
}

#[test]
fn after_an_event_nothing_can_be_stopped() {
    let hooks = [Hook {
        phase: "after",
        events: &["step_start", "step_end"],
        run: "(call $abort) (i32.const 0)",
        ..DEFAULT
    }];
    let (ran, events) = project(&hooks, &json!([step("one", "true")])).events(&[]);
    let expected =
        "warning: the hook of plugin hook cannot stop the build after an event, only before: enough\n";
    assert_eq!(ran.expect_code(0).stderr, expected);
    assert_eq!(exits(&events), [("one".to_owned(), 0)].into());
}

#[test]
fn a_broken_hook_is_switched_off_and_the_others_go_on() {
    let broken = [
        ("unreachable", 10_000, "failed in hm_hook_on_event"),
        ("(loop $again (br $again)) (i32.const 0)", 50, "failed in hm_hook_on_event"),
        ("(loop $again (br $again)) (i32.const 0)", 0, "failed in hm_hook_on_event"),
        (
            "(call $give (i32.const 8193) (i64.const 4)) (i32.const 0)",
            10_000,
            "gave an answer from hm_hook_on_event",
        ),
    ];
    for phase in ["before", "after"] {
        for (run, timeout_ms, expected) in broken {
            let hooks = [
                Hook { name: "bad", phase, timeout_ms, events: &["step_start", "step_end"], run },
                Hook { name: "good", phase, events: &["step_start", "step_end"], ..DEFAULT },
            ];
            let (ran, events) = project(&hooks, &json!([step("one", "true")])).events(&[]);
            let ran = ran.expect_code(0);
            assert_eq!(exits(&events), [("one".to_owned(), 0)].into());
            assert_eq!(heard(&ran), [format!("good {phase} step_start"), format!("good {phase} step_end")]);
            let told: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("switched off")).collect();
            assert!(
                matches!(told[..], [one] if one.contains("plugin bad") && one.contains(expected)),
                "{}",
                ran.stderr
            );
        }
    }
}
