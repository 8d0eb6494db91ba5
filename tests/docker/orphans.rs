//! `hm` is killed: what it ran in containers is soon dead, the next build works, and what is left on the engine is
//! removed then, and nothing else is.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use super::lab::{BUSYBOX, Engine, OWNER, RUN, root};
use crate::caching::{Built, forever};
use crate::support::{Project, Running, child, process_with, wait_until};

fn project(engine: &Engine, marker: &str) -> Project {
    engine.project(&json!([
        forever(root("root", "echo x > file")),
        child("one", "root", &format!("cat file; trap '' HUP TERM; setsid sleep {marker} & sleep {marker}")),
        child("two", "root", &format!("sleep {marker}")),
    ]))
}

fn start(project: &Project) -> Running {
    let mut command = project.hm(&["build", "-j2", "--format", "json"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Running::start(command)
}

/// Result of the next build.
fn next(project: &Project) -> Built {
    project.write("next.json", &json!({"version": "0", "steps": [root("k", "true")]}).to_string());
    Built::of(project, &["--file", "next.json"]).expect("", "k")
}

#[test]
fn a_killed_hm_takes_its_steps_along_and_the_next_run_removes_the_rest() {
    let Some(engine) = Engine::get() else { return };
    let marker = "8878001";
    let project = project(engine, marker);
    let mut build = start(&project);
    let pid = build.0.id();
    wait_until("both run", || engine.running(pid).len() == 2 && process_with(&format!("sleep {marker}")));
    build.0.kill().expect("a child");
    build.0.wait().expect("a child");
    wait_until("the steps are gone", || !process_with(&format!("sleep {marker}")));
    wait_until("the containers have ended", || engine.running(pid).is_empty());
    assert!(!engine.owned_by(pid).is_empty(), "or there is nothing to remove");
    let built = next(&project);
    assert_eq!(built.ran.stderr, "");
    wait_until("the rest is gone", || engine.owned_by(pid).is_empty());
    project.run(&["cache", "clear"]).expect_code(0);
}

#[test]
fn prune_and_clear_remove_the_rest_too() {
    let Some(engine) = Engine::get() else { return };
    for (command, marker) in [("prune", "8878003"), ("clear", "8878004")] {
        let project = project(engine, marker);
        let mut build = start(&project);
        let pid = build.0.id();
        wait_until("both run", || engine.running(pid).len() == 2);
        build.0.kill().expect("a child");
        build.0.wait().expect("a child");
        project.run(&["cache", command]).expect_code(0);
        assert_eq!(engine.owned_by(pid), [""; 0], "{command}");
        project.run(&["cache", "clear"]).expect_code(0);
        wait_until("the steps are gone", || !process_with(&format!("sleep {marker}")));
    }
}

#[test]
fn killed_at_any_moment_it_leaves_nothing_for_long() {
    let Some(engine) = Engine::get() else { return };
    let marker = "8878005";
    let project = project(engine, marker);
    let mut killed = Vec::new();
    for delay in [50, 120, 200, 280, 360, 450, 550, 700, 900, 1200, 1600, 2200] {
        let mut build = start(&project);
        std::thread::sleep(Duration::from_millis(delay));
        killed.push(build.0.id());
        build.0.kill().expect("a child");
        build.0.wait().expect("a child");
    }
    wait_until("no step runs", || !process_with(&format!("sleep {marker}")));
    wait_until("no container runs", || killed.iter().all(|pid| engine.running(*pid).is_empty()));
    next(&project);
    wait_until("the rest is gone", || killed.iter().all(|pid| engine.owned_by(*pid).is_empty()));
    project.run(&["cache", "clear"]).expect_code(0);
}

#[test]
fn what_is_not_a_dead_ones_own_stays() {
    let Some(engine) = Engine::get() else { return };
    let (dead, living) = (project(engine, "8878006"), project(engine, "8878007"));
    let other = start(&living);
    let mut build = start(&dead);
    let pid = build.0.id();
    wait_until("all run", || engine.running(pid).len() == 2 && engine.running(other.0.id()).len() == 2);
    let labels = engine.inspect(&engine.running(pid)[0])["Config"]["Labels"].clone();
    let owner = labels[OWNER].as_str().expect("an owner").to_owned();
    build.0.kill().expect("a child");
    build.0.wait().expect("a child");

    // Names like ours; a label like ours with nonsense in it; ours, but of another machine; and one of a process that
    // lives.
    let unique = uuid::Uuid::new_v4().simple().to_string();
    let parts: Vec<&str> = owner.split('.').collect();
    let with = |index: usize, value: &str| {
        let mut parts = parts.clone();
        parts[index] = value;
        format!("{OWNER}={}", parts.join("."))
    };
    let own_start = std::fs::read_to_string("/proc/self/stat").expect("a process");
    let own_start = own_start.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(19)).expect("a time");
    let mut this = parts.clone();
    let own_pid = std::process::id().to_string();
    (this[3], this[4]) = (&own_pid, own_start);
    let foreign: Vec<(String, Vec<String>)> = vec![
        (format!("hm-{}-1-k", &unique[..8]), vec![]),
        (format!("hm-{unique}-nonsense"), vec![format!("{OWNER}=nobody"), format!("{RUN}={unique}")]),
        (format!("hm-{unique}-elsewhere"), vec![with(0, "0123456789ab")]),
        (format!("hm-{unique}-namespace"), vec![with(2, "1")]),
        (format!("hm-{unique}-clocks"), vec![with(5, "1")]),
        (format!("hm-{unique}-living"), vec![format!("{OWNER}={}", this.join("."))]),
    ];
    let made: Vec<String> =
        foreign.iter().map(|(name, labels)| engine.foreign_container(name, labels)).collect();
    // And it really is told by this label, and by the name.
    let run = labels[RUN].as_str().expect("a run").to_owned();
    let left = format!("hm-{}-99-dead", &run.replace('-', "")[..8]);
    let of_the_dead = [format!("{OWNER}={owner}"), format!("{RUN}={run}")];
    engine.foreign_container(&left, &of_the_dead);
    let heir = format!("hm-{unique}-heir");
    engine.foreign_container(&heir, &of_the_dead);
    let image = format!("hm-run:{unique}");
    engine.docker(&["tag", BUSYBOX, &image]);

    next(&dead);
    wait_until("the rest is gone", || engine.containers(&format!("{OWNER}={owner}")) == [&*heir]);
    assert!(!engine.has(&left));
    engine.docker(&["rm", "-f", &heir]);
    for ((name, _), id) in foreign.iter().zip(&made) {
        assert_eq!(engine.inspect(id)["State"]["Running"], true, "{name}");
    }
    assert!(engine.has(&image));
    assert_eq!(engine.running(other.0.id()).len(), 2, "another build goes on");
    for id in &made {
        engine.docker(&["rm", "-f", id]);
    }
    engine.docker(&["rmi", &image]);
    drop(other);
    wait_until("the other is gone", || !process_with("sleep 8878007"));
    for project in [dead, living] {
        next(&project);
        project.run(&["cache", "clear"]).expect_code(0);
    }
}

#[test]
fn two_at_once_do_not_meet() {
    let Some(engine) = Engine::get() else { return };
    let steps = json!([
        forever(root("root", "echo x > x; sleep 1")),
        child("one", "root", "cat x; echo 1 > y; sleep 1; cat y"),
        child("two", "root", "cat x; ls; sleep 1; ls"),
    ]);
    let project = engine.project(&steps);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let built = Built::of(&project, &["-j2"]);
                assert_eq!(built.ran.code, Some(0), "{}{}", built.ran.stderr, built.ran.stdout);
                let logs = crate::support::logs(&built.events);
                assert_eq!(
                    (&logs["one"][..], &logs["two"][..]),
                    (&["x", "1"].map(str::to_owned)[..], &["x", "x", "x"].map(str::to_owned)[..])
                );
                assert_eq!(engine.left_by(&built.events), [""; 0]);
            });
        }
    });
    project.run(&["cache", "clear"]).expect_code(0);
}
