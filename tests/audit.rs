//! `hm build --audit`: every line of it, that nothing private is in it, and what becomes of a build whose audit cannot
//! be written.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, FileType, mknodat};
use serde_json::{Value, json};

use crate::foreign_plugins::module;
use crate::reach::{Had, Server, manifest, project, sender};
use crate::support::{Project, step};

/// The lines of an audit about plugins that are not built in, without what differs from run to run.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("an audit");
    let mut lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}")))
        .collect();
    for line in &mut lines {
        let line = line.as_object_mut().expect("an object");
        let time = line.remove("time").expect("a time");
        assert!(time.as_str().is_some_and(|time| time.ends_with('Z') && time.len() == 27), "{time}");
        assert!(line.remove("micros").is_some_and(|micros| micros.is_u64()));
        if line["role"] == "executor" {
            assert!(line.remove("step").is_some_and(|step| step.as_str().is_some_and(|id| id.len() == 36)));
        }
    }
    lines.retain(|line| {
        !["docker", "human", "json", "local"].contains(&line["plugin"].as_str().expect("a name"))
    });
    lines
}

/// A plugin that logs something private, and then asks for a stored value, which it may not.
fn talker() -> Vec<u8> {
    let imports = r#"
        (import "extism:host/user" "hm_log" (func $log (param i64 i64)))
        (import "extism:host/user" "hm_kv_get" (func $get (param i64 i64) (result i64)))"#;
    let definitions = r#"
        (data (i32.const 8192) "\22debug\22")
        (data (i32.const 8200) "private-words")
        (data (i32.const 8220) "\22plugin\22")
        (func (export "hm_executor_run") (result i32)
          (call $log (call $block (i32.const 8192) (i64.const 7)) (call $block (i32.const 8200) (i64.const 13)))
          (drop (call $get (call $block (i32.const 8220) (i64.const 8)) (call $block (i32.const 8200) (i64.const 13))))
          (i32.const 0))"#;
    module(&manifest("talker", &["hm_log"], &["dir:docs", "unix:/run/x.sock"]), imports, definitions)
}

#[test]
fn every_call_denial_and_grant_has_its_line_and_nothing_private_is_in_it() {
    let canary = Server::answering("");
    let to_canary = format!("http://localhost:{}", canary.address.port());
    let server =
        Server::answering(&format!("HTTP/1.1 302 Found\r\nlocation: {to_canary}/private-path\r\n\r\n"));
    let to = format!("http://{}", server.address);
    let sender = sender("sender", &["127.0.0.1"], server.address);
    let project = project(&[("sender", sender), ("talker", talker())], Had::Installed);
    let audit = project.path().join("audit.jsonl");
    fs::write(&audit, "what was there before\n").expect("a file");
    let run = |name: &str| {
        let mut step = step(name, "true");
        step["runner"] = json!(name);
        step
    };
    // The second runs although the first fails.
    let steps = json!([run("sender"), {"type": "wait", "continue_on_failure": true}, run("talker")]);
    project.write(".hm/ci.json", &json!({"version": "0", "steps": steps}).to_string());
    project.run(&["build", "--audit", "audit.jsonl"]).expect_code(6);

    let line = |plugin: &str, subject: &str, decision: &str, bytes_in: u64| {
        json!({"plugin": plugin, "role": "executor", "subject": subject, "decision": decision,
               "bytes_in": bytes_in, "bytes_out": 0})
    };
    let with = |mut line: Value, more: &[(&str, &str)]| {
        for (key, value) in more {
            line[key] = json!(value);
        }
        line
    };
    let of_sender = [
        line("sender", "127.0.0.1", "granted", 0),
        with(line("sender", "http_request", "denied: an allowed host leads there", 0), &[("to", &to_canary)]),
        with(line("sender", "http_request", "allowed", 12), &[("to", &to), ("outcome", "denied")]),
    ];
    let of_talker = [
        line("talker", "dir:docs", "granted", 0),
        line("talker", "unix:/run/x.sock", "granted", 0),
        with(line("talker", "hm_log", "allowed", 20), &[("outcome", "ok")]),
        line(
            "talker",
            "hm_kv_get",
            "denied: its manifest does not ask for it, and it was not granted by name",
            21,
        ),
    ];
    let found = lines(&audit);
    for (plugin, expected) in [("sender", &of_sender[..]), ("talker", &of_talker)] {
        let found: Vec<&Value> = found.iter().filter(|line| line["plugin"] == plugin).collect();
        let mut found: Vec<String> = found.iter().map(ToString::to_string).collect();
        let mut expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        // A request's line is written when it is over.
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), of_sender.len() + of_talker.len());
    let text = fs::read_to_string(&audit).expect("an audit");
    assert!(!text.contains("private") && !text.contains("before"), "{text}");
    assert_eq!(canary.connections(), 0);
}

#[test]
fn requests_that_may_not_be_sent_are_written_down_also_where_nothing_was_granted() {
    let server = Server::answering("");
    let project = project(&[("sender", sender("sender", &["127.0.0.1"], server.address))], Had::Found);
    project.run(&["build", "--audit", "audit.jsonl"]).expect_code(6);
    let expected = json!({"plugin": "sender", "role": "executor", "subject": "http_request",
        "to": format!("http://{}", server.address), "decision": "denied: the host is not one of its own",
        "bytes_in": 12, "bytes_out": 0});
    assert_eq!(lines(&project.path().join("audit.jsonl")), [expected]);
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_full_disk_does_not_end_the_build_but_is_said() {
    let project = Project::with_steps(&json!([step("one", "echo done")]));
    let ran = project.run(&["build", "--audit", "/dev/full"]).expect_code(0);
    assert!(ran.stdout.contains("done"), "{}", ran.stdout);
    assert_eq!(ran.stderr, "warning: the audit is not complete: No space left on device (os error 28)\n");
}

#[test]
fn what_is_no_file_is_refused_before_anything_runs() {
    let project = Project::with_steps(&json!([step("one", "echo done")]));
    mknodat(CWD, project.path().join("pipe"), FileType::Fifo, 0o600.into(), 0).expect("a pipe");
    fs::write(project.home().join("canary"), "mine").expect("a file");
    symlink(project.home().join("canary"), project.path().join("link")).expect("a link");
    for path in ["pipe", ".", "missing/audit", "link"] {
        let ran = project.run(&["build", "--audit", path]).expect_code(2);
        assert_eq!(ran.stdout, "");
        let start = format!("error: cannot write the audit to {path}\n  1: ");
        assert!(ran.stderr.starts_with(&start), "{}", ran.stderr);
    }
    assert_eq!(fs::read_to_string(project.home().join("canary")).expect("a file"), "mine");
}
