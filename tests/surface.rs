//! What a person sees: help, versions, lists, and the output of a build at 80 columns.

use serde_json::json;

use crate::support::{Project, child, step};
use crate::transcript::Transcript;

#[test]
fn help_fits_a_small_terminal() {
    let project = Project::new().with_variable("COLUMNS", "80");
    let mut said = Transcript::default();
    for args in [
        &["--help"][..],
        &["build", "--help"],
        &["plan", "--help"],
        &["validate", "--help"],
        &["why", "--help"],
        &["cache", "--help"],
        &["cache", "list", "--help"],
        &["cache", "prune", "--help"],
        &["cache", "clear", "--help"],
        &["plugin", "--help"],
        &["plugin", "list", "--help"],
        &["plugin", "info", "--help"],
        &["plugin", "install", "--help"],
        &["plugin", "remove", "--help"],
        &["plugin", "trust", "--help"],
        &["plugin", "call", "--help"],
        &["plugin", "attack", "--help"],
        &["completions", "--help"],
        &["version", "--help"],
    ] {
        let ran = said.run("help", &project, args).expect_code(0);
        assert!(ran.stdout.lines().all(|l| l.chars().count() <= 80), "{}", ran.stdout);
        assert!(ran.stdout.contains("Usage: hm"), "{}", ran.stdout);
    }
    let none = said.run("nothing is asked for", &project, &[]).expect_code(2);
    assert!(none.stderr.contains("Usage: hm"), "{}", none.stderr);
    said.expect("help");
}

#[test]
fn versions_are_told() {
    let version = Project::new().run(&["version"]).expect_code(0);
    let lines: Vec<&str> = version.stdout.lines().collect();
    assert_eq!(lines, [concat!("hm ", env!("CARGO_PKG_VERSION")), "plugin API 1"]);
    assert_eq!(Project::new().run(&["--version"]).expect_code(0).stdout.trim_end(), lines[0]);
}

#[test]
fn plugins_are_listed_and_described() {
    let project = Project::new();
    let mut said = Transcript::default();
    said.run("all that are built in", &project, &["plugin", "list"]).expect_code(0);
    for plugin in ["docker", "human", "json", "local"] {
        said.run(plugin, &project, &["plugin", "info", plugin]).expect_code(0);
    }
    said.run("one that is not there", &project, &["plugin", "info", "nobody"]).expect_code(5);
    said.expect("plugins");
}

#[test]
fn a_build_reads_like_a_log() {
    let project = Project::with_steps(&json!([
        step("setup", "echo preparing"), child("unit", "setup", "echo 12 tests; sleep 0.3; echo careful >&2"), {"type": "wait"}, step("bad", "echo oh no; exit 2"), step("never", "true"),
    ]));
    let mut said = Transcript::default();
    let ran = said.run("a build in which a step fails", &project, &["build", "-j1"]).expect_code(1);
    assert_eq!(ran.stderr, "");
    assert!(ran.stdout.lines().all(|l| l.chars().count() <= 80), "{}", ran.stdout);
    said.expect("human-log");
}
