//! What could make a kept image be taken for what it is not: names that come to mean something else, files that hide
//! others, changes too quick to be told, and clocks that disagree.

use std::fs;

use serde_json::json;

use super::lab::{BUSYBOX, Engine, in_image, root};
use crate::caching::{Built, forever, on_change};
use crate::support::{at_time, child, installed, logs};

/// A name for an image that nobody else has.
fn unique() -> String {
    format!("hm-test/{}:1", uuid::Uuid::new_v4().simple())
}

#[test]
fn each_of_two_names_of_one_image_means_what_it_means() {
    let Some(engine) = Engine::get() else { return };
    let (one, two) = (unique(), unique());
    engine.docker(&["tag", BUSYBOX, &one]);
    engine.docker(&["tag", BUSYBOX, &two]);
    let look = "test -e /marker && echo another || echo the same";
    let project =
        engine.project(&json!([forever(in_image(&one, "one", look)), forever(in_image(&two, "two", look)),]));
    Built::of(&project, &["-j1"]).expect("", "one two");
    engine.docker(&["rmi", &two]);
    engine.image_with(&two, ("marker", ""));
    let built = Built::of(&project, &["-j1"]).expect("one", "two");
    assert_eq!(logs(&built.events)["two"], ["another"]);
    engine.docker(&["rmi", &one]);
    engine.image_with(&one, ("marker", ""));
    let built = Built::of(&project, &["-j1"]).expect("two", "one");
    assert_eq!(logs(&built.events)["one"], ["another"]);
    project.run(&["cache", "clear"]).expect_code(0);
    engine.docker(&["rmi", &one, &two]);
}

#[test]
fn what_a_file_of_the_project_has_hidden_comes_back() {
    let Some(engine) = Engine::get() else { return };
    let image = unique();
    engine.image_with(&image, ("workspace/x", "of the image\n"));
    let project = engine.project(&json!([
        forever(in_image(&image, "parent", "true")),
        on_change(child("child", "parent", "true"), &["f"]),
        child("look", "child", "cat x"),
    ]));
    let looked = || logs(&Built::of(&project, &[]).events)["look"].clone();
    project.write("f", "1\n");
    assert_eq!(looked(), ["of the image"]);
    project.write("x", "of the project\n");
    project.write("f", "2\n");
    assert_eq!(looked(), ["of the project"]);
    fs::remove_file(project.path().join("x")).expect("gone");
    assert_eq!(looked(), ["of the image"]);
    project.run(&["cache", "clear"]).expect_code(0);
    engine.docker(&["rmi", &image]);
}

#[test]
fn what_a_step_writes_at_once_is_a_change_too() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&json!([
        forever(root("parent", "true")),
        on_change(child("child", "parent", "echo 9 > f"), &["g"]),
        child("look", "child", "cat f"),
    ]));
    project.write("f", "0\n");
    project.write("g", "0\n");
    Built::of(&project, &[]).expect("", "child look parent");
    for round in 1..5 {
        // On top of the parent's state, and of the same size as what the step makes of it.
        project.write("f", "5\n");
        project.write("g", &format!("{round}\n"));
        Built::of(&project, &[]).expect("parent", "child look");
        project.write("f", "8\n");
        let built = Built::of(&project, &[]).expect("parent", "child look");
        assert_eq!(logs(&built.events)["look"], ["9"]);
    }
    project.run(&["cache", "clear"]).expect_code(0);
}

#[test]
fn what_a_mark_of_layers_hides_is_changed() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&json!([
        forever(root("parent", "touch .wh.f d/.wh..wh..opq")),
        child("look", "parent", "ls . d"),
    ]));
    project.write("f", "1\n");
    project.write("d/z", "1\n");
    let first = Built::of(&project, &[]).expect("", "look parent");
    project.write("f", "2\n");
    project.write("d/z", "2\n");
    let built = Built::of(&project, &[]).expect("", "look parent");
    assert_eq!(logs(&built.events)["look"], logs(&first.events)["look"]);
    project.run(&["cache", "clear"]).expect_code(0);
}

#[test]
fn what_changed_is_newer_by_the_engines_own_clock() {
    let Some(engine) = Engine::get() else { return };
    if !installed(&["faketime"]) {
        return;
    }
    let project = engine.project(&json!([
        // Some time ago: a shell compares seconds.
        forever(root("make", "cat source > product; touch -d @$(($(date +%s) - 60)) product")),
        child("use", "make", "[ source -nt product ] && cat source > product; cat product"),
    ]));
    for (source, clock) in [("one", "+0"), ("two", "-300"), ("three", "+300"), ("four", "-1.5")] {
        project.write("source", source);
        let hm = project.hm(&["build", "--format", "json"]);
        let output = at_time(&format!("{clock}s"), &hm).output().expect("faketime starts");
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{told}");
        assert!(told.contains(&format!("\"line\":\"{source}\"")), "{clock}: {told}");
    }
    project.run(&["cache", "clear"]).expect_code(0);
}
