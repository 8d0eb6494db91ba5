//! Timeouts and Ctrl-C: what runs in containers is dead when the step or the build is over, and its containers are
//! gone.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::json;

use super::lab::{Engine, root};
use crate::support::{Running, child, exits, logs, process_with, step, wait_until};

#[test]
fn a_timeout_kills_what_runs_inside_the_container() {
    let Some(engine) = Engine::get() else { return };
    let mut slow = root(
        "slow",
        "trap '' TERM INT HUP; echo started; printf 'no line end'; setsid sleep 8876001 & (trap '' HUP; sleep 8876001) & sleep 8876001",
    );
    slow["timeout_seconds"] = json!(4);
    let (ran, events) = engine.project(&json!([slow, root("other", "sleep 6; echo fine")])).events(&["-j2"]);
    ran.expect_code(1);
    assert_eq!(exits(&events), [("slow".to_owned(), 124), ("other".to_owned(), 0)].into());
    assert_eq!(logs(&events)["slow"][..2], ["started", "no line end"]);
    assert!(!process_with("sleep 8876001"));
    assert_eq!(engine.left_by(&events), [""; 0]);
    let told = serde_json::to_string(&events).expect("JSON");
    assert!(told.contains("timed out") || told.contains("timeout"), "{told}");
}

#[test]
fn what_a_step_leaves_in_the_background_is_not_in_the_next_one() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&json!([
        root("root", "setsid sleep 8876002 & echo x > x"),
        child("child", "root", "ps | grep -c '[8]876002'; cat x"),
        child("later", "child", "sleep 2"),
    ]));
    let mut command = project.hm(&["build"]);
    command.stdout(Stdio::null());
    let mut build = Running::start(command);
    wait_until("it runs", || process_with("sleep 8876002"));
    wait_until("it is gone", || !process_with("sleep 8876002"));
    let status = build.ended();
    // grep finds nothing, and `cat` is what counts.
    assert_eq!(status, Some(0));
}

#[test]
fn the_first_signal_stops_everything_and_cleans_up() {
    let Some(engine) = Engine::get() else { return };
    for (kind, marker) in [(Signal::INT, "8877001"), (Signal::TERM, "8877002"), (Signal::HUP, "8877003")] {
        let stubborn = format!("trap '' INT TERM HUP; setsid sleep {marker}1 & sleep {marker}1");
        let project = engine.project(&json!([
            root("root", "echo x > file"),
            child("one", "root", &stubborn),
            root("two", &format!("setsid sleep {marker}2 & wait")),
            step("local", &format!("sleep {marker}3")),
        ]));
        let mut command = project.hm(&["build", "-j3", "--format", "json"]);
        command.stdout(Stdio::null());
        let mut build = Running::start(command);
        let runs = |n: u32| process_with(&format!("sleep {marker}{n}"));
        wait_until("all run", || runs(1) && runs(2) && runs(3));
        build.signal(kind);
        let pid = build.0.id();
        assert_eq!(build.ended(), Some(130), "{kind:?}");
        assert!(!process_with(&format!("sleep {marker}")), "{kind:?}");
        assert_eq!(engine.owned_by(pid), [""; 0], "{kind:?}");
    }
}

#[test]
fn a_signal_stops_a_build_at_any_moment() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&json!([
        root("root", "echo x > file"),
        child("one", "root", "seq 1 100000"),
        child("two", "one", "sleep 8877010"),
    ]));
    for delay in [0, 100, 200, 300, 400, 600, 800, 1000, 1500] {
        let mut command = project.hm(&["build", "--format", "json"]);
        command.stdout(Stdio::null());
        let mut build = Running::start(command);
        std::thread::sleep(std::time::Duration::from_millis(delay));
        build.signal(Signal::INT);
        let pid = build.0.id();
        let code = build.ended();
        // In its first milliseconds it does not listen to signals yet.
        assert!(code == Some(130) || (code.is_none() && delay == 0), "after {delay} ms: {code:?}");
        assert_eq!(engine.owned_by(pid), [""; 0], "after {delay} ms");
    }
    assert!(!process_with("sleep 8877010"));
}

#[test]
fn a_build_whose_output_nobody_takes_can_still_be_stopped() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&json!([root("a", "yes; sleep 8877005")]));
    // The pipe is full after a moment, and stays full.
    let mut command = project.hm(&["build"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut build = Running::start(command);
    wait_until("the step runs", || process_with("sh -c yes; sleep 8877005"));
    std::thread::sleep(std::time::Duration::from_secs(2));
    let pid = build.0.id();
    build.signal(Signal::INT);
    wait_until("the step is gone", || !process_with("sh -c yes; sleep 8877005"));
    build.signal(Signal::INT);
    assert_eq!(build.ended(), Some(130));
    wait_until("its container is gone", || engine.running(pid).is_empty());
}
