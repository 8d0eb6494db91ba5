//! Ctrl-C and worse: everything stops at once, and nothing is left behind.

use std::fs;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Project, Running, child, process_with, step, wait_until};

const BOTH: &str = "both steps run";

fn project(marker: &str) -> Project {
    Project::with_steps(&json!([
        step("root", "echo x > file"),
        child("one", "root", &format!("trap '' INT TERM HUP; setsid sleep {marker}1 & sleep {marker}1")),
        child("two", "root", &format!("nohup sleep {marker}2 & wait")),
    ]))
}

/// True if both steps of [`project`] run.
fn both_run(marker: &str) -> bool {
    process_with(&format!("sleep {marker}1")) && process_with(&format!("sleep {marker}2"))
}

/// The runs whose layers are in the cache of this project alone, since others are building meanwhile.
fn runs_with_layers(project: &Project) -> usize {
    let entries = fs::read_dir(project.home().join("cache/harmont/layers")).into_iter().flatten();
    entries.filter(|e| e.as_ref().is_ok_and(|e| e.path().is_dir())).count()
}

/// `hm` with a cache of this project alone.
fn hm(project: &Project, args: &[&str]) -> Command {
    let mut command = project.hm(args);
    command.env("XDG_CACHE_HOME", project.home().join("cache"));
    command
}

#[test]
fn the_first_signal_stops_everything_and_cleans_up() {
    for (kind, marker) in [(Signal::INT, "77001"), (Signal::TERM, "77002"), (Signal::HUP, "77003")] {
        let project = project(marker);
        let mut command = hm(&project, &["build", "-j2", "--format", "json"]);
        command.stdout(Stdio::piped());
        let mut build = Running::start(command);
        wait_until(BOTH, || both_run(marker));
        build.signal(kind);
        assert_eq!(build.ended(), Some(130), "{kind:?}");
        assert!(!process_with(&format!("sleep {marker}")), "{kind:?}");
        assert_eq!(runs_with_layers(&project), 0);
        let output = std::io::read_to_string(build.0.stdout.take().expect("a pipe")).expect("text");
        let last = output.lines().last().expect("events");
        assert!(last.contains(r#""kind":"build_end""#) && last.contains(r#""exit_code":130"#), "{last}");
    }
}

#[test]
fn a_killed_hm_leaves_no_process_and_the_next_run_removes_its_layers() {
    let marker = "77004";
    let project = project(marker);
    let mut command = hm(&project, &["build", "-j2"]);
    command.stdout(Stdio::null());
    let mut build = Running::start(command);
    wait_until(BOTH, || both_run(marker));
    assert_eq!(runs_with_layers(&project), 1);
    build.signal(Signal::KILL);
    build.ended();
    wait_until("the steps are gone", || !process_with(&format!("sleep {marker}")));
    project.write("next.json", r#"{"version":"0","steps":[{"type":"command","key":"k","cmd":"true"}]}"#);
    let status = hm(&project, &["build", "--file", "next.json"]).stdout(Stdio::null()).status().expect("hm");
    assert_eq!(status.code(), Some(0));
    assert_eq!(runs_with_layers(&project), 0);
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    assert!(!mounts.contains(&*project.home().to_string_lossy()));
}

#[test]
fn a_build_whose_output_nobody_takes_can_still_be_stopped() {
    let project = Project::with_steps(&json!([step("a", "yes; sleep 77005")]));
    // The pipe is full after a moment, and stays full.
    let mut command = project.hm(&["build"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut build = Running::start(command);
    wait_until("the step runs", || process_with("sh -c yes; sleep 77005"));
    std::thread::sleep(std::time::Duration::from_secs(2));
    build.signal(Signal::INT);
    wait_until("the step is gone", || !process_with("sh -c yes; sleep 77005"));
    build.signal(Signal::INT);
    assert_eq!(build.ended(), Some(130));
}
