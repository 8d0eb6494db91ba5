//! Many builds at once, many steps, many lines: each step is run by one build, and none takes more than its share.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use hm_plugin_protocol::BuildEvent;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::newest_record;
use crate::caching::{Built, counted, forever, home_of_steps};
use crate::support::{Project, Running, child, logs, process_with, ran, step, wait_until};

#[test]
fn of_many_builds_at_once_one_runs_each_step() {
    let note = |key: &str| format!("echo {key} >> $HOME/count; sleep 0.2; date +%s%N >> times; cat times");
    let project = Project::with_steps(&json!([
        forever(step("root", &note("root"))),
        forever(child("left", "root", &note("left"))),
        forever(child("leaf", "left", &note("leaf"))),
        forever(child("right", "root", &note("right"))),
        forever(step("other", &note("other"))),
        child("look", "leaf", "cat times"),
    ]))
    .alone();
    let start = |_| {
        let mut command = project.hm(&["build", "--format", "json", "-j", "2"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("hm starts")
    };
    let builds: Vec<_> = (0..16).map(start).collect();
    let mut all = Vec::new();
    for build in builds {
        let ran = ran(build.wait_with_output().expect("hm ends")).expect_code(0);
        assert_eq!(ran.stderr, "");
        let events: Vec<BuildEvent> =
            ran.stdout.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
        all.push(logs(&events));
    }
    assert_eq!(counted(&project), ["leaf", "left", "other", "right", "root"]);
    assert!(all.iter().all(|logs| *logs == all[0]), "{all:#?}");
    assert_eq!(all[0]["look"].len(), 3);
}

#[test]
fn who_waits_for_a_build_that_is_killed_takes_over() {
    let marker = "sleep 66101";
    let script = format!("echo x >> $HOME/count; test -e $HOME/go || {marker}; echo made");
    let project = Project::with_steps(&json!([forever(step("k", &script))])).alone();
    let start = || {
        let mut command = project.hm(&["build"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Running::start(command)
    };
    let mut first = start();
    wait_until("the step runs", || process_with(marker));
    let mut second = start();
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(counted(&project).len(), 1, "the second waits");
    fs::write(home_of_steps(&project).join("go"), "").expect("a file");
    first.signal(Signal::KILL);
    assert_eq!((first.ended(), second.ended()), (None, Some(0)));
    assert_eq!(counted(&project).len(), 2);
    Built::of(&project, &[]).expect("k", "");
}

#[test]
fn who_waits_for_another_build_can_be_stopped() {
    let marker = "sleep 66102";
    let project = Project::with_steps(&json!([forever(step("k", marker))])).alone();
    let start = || {
        let mut command = project.hm(&["build", "--format", "json"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Running::start(command)
    };
    let mut first = start();
    wait_until("the step runs", || process_with(marker));
    let mut second = start();
    std::thread::sleep(std::time::Duration::from_secs(1));
    second.signal(Signal::INT);
    assert_eq!(second.ended(), Some(130));
    assert!(process_with(marker), "the first goes on");
    first.signal(Signal::INT);
    assert_eq!(first.ended(), Some(130));
}

/// A chain of steps, all kept.
fn chain(length: usize) -> Vec<Value> {
    let key = |n: usize| format!("s{n}");
    let one = |n: usize| match n {
        0 => forever(step(&key(0), "echo 0 >> list")),
        n => forever(child(&key(n), &key(n - 1), &format!("echo {n} >> list"))),
    };
    (0..length).map(one).collect()
}

#[test]
fn few_open_files_are_enough_for_many_steps() {
    let mut steps = chain(200);
    steps.push(child("end", "s199", "wc -l < list"));
    let project = Project::with_steps(&json!(steps)).alone();
    for _ in 0..2 {
        let hm = project.hm(&["build", "--format", "json", "-j", "2"]);
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]).arg(hm.get_program()).args(hm.get_args());
        command
            .current_dir(project.path())
            .env_clear()
            .envs(hm.get_envs().filter_map(|(n, v)| Some((n, v?))));
        let ran = ran(command.output().expect("sh")).expect_code(0);
        assert_eq!(ran.stderr, "");
        assert!(ran.stdout.contains(r#""line":"200""#));
    }
    assert_eq!(Built::of(&project, &[]).started(), "end");
}

/// A build of a step that prints this many numbers: all of them arrive, and all are in its record.
fn numbers_arrive(project: &Project, count: usize) {
    let mut command = project.hm(&["build", "--format", "json"]);
    command.stdout(Stdio::piped());
    let mut build = Running::start(command);
    let events =
        BufReader::new(build.0.stdout.take().expect("a pipe")).lines().map(|line| line.expect("text"));
    // Taken apart by hand, since there are so many.
    let mut lines = events.filter(|event| event.contains(r#""kind":"step_log""#));
    for number in 1..=count {
        let event = lines.next().unwrap_or_default();
        assert!(event.contains(&format!(r#""line":"{number}""#)), "{number}: {event}");
    }
    assert_eq!(lines.next(), None);
    assert_eq!(build.ended(), Some(0));
    let log =
        fs::File::open(newest_record(project).expect("a record").join("logs/00000-k.log")).expect("a log");
    let mut lines = BufReader::new(log).lines().map(|line| line.expect("text"));
    for number in 1..=count {
        assert!(lines.next().is_some_and(|line| line.ends_with(&format!("Z o {number}"))), "{number}");
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn a_million_lines_arrive_and_are_recorded() {
    let project = Project::with_steps(&json!([step("k", "seq 1000000")])).alone();
    numbers_arrive(&project, 1_000_000);
}

#[test]
fn many_lines_come_back_from_the_cache() {
    let project =
        Project::with_steps(&json!([forever(step("k", "echo x >> $HOME/count; seq 100000"))])).alone();
    for _ in 0..2 {
        numbers_arrive(&project, 100_000);
    }
    assert_eq!(counted(&project).len(), 1);
}

/// The most memory that a build of this many steps, half of them a chain and half of them on its first, has had at a
/// time, in KiB.
fn memory_of(count: usize) -> u64 {
    let mut steps = chain(count / 2);
    let tiny = |n| forever(child(&format!("f{n}"), "s0", &format!(": {n}")));
    steps.extend((0..count / 2).map(tiny));
    steps.push(json!({"type": "wait"}));
    let marker = format!("66200{count}");
    steps.push(step("end", &format!("until test -e $HOME/go; do sleep 0.05; done; : {marker}")));
    let project = Project::with_steps(&json!(steps)).alone();
    let mut command = project.hm(&["build", "-j", "2"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut build = Running::start(command);
    let start = std::time::Instant::now();
    while !process_with(&marker) {
        assert!(build.0.try_wait().expect("a child").is_none(), "it ended too soon");
        assert!(start.elapsed() < std::time::Duration::from_secs(600), "it takes for ever");
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    let status = fs::read_to_string(format!("/proc/{}/status", build.0.id())).expect("a status");
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    fs::write(home_of_steps(&project).join("go"), "").expect("a file");
    assert_eq!(build.ended(), Some(0));
    println!("{count} steps: {most}, {:?}", start.elapsed());
    most.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn memory_does_not_grow_with_the_number_of_steps() {
    let (few, many) = (memory_of(200), memory_of(2000));
    assert!(many < few + 64 * 1024, "200 steps: {few} KiB, 2,000 steps: {many} KiB");
}
