//! Podman's service in the place of a Docker Engine: the same steps, the same cache, and as little left. It is asked
//! through Docker's client.

use std::fs;

use serde_json::json;

use super::lab::{Engine, root};
use crate::caching::{Built, forever};
use crate::support::{child, exits, logs};

/// All that an engine has, of whomever.
fn all_of(engine: &Engine) -> String {
    let images =
        engine.docker(&["images", "-a", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]);
    format!("{images}\n{}", engine.docker(&["ps", "-a", "--format", "{{.Names}}"]))
}

#[test]
fn chains_forks_and_failures_are_what_they_are_in_docker() {
    let Some(engine) = Engine::podman() else { return };
    let before = all_of(&engine);
    let project = engine.project(&json!([
        root("root", "cat source; echo root > made; rm gone; mkdir /opt; echo x > /opt/x; id -u; pwd; echo $CI; cat"),
        child("left", "root", "cat made /opt/x; echo left > own; echo l > /opt/left; ls"),
        child("right", "root", "cat made; echo err >&2; ls; ls /opt; exit 3"),
        {"type": "wait", "continue_on_failure": true},
        child("after", "left", "cat own /opt/left; sleep 8879003 & echo started"),
        child("never", "right", "true"),
    ]));
    project.write("source", "mine\n");
    project.write("gone", "");
    let (ran, events) = project.events(&["--offline", "--keep-going", "-j", "4"]);
    ran.expect_code(1);
    let seen = logs(&events);
    assert_eq!(seen["root"], ["mine", "0", "/workspace", "true"]);
    assert_eq!(seen["left"], ["root", "x", "made", "own", "source"]);
    let mut right = seen["right"].clone();
    // The streams are apart.
    right.sort();
    assert_eq!(right, ["err", "made", "root", "source", "x"]);
    assert_eq!(seen["after"], ["left", "l", "started"]);
    let codes = [("root", 0), ("left", 0), ("right", 3), ("after", 0)];
    assert_eq!(exits(&events), codes.map(|(key, code)| (key.to_owned(), code)).into());
    assert!(!crate::support::process_with("sleep 8879003"));
    assert_eq!(all_of(&engine), before);
}

#[test]
fn what_is_kept_is_taken_and_cleared() {
    let Some(engine) = Engine::podman() else { return };
    let before = all_of(&engine);
    let project = engine.project(&json!([
        forever(root("deps", "cat source; echo installed > deps; mkdir /opt; echo x > /opt/x")),
        forever(child("build", "deps", "cat source deps /opt/x; echo built > built")),
        child("test", "build", "cat source deps built /opt/x; ls"),
    ]));
    project.write("source", "1\n");
    project.write("gone", "");
    let first = Built::of(&project, &["--offline"]).expect("", "build deps test");
    let again = Built::of(&project, &["--offline"]).expect("build deps", "test");
    assert_eq!(logs(&again.events), logs(&first.events));

    project.write("source", "2\n");
    project.write("new", "");
    fs::remove_file(project.path().join("gone")).expect("gone");
    let built = Built::of(&project, &["--offline"]).expect("build deps", "test");
    assert_eq!(
        logs(&built.events)["test"],
        ["2", "installed", "built", "x", "built", "deps", "new", "source"]
    );
    assert_ne!(all_of(&engine), before, "something is kept");
    project.run(&["cache", "clear"]).expect_code(0);
    assert_eq!(all_of(&engine), before);
}

#[test]
fn a_directory_that_a_step_has_replaced_is_another_one() {
    let Some(engine) = Engine::podman() else { return };
    let before = all_of(&engine);
    let project = engine.project(&json!([
        forever(root("replace", "rm -rf build; mkdir build; echo new > build/new; echo more > src/more")),
        child("look", "replace", "ls build src; cat build/*"),
    ]));
    for name in ["build/old", "src/file", "top"] {
        project.write(name, "1\n");
    }
    let first = Built::of(&project, &["--offline"]).expect("", "look replace");
    assert_eq!(logs(&first.events)["look"], ["build:", "new", "", "src:", "file", "more", "new"]);
    project.write("build/old", "2\n");
    let built = Built::of(&project, &["--offline"]).expect("", "look replace");
    assert_eq!(logs(&built.events)["look"], logs(&first.events)["look"]);
    // Directories in which things were added are what they were.
    project.write("src/file", "2\n");
    project.write("top", "2\n");
    Built::of(&project, &["--offline"]).expect("replace", "look");
    project.run(&["cache", "clear"]).expect_code(0);
    assert_eq!(all_of(&engine), before);
}
