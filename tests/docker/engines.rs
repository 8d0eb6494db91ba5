//! An engine that is not there, goes away in the middle, or is not needed: what `hm` says, how it ends, and that it
//! does end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::json;

use super::lab::{Engine, root};
use crate::support::{Project, exits, process_with, ran, step, wait_until};

#[test]
fn an_engine_that_is_not_there_is_named_with_both_ways_out() {
    let folder = tempfile::tempdir().expect("a directory");
    let nowhere = folder.path().join("docker.sock");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed = format!("tcp://{}", listener.local_addr().expect("an address"));
    drop(listener);
    for host in [format!("unix://{}", nowhere.display()), closed] {
        let project = Project::with_steps(&json!([root("k", "echo it ran"), step("local", "echo first")]))
            .with_variable("DOCKER_HOST", &host);
        let ran = project.run(&["build"]).expect_code(4);
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains(&host), "{}", ran.stderr);
        assert!(ran.stderr.contains("hint: ") && ran.stderr.contains("--runner local"), "{}", ran.stderr);
        assert!(ran.stderr.contains("DOCKER_HOST"), "{}", ran.stderr);
        assert_eq!(ran.stdout, "", "nothing has begun");
        let elsewhere = project.run(&["build", "--runner", "local"]).expect_code(0);
        assert!(elsewhere.stdout.contains("it ran"), "{}", elsewhere.stdout);
        let planned = project.run(&["plan"]).expect_code(0);
        let expected = format!(
            "warning: steps in containers are foretold as if nothing were kept: no engine answers at {host} (DOCKER_HOST): "
        );
        assert!(planned.stderr.starts_with(&expected), "{}", planned.stderr);
        assert!(planned.stderr.len() < 230, "{}", planned.stderr);
    }
}

#[test]
fn without_docker_host_every_place_is_named() {
    let Some(_) = Engine::get() else { return };
    let project = Project::with_steps(&json!([root("k", "true")]));
    let ran = project.run(&["build"]);
    if ran.code == Some(0) || ran.stderr.contains("pull") {
        // This machine has an engine of its own.
        return;
    }
    let ran = ran.expect_code(4);
    assert!(
        ran.stderr.contains("/var/run/docker.sock") && ran.stderr.contains("--runner local"),
        "{}",
        ran.stderr
    );
    let expected = "warning: steps in containers are foretold as if nothing were kept: no engine answers in any of the usual places\n";
    assert_eq!(project.run(&["plan"]).expect_code(0).stderr, expected);
}

#[test]
fn steps_of_other_runners_need_no_engine() {
    let project = Project::with_steps(&json!([step("k", "echo it ran")]))
        .with_variable("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    let ran = project.run(&["build"]).expect_code(0);
    assert!(ran.stdout.contains("it ran") && ran.stderr.is_empty(), "{}{}", ran.stdout, ran.stderr);
    project.run(&["cache", "list"]).expect_code(0);
    project.run(&["cache", "prune"]).expect_code(0);
}

#[test]
fn a_socket_that_may_not_be_used_is_told_apart_from_none() {
    let Some(engine) = Engine::get() else { return };
    if !rustix::process::geteuid().is_root() {
        return crate::support::skipped("only root can become another user");
    }
    let folder = tempfile::Builder::new().prefix("hm-user-").tempdir().expect("a directory");
    let hm = folder.path().join("hm");
    fs::copy(env!("CARGO_BIN_EXE_hm"), &hm).expect("a copy that the user can reach");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    let project = folder.path().join("project");
    fs::create_dir_all(project.join(".hm")).expect("a directory");
    let steps = json!({"version": "0", "steps": [root("k", "true")]});
    fs::write(project.join(".hm/ci.json"), steps.to_string()).expect("a file");
    let home = folder.path().join("home");
    fs::create_dir(&home).expect("a directory");
    std::os::unix::fs::chown(&home, Some(1234), Some(1234)).expect("chown");
    let mut command = std::process::Command::new(&hm);
    std::os::unix::process::CommandExt::uid(&mut command, 1234);
    std::os::unix::process::CommandExt::gid(&mut command, 1234);
    command.arg("build").current_dir(&project).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", &home);
    let ran = ran(command.env("DOCKER_HOST", &engine.host).output().expect("hm")).expect_code(4);
    assert!(ran.stderr.to_lowercase().contains("permission denied"), "{}", ran.stderr);
    assert!(ran.stderr.contains("--runner local"), "{}", ran.stderr);
}

#[test]
fn an_engine_that_dies_in_mid_step_fails_the_step_and_hangs_nothing() {
    let Some(engine) = Engine::alone() else { return };
    let project = engine.project(&json!([
        root("doomed", "echo started; sleep 8879001"),
        step("local", "sleep 5; echo fine")
    ]));
    let mut command = project.hm(&["build", "--format", "json", "-j2"]);
    let build = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("hm starts");
    wait_until("the step runs", || process_with("sleep 8879001"));
    let host = engine.host.clone();
    drop(engine);
    let ran = ran(build.wait_with_output().expect("hm ends"));
    let told = format!("{}{}", ran.stderr, ran.stdout);
    assert_eq!(ran.code, Some(4), "{told}");
    assert!(told.contains("doomed") && told.contains(&host), "{told}");
    let events: Vec<_> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    assert_eq!(exits(&events).get("local"), Some(&0), "{told}");
    assert_ne!(exits(&events).get("doomed"), Some(&0), "{told}");
    project.run(&["build"]).expect_code(4);
    assert!(!process_with("sleep 8879001"));
}

#[test]
fn an_engine_that_answers_no_more_can_be_given_up() {
    let Some(engine) = Engine::alone() else { return };
    let project = engine.project(&json!([root("stuck", "sleep 8879002")]));
    let mut command = project.hm(&["build"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut build = crate::support::Running::start(command);
    wait_until("the step runs", || process_with("sleep 8879002"));
    engine.signal(rustix::process::Signal::STOP);
    build.signal(rustix::process::Signal::INT);
    std::thread::sleep(std::time::Duration::from_secs(1));
    // The second one means at once.
    build.signal(rustix::process::Signal::INT);
    assert_eq!(build.ended(), Some(130));
    engine.signal(rustix::process::Signal::CONT);
    wait_until("the step is gone", || !process_with("sleep 8879002"));
}
