//! Ctrl-C and worse: everything stops at once, and nothing is left behind.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::{Project, child, ended, process_with, step, wait_until};

/// A build that has started two steps which would run for ever, with a marker that is in their command lines.
fn running_build(project: &Project, marker: &str) -> Child {
    let hm = project.hm(&["build", "-j2", "--format", "json"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("hm");
    wait_until("both steps run", || process_with(&format!("sleep {marker}1")) && process_with(&format!("sleep {marker}2")));
    hm
}

fn project(marker: &str) -> Project {
    Project::with_steps(&json!([
        step("root", "echo x > file"),
        child("one", "root", &format!("trap '' INT TERM HUP; setsid sleep {marker}1 & sleep {marker}1")),
        child("two", "root", &format!("nohup sleep {marker}2 & wait")),
    ]))
}

fn signal(hm: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(hm.id()).expect("a pid")).expect("a pid");
    kill_process(pid, signal).expect("the process is there");
}

fn layers_of(project: &Project) -> usize {
    // The private cache of this project only, since others are building meanwhile.
    fs::read_dir(project.path().join("../cache/harmont/layers")).map_or(0, Iterator::count)
}

/// The same command with a cache of its own.
fn with_own_cache(project: &Project, mut command: std::process::Command) -> std::process::Command {
    command.env("XDG_CACHE_HOME", project.path().join("../cache"));
    command
}

#[test]
fn the_first_signal_stops_everything_and_cleans_up() {
    for (kind, marker) in [(Signal::INT, "77001"), (Signal::TERM, "77002"), (Signal::HUP, "77003")] {
        let project = project(marker);
        let mut hm = running_build(&project, marker);
        signal(&hm, kind);
        assert_eq!(ended(&mut hm), Some(130), "{kind:?}");
        assert!(!process_with(&format!("sleep {marker}")), "{kind:?}");
        let output = std::io::read_to_string(hm.stdout.take().expect("a pipe")).expect("text");
        let last = output.lines().last().expect("events");
        assert!(last.contains(r#""kind":"build_end""#) && last.contains(r#""exit_code":130"#), "{last}");
    }
}

#[test]
fn a_killed_hm_leaves_no_process_and_the_next_run_removes_its_layers() {
    let marker = "77004";
    let project = project(marker);
    let mut hm = with_own_cache(&project, project.hm(&["build", "-j2"])).stdout(Stdio::null()).spawn().expect("hm");
    wait_until("both steps run", || process_with(&format!("sleep {marker}1")) && process_with(&format!("sleep {marker}2")));
    assert_eq!(layers_of(&project), 1);
    signal(&hm, Signal::KILL);
    ended(&mut hm);
    wait_until("the steps are gone", || !process_with(&format!("sleep {marker}")));
    project.write("next.json", r#"{"version":"0","steps":[{"type":"command","key":"k","cmd":"true"}]}"#);
    let status = with_own_cache(&project, project.hm(&["build", "--file", "next.json"])).stdout(Stdio::null()).status().expect("hm");
    assert_eq!(status.code(), Some(0));
    assert_eq!(layers_of(&project), 0);
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    assert!(!mounts.contains(&*project.path().parent().map(Path::to_string_lossy).expect("a parent")));
}

#[test]
fn a_build_whose_output_nobody_takes_can_still_be_stopped() {
    let project = Project::with_steps(&json!([step("a", "yes; sleep 77005")]));
    // The pipe is full after a moment, and stays full.
    let mut hm = project.hm(&["build"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("hm");
    wait_until("the step runs", || process_with("yes"));
    std::thread::sleep(std::time::Duration::from_secs(2));
    signal(&hm, Signal::INT);
    wait_until("the step is gone", || !process_with("sh -c yes; sleep 77005"));
    signal(&hm, Signal::INT);
    assert_eq!(ended(&mut hm), Some(130));
}
