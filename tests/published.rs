//! Plugins that were built with the published SDK 0.0.1 (`tests/guests/published`), as binaries, in the real `hm`: one
//! of each kind.

use hm_plugin_protocol::BuildEvent;
use serde_json::json;

use crate::support::{Project, built_guests, exits, logs, ran, step};

/// A project, and this plugin, installed as a user does it; none, if the guests were not built.
fn with(kind: &str) -> Option<Project> {
    let project = Project::new();
    install(&project, kind, &[]).then_some(project)
}

/// True if it could be installed, with all that it asks for and these functions granted.
fn install(project: &Project, kind: &str, granted: &[&str]) -> bool {
    let Some(guests) = built_guests() else { return false };
    let file = guests.join(format!("published-{kind}.wasm"));
    let mut args = vec!["plugin", "install", file.to_str().expect("a path"), "--yes"];
    args.extend(granted.iter().flat_map(|function| ["--grant", function]));
    project.run(&args).expect_code(0);
    true
}

#[test]
fn an_executor_runs_steps() {
    let Some(project) = with("executor") else { return };
    let teller = |key: &str, cmd: &str| {
        let mut step = step(key, cmd);
        step["runner"] = "teller".into();
        step
    };
    let steps = json!([teller("one", "true"), {"type": "wait"}, teller("two", "exit 7"), {"type": "wait", "continue_on_failure": true},
        teller("three", "fail")]);
    project.write(".hm/ci.json", &json!({"version": "0", "steps": steps}).to_string());
    let (ran, events) = project.events(&[]);
    let ran = ran.expect_code(1);
    assert!(ran.stderr.contains("warning: plugin published-executor: running one\n"), "{}", ran.stderr);
    assert_eq!(
        exits(&events),
        [("one".to_owned(), 0), ("two".to_owned(), 7), ("three".to_owned(), 70)].into()
    );
    let logs = logs(&events);
    assert_eq!(logs["one"][0], "would run true");
    assert!(logs["one"].contains(&"step 1 of this build".to_owned()), "{logs:?}");
    assert!(logs["two"].contains(&"step 2 of this build".to_owned()), "{logs:?}");
    let read = logs["one"].iter().find_map(|line| line.strip_prefix("read ")).expect("a size");
    let (read, total) = read.split_once(" of ").expect("two numbers");
    let total: u64 = total.trim_end_matches(" bytes").parse().expect("a number");
    assert!(read.parse::<u64>().expect("a number") == total && total > 0, "{read} {total}");
    let why = events.iter().find_map(|event| match event {
        BuildEvent::ChainFailed { exit_code: 70, message, .. } => Some(message.as_str()),
        _ => None,
    });
    assert!(why.is_some_and(|why| why.contains("it was told to")), "{why:?}");
}

#[test]
fn a_docker_plugin_takes_the_place_of_ours_where_that_is_switched_off() {
    let Some(guests) = built_guests() else { return };
    let file = guests.join("published-docker.wasm");
    let install = ["plugin", "install", file.to_str().expect("a path"), "--yes"];
    let mut imaged = step("imaged", "true");
    imaged["image"] = json!("alpine");
    let project = Project::with_steps(&json!([imaged, step("plain", "true")]));
    let refused = project.run(&install).expect_code(5);
    let conflict = "error: runner `docker` is claimed by two plugins: docker (built in, ";
    assert!(refused.stderr.starts_with(conflict), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("[plugin.docker] or [plugin.harmont-docker] enabled = false"),
        "{}",
        refused.stderr
    );

    std::fs::write(project.config().join("plugins.toml"), "[plugin.docker]\nenabled = false\n")
        .expect("a file");
    project.run(&install).expect_code(0);
    let plan = project.run(&["plan"]).expect_code(0).stdout;
    assert!(plan.contains("imaged (docker, alpine)") && plan.contains("plain (local)"), "{plan}");
    let list = project.run(&["plugin", "list"]).expect_code(0).stdout;
    assert!(list.contains("harmont-docker 0.0.1    runner docker"), "{list}");
}

#[test]
fn a_formatter_keeps_what_it_counts() {
    let Some(project) = with("formatter") else { return };
    project
        .write(".hm/ci.json", &json!({"version": "0", "steps": [step("one", "echo a; echo b")]}).to_string());
    let ran = project.run(&["build", "--format", "plain"]).expect_code(0);
    assert_eq!(ran.stdout, "| a\n| b\n7 events\n");
}

#[test]
fn a_hook_keeps_what_it_counts_and_stops_a_build() {
    let Some(project) = with("hook") else { return };
    let run = |steps: &[&str]| {
        let steps: Vec<_> = steps.iter().map(|key| step(key, "true")).collect();
        project.write(".hm/ci.json", &json!({"version": "0", "steps": steps}).to_string());
        project.run(&["build", "-j1"])
    };
    let said = |text: &str| format!("warning: plugin published-hook: {text}\n");
    assert_eq!(
        run(&["one", "two"]).expect_code(0).stderr,
        said("2 steps were to start, 2 have ended, the build with 0")
    );
    let ran = run(&["one", "two", "three"]).expect_code(1);
    let expected = said("3 steps were to start, 3 have ended, the build with 1")
        + "error: plugin published-hook stopped the build: 2 steps are enough\n";
    assert_eq!(ran.stderr, expected);
}

#[test]
fn a_subcommand_reads_its_arguments_itself() {
    let Some(project) = with("subcommand") else { return };
    let mut command = project.hm(&["show", "--all", "-x", "--", "y"]);
    command.env("HARMONT_API", "here").env("OTHER", "no");
    let shown = ran(command.output().expect("hm")).expect_code(0);
    assert_eq!(
        shown.stdout,
        "[\"show\", \"--all\", \"-x\", \"--\", \"y\"] null {\"HARMONT_API\": \"here\"}\n"
    );
    assert_eq!(shown.stderr, "that was all\n");
    assert_eq!(project.run(&["show", "exit", "9"]).expect_code(9).stderr, "as you say\n");
    let failed = project.run(&["show", "fail"]).expect_code(6);
    assert!(failed.stderr.contains("it was told to"), "{}", failed.stderr);
}

#[test]
fn what_it_does_not_ask_for_is_denied_unless_it_is_granted_by_name() {
    let Some(project) = with("subcommand") else { return };
    project.write(".hm/settings", "from the project\n");
    let denied = project.run(&["show", "config", "settings"]).expect_code(6);
    assert!(
        denied.stderr.contains("hm_fs_read_config: its manifest does not ask for it"),
        "{}",
        denied.stderr
    );
    assert_eq!(denied.stdout, "");

    assert!(install(&project, "subcommand", &["hm_fs_read_config"]));
    let granted = project.run(&["show", "config", "settings"]).expect_code(0);
    assert_eq!(granted.stdout, "from the project\n");
}
