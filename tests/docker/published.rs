//! A docker plugin that was built with the published SDK 0.0.1, as a binary, in the place of ours.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::lab::{BUSYBOX, Engine, root};
use crate::caching::{Built, forever};
use crate::support::{built_guests, child, exits, logs};

#[test]
fn it_runs_chains_forks_and_cached_steps_where_ours_is_switched_off() {
    let Some(engine) = Engine::get() else { return };
    let Some(guests) = built_guests() else { return };
    let mut parent =
        forever(root("root", "cat source; echo $MORE; pwd; echo made > made; echo x > /x; rm gone"));
    parent["env"] = json!({"MORE": "set"});
    let project = engine.project(&json!([
        parent,
        forever(child("kept", "root", "cat made /x source; echo kept > kept")),
        child("left", "kept", "cat kept source; ls; echo left > left"),
        child("right", "kept", "ls; echo err >&2"),
        child("after", "left", "cat left"),
        child("bad", "right", "exit 7"),
    ]));
    for (name, text) in [("source", "1\n"), ("gone", ""), ("other", "1\n")] {
        project.write(name, text);
    }
    fs::write(project.config().join("plugins.toml"), "[plugin.docker]\nenabled = false\n").expect("a file");
    let file = Path::new(&guests).join("published-docker.wasm");
    project.run(&["plugin", "install", file.to_str().expect("a path"), "--yes"]).expect_code(0);
    let info = project.run(&["plugin", "list"]).expect_code(0).stdout;
    assert!(info.contains("harmont-docker"), "{info}");

    let first = Built::of(&project, &["-j4", "--keep-going"]);
    let expected_exits = [("root", 0), ("kept", 0), ("left", 0), ("right", 0), ("after", 0), ("bad", 7)]
        .map(|(key, code)| (key.to_owned(), code));
    assert_eq!(exits(&first.events), expected_exits.into(), "{}{}", first.ran.stderr, first.ran.stdout);
    let said = logs(&first.events);
    assert_eq!(said["root"], ["1", "set", "/workspace"]);
    assert_eq!(said["kept"], ["made", "x", "1"]);
    // It has the project's files put into every container, which must not bring back what a parent has removed.
    assert_eq!(said["left"], ["kept", "1", "kept", "made", "other", "source"]);
    assert!(said["right"].contains(&"err".to_owned()) && said["right"].len() == 5, "{said:?}");
    assert_eq!(said["after"], ["left"]);
    assert_eq!(engine.left_by(&first.events), [""; 0]);

    project.write("other", "2\n");
    project.write("source", "2\n");
    let again = Built::of(&project, &["-j4", "--keep-going"]);
    assert_eq!((&*again.hits(), &*again.started()), ("kept root", "after bad left right"));
    assert_eq!(logs(&again.events)["left"], ["kept", "2", "kept", "made", "other", "source"]);
    assert_eq!(engine.left_by(&again.events), [""; 0]);
    assert!(engine.has(BUSYBOX));
    project.run(&["cache", "clear"]).expect_code(0);
}
