//! What is kept of steps in containers: when it is taken, on top of which files, and when it is given up, here and on
//! the engine.

use std::fs;

use serde_json::{Value, json};

use super::lab::{BUSYBOX, Engine, chain, in_image, root};
use crate::caching::hits::calls_of_runners;
use crate::caching::{Built, forever, on_change};
use crate::support::{Project, child, logs};

/// The names of the images that are kept for a project's cache.
pub(super) fn kept(project: &Project) -> Vec<String> {
    let list = project.run(&["cache", "list", "--json"]).expect_code(0).stdout;
    let list: Value = serde_json::from_str(&list).expect("JSON");
    let results = list["results"].as_array().expect("results");
    results.iter().map(|result| result["tag"].as_str().expect("a tag").to_owned()).collect()
}

/// Reason why a build would not take a step from the cache.
fn foretold(project: &Project, key: &str) -> String {
    let plan: Value =
        serde_json::from_str(&project.run(&["plan", "--json"]).expect_code(0).stdout).expect("JSON");
    let step = plan["steps"].as_array().expect("steps").iter().find(|step| step["key"] == key);
    step.and_then(|step| step["reasons"][0].as_str()).expect("a reason").to_owned()
}

/// Builds, after `hm plan` has foretold why this step is not taken from the cache; `hm why` says the same.
#[track_caller]
fn build_without(project: &Project, key: &str, reason: &str) -> Built {
    assert_eq!(foretold(project, key), reason);
    let built = Built::of(project, &[]);
    let why = project.run(&["why", key]).expect_code(0).stdout;
    assert!(why.contains(&format!("It was not taken from the cache:\n  {reason}\n")), "{why}");
    built
}

#[test]
fn a_hit_gives_again_what_the_step_gave() {
    let Some(engine) = Engine::get() else { return };
    let mut made =
        forever(root("make", "echo out; echo err >&2; echo made > made; mkdir /opt; echo x > /opt/x"));
    made["runner_args"] = json!({"artifacts": ["made"]});
    let project = engine.project(&json!([
        made,
        forever(child("next", "make", "cat made /opt/x; date +%s%N")),
        child("always", "next", "cat made /opt/x; ls"),
    ]));
    let first = Built::of(&project, &[]).expect("", "always make next");
    let artifact = project.path().join(".hm/out/make/made");
    fs::remove_file(&artifact).expect("an artifact");
    let again = Built::of(&project, &[]).expect("make next", "always");
    assert_eq!(logs(&again.events), logs(&first.events));
    assert_eq!(fs::read_to_string(&artifact).expect("an artifact"), "made\n");
    for built in [&first, &again] {
        assert_eq!(engine.left_by(&built.events), [""; 0]);
    }
    let kept = kept(&project);
    assert_eq!(kept.len(), 2);
    assert!(kept.iter().all(|tag| engine.has(tag)), "{kept:?}");
    Built::of(&project, &["--no-cache"]).expect("", "always make next");
    project.run(&["cache", "clear"]).expect_code(0);
}

#[test]
fn a_hit_of_a_snapshot_that_the_host_has_starts_no_plugin() {
    let Some(engine) = Engine::get() else { return };
    let project =
        engine.project(&json!([forever(root("a", "echo a > a")), forever(child("b", "a", "cat a"))]));
    Built::of(&project, &[]).expect("", "a b");
    assert_eq!(calls_of_runners(&project, "a b"), [""; 0]);
    project.run(&["cache", "clear"]).expect_code(0);
}

#[test]
fn files_are_as_new_as_in_any_other_step_where_the_parent_is_kept() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&json!([
        forever(root(
            "deps",
            "cat src/a; echo installed > deps; echo mine > src/made; rm -r old; mkdir old; echo new > old/own"
        )),
        on_change(
            child("build", "deps", "cat src/a deps src/made; ls old; ls src; echo built > built"),
            &["src"]
        ),
        child("test", "build", "cat src/a built; ls; cat gone"),
    ]));
    for (name, text) in
        [("src/a", "1\n"), ("old/file", "1\n"), ("gone", "here\n"), ("deleted", ""), ("dir/sub/x", "")]
    {
        project.write(name, text);
    }
    let at = |name: &str| project.path().join(name);
    let first = Built::of(&project, &[]).expect("", "build deps test");
    assert_eq!(logs(&first.events)["build"], ["1", "installed", "mine", "own", "a", "made"]);

    project.write("src/a", "2\n");
    project.write("src/new", "2\n");
    project.write("old/more", "1\n");
    fs::remove_file(at("deleted")).and_then(|()| fs::remove_dir_all(at("dir"))).expect("gone");
    let built = Built::of(&project, &[]);
    let logs_now = logs(&built.events);
    assert_eq!((&*built.hits(), &*built.started()), ("deps", "build test"));
    // An engine does not tell that a folder is another one than before: what has come into `old` since is there.
    assert_eq!(logs_now["build"], ["2", "installed", "mine", "more", "own", "a", "made", "new"]);
    let test = &logs_now["test"];
    assert_eq!(test[..2], ["2", "built"]);
    assert!(!test.contains(&"deleted".to_owned()) && !test.contains(&"dir".to_owned()), "{test:?}");
    assert_eq!(test.last().map(String::as_str), Some("here"));

    // A directory in the place of a file, and a file in that of a directory.
    fs::remove_file(at("gone")).expect("gone");
    project.write("gone/inside", "deep\n");
    let built = Built::of(&project, &[]);
    let text = logs(&built.events)["test"].join("\n");
    assert!(text.contains("gone") && !text.contains("here"), "{text}");
    project.run(&["cache", "clear"]).expect_code(0);
}

#[test]
fn a_change_of_what_is_outside_of_the_policy_reaches_the_children_alone() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&json!([
        forever(root("parent", "echo produced > produced; ls")),
        child("child", "parent", "cat produced; find . -path ./.hm -prune -o -type f -print | sort; cat kept; stat -c %a kept; readlink link"),
    ]));
    for (name, text) in [("kept", "1\n"), ("deleted", ""), ("dir/deleted", ""), ("dir/stays", "")] {
        project.write(name, text);
    }
    std::os::unix::fs::symlink("kept", project.path().join("link")).expect("a link");
    Built::of(&project, &[]).expect("", "child parent");

    project.write("kept", "2\n");
    project.write("new", "");
    project.write("newdir/deep/new", "");
    let path = |name: &str| project.path().join(name);
    fs::set_permissions(path("kept"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    fs::remove_file(path("deleted")).and_then(|()| fs::remove_file(path("dir/deleted"))).expect("gone");
    fs::remove_file(path("link")).expect("gone");
    std::os::unix::fs::symlink("new", path("link")).expect("a link");
    for _ in 0..2 {
        let built = Built::of(&project, &[]).expect("parent", "child");
        let expected = [
            "produced",
            "./dir/stays",
            "./kept",
            "./new",
            "./newdir/deep/new",
            "./produced",
            "2",
            "755",
            "new",
        ];
        assert_eq!(logs(&built.events)["child"], expected);
        assert_eq!(engine.left_by(&built.events), [""; 0]);
    }
    project.run(&["cache", "clear"]).expect_code(0);
}

#[test]
fn what_a_step_has_written_over_makes_it_run_again_when_it_changes() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&json!([
        forever(root("patch", "echo patched >> file; echo x > fresh; mkdir made; rm -f README")),
        child("child", "patch", "cat file fresh; ls made"),
    ]));
    let covered = |path| format!("`{path}` changed, which it or a parent had written or removed");
    project.write("file", "1\n");
    project.write("README", "1\n");
    project.write("other", "1\n");
    Built::of(&project, &[]).expect("", "child patch");
    project.write("other", "2\n");
    Built::of(&project, &[]).expect("patch", "child");
    project.write("file", "2\n");
    let built = build_without(&project, "patch", &covered("file")).expect("", "child patch");
    assert_eq!(logs(&built.events)["child"], ["2", "patched", "x"]);
    project.write("README", "2\n");
    build_without(&project, "patch", &covered("README")).expect("", "child patch");
    // Something new in the place of what it has made.
    project.write("fresh", "mine\n");
    let built = build_without(&project, "patch", &covered("fresh")).expect("", "child patch");
    assert_eq!(logs(&built.events)["child"], ["2", "patched", "x"]);
    Built::of(&project, &[]).expect("patch", "child");
    project.run(&["cache", "clear"]).expect_code(0);
}

#[test]
fn another_image_under_the_same_name_makes_a_miss() {
    let Some(engine) = Engine::get() else { return };
    let image = format!("hm-test/{}:1", uuid::Uuid::new_v4().simple());
    engine.image_with(&image, ("version", "one\n"));
    let project = engine.project(&json!([
        forever(in_image(&image, "root", "cat /version")),
        forever(child("child", "root", "cat /version")),
    ]));
    Built::of(&project, &[]).expect("", "child root");
    Built::of(&project, &[]).expect("child root", "");
    engine.image_with(&image, ("version", "two\n"));
    let reason = format!("the image `{image}` is another one now");
    let built = build_without(&project, "root", &reason).expect("", "child root");
    assert_eq!(logs(&built.events)["child"], ["two"]);
    Built::of(&project, &[]).expect("child root", "");
    project.run(&["cache", "clear"]).expect_code(0);
    engine.docker(&["rmi", &image]);
}

#[test]
fn what_is_gone_from_the_engine_is_made_anew() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&chain());
    Built::of(&project, &[]).expect("", "child look root");
    for tag in kept(&project) {
        engine.docker(&["rmi", "-f", &tag]);
    }
    build_without(&project, "root", "its result is gone: somebody removed it").expect("", "child look root");
    Built::of(&project, &[]).expect("child root", "look");
    let project = project.with_variable("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    assert_eq!(foretold(&project, "root"), "the Docker Engine could not be asked");
    let project = engine.reached_from(project);
    project.run(&["cache", "clear"]).expect_code(0);
}

#[test]
fn prune_and_clear_remove_images_and_nothing_of_others() {
    let Some(engine) = Engine::get() else { return };
    let steps =
        |last: &str| json!([forever(root("root", "echo x > x")), forever(child("child", "root", last))]);
    let (project, other) = (engine.project(&steps("cat x")), engine.project(&steps("cat x")));
    Built::of(&project, &[]).expect("", "child root");
    Built::of(&other, &[]).expect("", "child root");
    let (tags, others) = (kept(&project), kept(&other));
    let shown = project.run(&["cache", "list"]).expect_code(0).stdout;
    assert!(shown.contains("docker") && shown.contains("2 results"), "{shown}");

    project.run(&["cache", "prune"]).expect_code(0);
    assert!(tags.iter().all(|tag| engine.has(tag)), "nothing was to go");
    project.run(&["cache", "prune", "--max-size", "0B"]).expect_code(0);
    assert!(!tags.iter().any(|tag| engine.has(tag)), "{tags:?}");
    Built::of(&project, &[]).expect("", "child root");
    let tags = kept(&project);
    assert!(tags.len() == 2 && tags.iter().all(|tag| engine.has(tag)), "{tags:?}");
    project.run(&["cache", "clear"]).expect_code(0);
    assert!(!tags.iter().any(|tag| engine.has(tag)), "{tags:?}");
    assert!(others.iter().all(|tag| engine.has(tag)) && engine.has(BUSYBOX));
    Built::of(&other, &[]).expect("child root", "");
    other.run(&["cache", "clear"]).expect_code(0);
    assert!(!others.iter().any(|tag| engine.has(tag)), "{others:?}");
}
