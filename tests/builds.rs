//! What steps can do and see, and what becomes of a build when they fail.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

use serde_json::json;

use crate::support::{Project, child, exits, logs, repository, skipped, step};

#[test]
fn children_see_their_parent_and_forks_do_not_see_each_other() {
    let project = Project::with_steps(&json!([
        step("root", "cat source.txt; echo root > root.txt; rm gone.txt"),
        child("left", "root", "cat root.txt; ls gone.txt right.txt; echo left > left.txt; sleep 1; ls"),
        child("right", "root", "cat root.txt; echo right > right.txt; sleep 1; ls"),
        {"type": "wait"},
        child("after", "left", "cat left.txt; ls"),
        step("fresh", "ls"),
    ]));
    project.write("source.txt", "mine\n");
    project.write("gone.txt", "still here\n");
    let (ran, events) = project.events(&["-j", "4"]);
    ran.expect_code(0);
    let logs = logs(&events);
    assert_eq!(logs["root"], ["mine"]);
    assert_eq!(logs["right"], ["root", "right.txt", "root.txt", "source.txt"]);
    assert!(
        logs["left"].contains(&"left.txt".to_owned())
            && logs["left"].iter().filter(|l| l.contains("No such file")).count() == 2
    );
    assert_eq!(logs["after"], ["left", "left.txt", "root.txt", "source.txt"]);
    assert_eq!(logs["fresh"], ["gone.txt", "source.txt"]);
    // The user's own tree is as it was.
    assert_eq!(fs::read_to_string(project.path().join("gone.txt")).expect("there"), "still here\n");
    let mut names: Vec<_> = fs::read_dir(project.path())
        .expect("a directory")
        .map(|e| e.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, [".hm", "gone.txt", "source.txt"]);
}

#[test]
fn a_failure_stops_what_has_not_started() {
    let project = Project::with_steps(&json!([
        step("good", "true"),
        step("bad", "echo why >&2; exit 3"),
        step("never", "true")
    ]));
    let (ran, events) = project.events(&["-j", "1"]);
    ran.expect_code(1);
    assert_eq!(exits(&events), [("good".to_owned(), 0), ("bad".to_owned(), 3)].into());

    let human = project.run(&["build", "-j1"]).expect_code(1);
    for part in ["why", "bad", "exited with code 3"] {
        assert!(human.stdout.contains(part), "{part:?} is not in\n{}", human.stdout);
    }
}

#[test]
fn waits_hold_back_and_may_continue_after_a_failure() {
    let project = Project::with_steps(&json!([
        step("bad", "exit 9"), {"type": "wait", "continue_on_failure": true}, step("report", "echo reporting"),
        {"type": "wait"}, step("deploy", "true"),
    ]));
    let (ran, events) = project.events(&[]);
    ran.expect_code(1);
    assert_eq!(exits(&events), [("bad".to_owned(), 9), ("report".to_owned(), 0)].into());
}

#[test]
fn a_timeout_stops_the_step_and_all_that_it_started() {
    let mut slow = step("slow", "echo started; printf 'no line end'; setsid sleep 987654 & sleep 987654");
    slow["timeout_seconds"] = json!(1);
    let (ran, events) = Project::with_steps(&json!([slow])).events(&[]);
    ran.expect_code(1);
    assert_eq!(exits(&events), [("slow".to_owned(), 124)].into());
    assert_eq!(logs(&events)["slow"], ["started", "no line end"]);
    assert!(!crate::support::process_with("sleep 987654"));
}

#[test]
fn a_shell_that_is_not_there_is_the_steps_failure() {
    let mut step = step("a", "true");
    step["runner_args"] = json!({"shell": "nosuch"});
    let (ran, events) = Project::with_steps(&json!([step])).events(&[]);
    ran.expect_code(1);
    assert_eq!(exits(&events), [("a".to_owned(), 127)].into());
    assert!(logs(&events)["a"][0].starts_with("hm: cannot start the command: `nosuch`"), "{events:?}");
}

#[test]
fn environments_merge_and_the_users_own_stays_out() {
    let project = Project::new();
    project.write(
        ".hm/ci.json",
        &json!({"version": "0", "env": {"A": "pipeline", "B": "pipeline"}, "steps": [
            {"type": "command", "key": "k", "cmd": "echo $A $B $C $TYPED $MINE; echo secret:$SECRET; pwd; echo $CI", "env": {"B": "step", "C": ""}}
        ]})
        .to_string(),
    );
    let output = project
        .hm(&["build", "--format", "json", "--env", "TYPED=a=b", "-e", "MINE"])
        .env("MINE", "handed on")
        .env("SECRET", "hunter2")
        .output()
        .expect("hm");
    let events: Vec<_> = String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .map(|l| serde_json::from_str(l).expect("event"))
        .collect();
    assert_eq!(logs(&events)["k"], ["pipeline step a=b handed on", "secret:", "/workspace", "true"]);
}

#[test]
fn home_is_private_and_lasts() {
    let project =
        Project::with_steps(&json!([step("k", "cat ~/mark 2>/dev/null || echo fresh > ~/mark; ls -A ~")]));
    fs::write(project.home().join("secret"), "hunter2").expect("a file");
    let first = project.events(&[]).1;
    assert!(logs(&first)["k"].last().is_some_and(|l| l == "mark"), "{first:?}");
    let second = project.events(&[]).1;
    assert_eq!(logs(&second)["k"], ["fresh", "mark"]);
}

#[test]
fn secrets_of_the_machine_are_not_there() {
    let project = Project::with_steps(&json!([
        step("shadow", "cat /etc/shadow"),
        step("home", "ls /root/.ssh /home/*/.ssh"),
        step("write", "touch /usr/x /etc/x"),
    ]));
    fs::write(project.home().join(".netrc"), "hunter2").expect("a file");
    for key in ["shadow", "home", "write"] {
        // Each on its own, for the first failure would hide the others.
        let text = fs::read_to_string(project.path().join(".hm/ci.json")).expect("the pipeline");
        let mut pipeline: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        pipeline["steps"].as_array_mut().expect("steps").retain(|s| s["key"] == key);
        project.write("one.json", &pipeline.to_string());
        let (ran, events) = project.events(&["--file", "one.json"]);
        assert_eq!(ran.code, Some(1), "{key} must fail: {events:?}");
    }
}

#[test]
fn the_network_is_there_unless_somebody_takes_it_away() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let connect = format!("exec 3<>/dev/tcp/127.0.0.1/{port} && echo connected");
    let args = |network: Option<bool>| match network {
        Some(network) => json!({"shell": "bash", "network": network}),
        None => json!({"shell": "bash"}),
    };
    let project = |network| {
        let mut step = step("net", &connect);
        step["runner_args"] = args(network);
        Project::with_steps(&json!([step]))
    };
    project(None).events(&[]).0.expect_code(0);
    project(Some(true)).events(&[]).0.expect_code(0);
    project(Some(false)).events(&[]).0.expect_code(1);
    project(Some(true)).events(&["--offline"]).0.expect_code(1);
    let configured = project(None);
    configured.write(".hm/config.toml", "offline = true\n");
    configured.events(&[]).0.expect_code(1);
    let configured = project(None);
    fs::write(configured.config().join("config.toml"), "offline = true\n").expect("a file");
    configured.events(&[]).0.expect_code(1);
}

#[test]
fn what_is_on_path_works_read_only() {
    let project = Project::with_steps(&json!([step(
        "k",
        "mytool && ! touch \"$(dirname \"$(command -v mytool)\")/x\" 2>/dev/null && cargo --version"
    )]));
    let bin = project.home().join(".local/bin");
    fs::create_dir_all(&bin).expect("a directory");
    fs::write(bin.join("mytool"), "#!/bin/sh\necho from my home\n").expect("a file");
    fs::set_permissions(bin.join("mytool"), fs::Permissions::from_mode(0o755)).expect("mode");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("PATH"));
    let mut command = project.hm(&["build", "--format", "json"]);
    // The machine's own cargo, which usually lives below a home directory as well.
    for name in ["RUSTUP_HOME", "CARGO_HOME"] {
        let folder = if name == "RUSTUP_HOME" { ".rustup" } else { ".cargo" };
        let real = std::env::var_os(name)
            .or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(folder).into_os_string()));
        if let Some(real) = real {
            command.env(name, real);
        }
    }
    let output = command.env("PATH", path).output().expect("hm");
    let events: Vec<_> = String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .map(|l| serde_json::from_str(l).expect("event"))
        .collect();
    let lines = &logs(&events)["k"];
    assert_eq!(output.status.code(), Some(0), "{events:?}");
    assert!(lines[0] == "from my home" && lines[1].starts_with("cargo 1."), "{lines:?}");
}

#[test]
fn an_ordinary_user_can_build_too() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root can become another user; every other test here has run as an ordinary one");
        return;
    }
    let dir = tempfile::Builder::new().prefix("hm-user-").tempdir().expect("a directory");
    let hm = dir.path().join("hm");
    fs::copy(env!("CARGO_BIN_EXE_hm"), &hm).expect("a copy that the user can reach");
    let project = dir.path().join("project");
    fs::create_dir_all(project.join(".hm")).expect("a directory");
    let steps = json!([step("a", "id -u; echo $HOME; echo x > file; cat /etc/shadow"), {"type": "wait", "continue_on_failure": true}, step("b", "touch made"), child("c", "b", "ls made")]);
    fs::write(project.join(".hm/ci.json"), json!({"version": "0", "steps": steps}).to_string())
        .expect("a file");
    let chown = |path: &Path| std::os::unix::fs::chown(path, Some(1234), Some(1234)).expect("chown");
    for path in [dir.path(), &project, &project.join(".hm"), &project.join(".hm/ci.json")] {
        chown(path);
    }
    let mut command = std::process::Command::new(&hm);
    command.args(["build", "--format", "json"]).current_dir(&project).env_clear().uid(1234).gid(1234);
    let output = command.env("PATH", "/usr/bin:/bin").env("HOME", dir.path()).output().expect("hm");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let events: Vec<_> = String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .map(|l| serde_json::from_str(l).expect("event"))
        .collect();
    assert_eq!(
        exits(&events),
        [("a".to_owned(), 1), ("b".to_owned(), 0), ("c".to_owned(), 0)].into(),
        "{stderr}"
    );
    assert_eq!(logs(&events)["a"][0], "1234");
    assert_eq!(stderr, "", "no fallback on a machine that has namespaces");
}

#[test]
fn the_example_of_the_readme_passes() {
    let example = repository().join("examples/hello");
    let project = Project::new();
    let mut command = project.hm(&["build", "--format", "json", "--dir"]);
    for name in ["HOME", "RUSTUP_HOME", "CARGO_HOME"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    let output = command.arg(example).output().expect("hm");
    let text = String::from_utf8(output.stdout).expect("text");
    let events: Vec<_> = text.lines().map(|l| serde_json::from_str(l).expect("event")).collect();
    assert_eq!(output.status.code(), Some(0), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let logs = logs(&events);
    assert_eq!(logs["greeting"], ["Hello, Ada and Grace!"]);
    assert!(logs["package"].contains(&"dist/hello".to_owned()));
    assert!(logs["test"].iter().any(|l| l.contains("test result: ok. 1 passed")));
}
