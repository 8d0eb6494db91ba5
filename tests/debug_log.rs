//! `HM_LOG`: what the debug log shows of host calls, commands and cache decisions, what it never shows, and that it is
//! off by default.

use serde_json::{Value, json};

use crate::support::{Project, step};

/// Words that stand in a command, its environment and its output, and in no line of the log.
const PRIVATE: &str = "private-words";

fn project(log: Option<&str>) -> Project {
    let mut kept = step("kept", &format!("echo {PRIVATE} $VALUE"));
    kept["cache"] = json!({"policy": "forever"});
    kept["env"] = json!({"VALUE": PRIVATE});
    let project = Project::with_steps(&Value::Array(vec![kept])).alone();
    match log {
        Some(value) => project.with_variable("HM_LOG", value),
        None => project,
    }
}

/// Lines of the log on standard error.
fn log(stderr: &str) -> Vec<&str> {
    stderr.lines().filter(|line| line.contains("hm::")).collect()
}

#[test]
fn host_calls_commands_and_cache_decisions_are_shown_and_nothing_private_is_in_them() {
    let project = project(Some("debug"));
    let first = project.run(&["build"]).expect_code(0);
    let lines = log(&first.stderr);
    let line = |words: &[&str]| {
        assert!(
            lines.iter().any(|line| words.iter().all(|word| line.contains(word))),
            "{words:?} in {lines:#?}"
        );
    };
    line(&["hm::gate", r#"plugin="local""#, r#"function="hm_sandbox_exec""#, r#"decision="allowed""#]);
    line(&["hm::exec", "command started"]);
    line(&["hm::exec", "command ended"]);
    line(&["hm::cache", r#"step="kept""#, "Miss"]);
    line(&["hm::plugin", r#"plugin="local""#, r#"state="loaded""#]);
    assert!(!first.stderr.contains(PRIVATE), "{}", first.stderr);
    let second = project.run(&["build"]).expect_code(0);
    assert!(log(&second.stderr).iter().any(|line| line.contains("hm::cache") && line.contains("Hit")));
}

#[test]
fn only_what_was_asked_for_is_shown_and_nothing_without_being_asked() {
    let silent = project(None).run(&["build"]).expect_code(0);
    assert_eq!(log(&silent.stderr), [""; 0]);
    assert!(silent.stdout.contains(PRIVATE), "the step has run: {}", silent.stdout);
    let some = project(Some("hm::exec=debug")).run(&["build"]).expect_code(0);
    let lines = log(&some.stderr);
    assert!(!lines.is_empty() && lines.iter().all(|line| line.contains("hm::exec")), "{lines:#?}");
}

#[test]
fn what_cannot_be_understood_is_refused() {
    for value in ["debgu", "hyper=trace", "hm=", "hm::gate"] {
        let refused = project(Some(value)).run(&["version"]).expect_code(2);
        assert!(refused.stderr.starts_with("error: HM_LOG cannot be used: "), "{}", refused.stderr);
        assert!(refused.stderr.contains("hint: it takes a level"), "{}", refused.stderr);
    }
    project(Some("")).run(&["version"]).expect_code(0);
}
