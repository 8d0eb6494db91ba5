//! Which results are kept, for how long, and what becomes of a build whose cache was tampered with.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Built, counted, forever, home_of_steps, kept, on_change, set_steps};
use crate::support::{Project, Running, child, exits, logs, process_with, step, wait_until};

/// A step that counts how often it was run.
fn counting(key: &str, rest: &str) -> Value {
    step(key, &format!("echo {key} >> $HOME/count; {rest}"))
}

/// The files with what is known of each result.
fn entries(project: &Project) -> Vec<PathBuf> {
    let folders = fs::read_dir(project.cache().join("results")).expect("results").flatten();
    folders.map(|folder| folder.path().join("entry.json")).filter(|path| path.is_file()).collect()
}

/// Makes results older than they are, or makes them come from the future.
fn made_before(project: &Project, seconds: i64) {
    for path in entries(project) {
        let mut entry: Value = serde_json::from_slice(&fs::read(&path).expect("an entry")).expect("JSON");
        entry["made_at"] = json!(Utc::now() - TimeDelta::seconds(seconds));
        fs::write(path, entry.to_string()).expect("a file");
    }
}

/// Words of `hm why k`.
fn why(project: &Project) -> String {
    why_of(project, "k")
}

fn why_of(project: &Project, key: &str) -> String {
    project.run(&["why", key]).expect_code(0).stdout
}

#[test]
fn a_result_becomes_too_old() {
    let ttl =
        |seconds| json!([kept(step("k", "true"), json!({"policy": "ttl", "duration_seconds": seconds}))]);
    let project = Project::with_steps(&ttl(1)).alone();
    Built::of(&project, &[]).expect("", "k");
    std::thread::sleep(Duration::from_millis(1100));
    Built::of(&project, &[]).expect("", "k");
    assert!(why(&project).contains("expired"), "{}", why(&project));

    set_steps(&project, &ttl(3600));
    Built::of(&project, &[]).expect("k", "");
    made_before(&project, 3500);
    Built::of(&project, &[]).expect("k", "");
    made_before(&project, 3601);
    Built::of(&project, &[]).expect("", "k");
    Built::of(&project, &[]).expect("k", "");
    // The step's own word counts as it is now, not as it was.
    made_before(&project, 7200);
    set_steps(&project, &ttl(7300));
    Built::of(&project, &[]).expect("k", "");
    set_steps(&project, &json!([forever(step("k", "true"))]));
    Built::of(&project, &["--no-cache"]).expect("", "k");
    made_before(&project, 7200);
    Built::of(&project, &[]).expect("k", "");
    set_steps(&project, &ttl(7100));
    Built::of(&project, &[]).expect("", "k");
}

#[test]
fn a_result_from_the_future_is_not_used() {
    for policy in [json!({"policy": "ttl", "duration_seconds": 7200}), json!({"policy": "forever"})] {
        let project = Project::with_steps(&json!([kept(step("k", "true"), policy)])).alone();
        Built::of(&project, &[]).expect("", "k");
        made_before(&project, -3600);
        Built::of(&project, &[]).expect("", "k");
        assert!(why(&project).contains("clock"), "{}", why(&project));
        Built::of(&project, &[]).expect("k", "");
    }
}

#[test]
fn policies_together_are_as_strict_as_the_strictest() {
    let ttl = |seconds| json!({"policy": "ttl", "duration_seconds": seconds});
    let compose = |parts: Value| json!({"policy": "compose", "sub_policies": parts});
    let files = json!({"policy": "on_change", "paths": ["in"]});
    let steps = |policy| json!([kept(step("k", "true"), policy)]);
    let project =
        Project::with_steps(&steps(compose(json!([ttl(900), compose(json!([ttl(600), files]))])))).alone();
    project.write("in", "1");
    Built::of(&project, &[]).expect("", "k");
    made_before(&project, 500);
    Built::of(&project, &[]).expect("k", "");
    project.write("in", "2");
    Built::of(&project, &[]).expect("", "k");
    made_before(&project, 700);
    Built::of(&project, &[]).expect("", "k");
    set_steps(&project, &steps(compose(json!([ttl(900), {"policy": "none"}]))));
    for _ in 0..2 {
        Built::of(&project, &[]).expect("", "k");
    }
}

#[test]
fn what_nobody_wants_kept_and_what_stands_on_it_is_not() {
    let project = Project::with_steps(&json!([
        kept(step("none", "true"), json!({"policy": "none"})),
        step("plain", "true"),
        forever(child("on-none", "none", "true")),
        forever(child("on-plain", "plain", "true")),
        forever(child("below", "on-plain", "true")),
        forever(step("kept", "true")),
        child("run", "kept", "true"),
    ]))
    .alone();
    Built::of(&project, &[]).expect("", "below kept none on-none on-plain plain run");
    Built::of(&project, &[]).expect("kept", "below none on-none on-plain plain run");
    assert_eq!(entries(&project).len(), 1);
}

#[test]
fn failures_are_never_kept() {
    let project = Project::with_steps(&json!([
        forever(step("k", "echo x >> $HOME/count; test -e $HOME/go || exit 3; echo good")),
        forever(child("next", "k", "true"))
    ]))
    .alone();
    for _ in 0..2 {
        let built = Built::of(&project, &[]);
        assert_eq!((built.ran.code, exits(&built.events)), (Some(1), [("k".into(), 3)].into()));
    }
    assert_eq!((counted(&project).len(), entries(&project).len()), (2, 0));
    fs::write(home_of_steps(&project).join("go"), "").expect("a file");
    Built::of(&project, &[]).expect("", "k next");
    assert_eq!(logs(&Built::of(&project, &[]).expect("k next", "").events)["k"], ["good"]);

    let mut slow = forever(step("slow", "sleep 600"));
    slow["timeout_seconds"] = json!(1);
    let project = Project::with_steps(&json!([slow])).alone();
    for _ in 0..2 {
        let built = Built::of(&project, &[]);
        assert_eq!((&*built.hits(), exits(&built.events)["slow"]), ("", 124));
    }
}

#[test]
fn what_a_stopped_build_has_finished_is_kept() {
    let marker = "sleep 66001";
    let project = Project::with_steps(&json!([
        forever(counting("a", "echo done > file")),
        forever(child("b", "a", "echo b >> $HOME/count; cat file")),
        forever(child("c", "b", &format!("test -e $HOME/go && cat file && exit; {marker}"))),
    ]))
    .alone();
    let mut command = project.hm(&["build"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut build = Running::start(command);
    wait_until("the last step runs", || process_with(marker));
    build.signal(Signal::INT);
    assert_eq!(build.ended(), Some(130));
    fs::write(home_of_steps(&project).join("go"), "").expect("a file");
    let built = Built::of(&project, &[]).expect("a b", "c");
    assert_eq!(logs(&built.events)["c"], ["done"]);
    assert_eq!(counted(&project), ["a", "b"]);
    Built::of(&project, &[]).expect("a b c", "");
}

#[test]
fn what_finished_beside_a_failure_is_kept() {
    let project = Project::with_steps(&json!([
        forever(step("good", ": good")),
        forever(step("bad", "test -e $HOME/go")),
        {"type": "wait"},
        forever(step("last", ": last")),
    ]))
    .alone();
    assert_eq!(Built::of(&project, &["--keep-going"]).ran.code, Some(1));
    fs::write(home_of_steps(&project).join("go"), "").expect("a file");
    Built::of(&project, &[]).expect("good", "bad last");
}

#[test]
fn no_cache_runs_everything_and_keeps_it() {
    let steps = |n: u32| {
        json!([
            forever(counting("a", "date +%s%N > when; cat when")),
            forever(child("b", "a", "cat when")),
            child("c", "b", &format!("cat when; : {n}"))
        ])
    };
    let project = Project::with_steps(&steps(1)).alone();
    let old = Built::of(&project, &[]).expect("", "a b c");
    let new = Built::of(&project, &["--no-cache"]).expect("", "a b c");
    assert_eq!(counted(&project).len(), 2);
    let hit = Built::of(&project, &[]).expect("a b", "c");
    assert_eq!(logs(&hit.events), logs(&new.events));
    assert_ne!(logs(&hit.events), logs(&old.events));
}

#[test]
fn projects_share_nothing() {
    let steps = json!([forever(step("k", "cat file"))]);
    let project = Project::with_steps(&steps).alone();
    project.write("file", "mine");
    Built::of(&project, &[]).expect("", "k");
    let mut other = project.hm(&["build", "--format", "json"]);
    let dir = project.home().join("other");
    fs::create_dir_all(dir.join(".hm")).expect("a directory");
    fs::copy(project.path().join(".hm/ci.json"), dir.join(".hm/ci.json")).expect("a copy");
    fs::write(dir.join("file"), "others'").expect("a file");
    let text = String::from_utf8(other.current_dir(&dir).output().expect("hm").stdout).expect("text");
    assert!(text.contains("others'") && !text.contains("step_cache_hit"), "{text}");
    assert_eq!(entries(&project).len(), 2);
}

/// Everything in a directory of the cache but its locks.
fn folders(project: &Project, name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(project.cache().join(name)).expect("a folder").flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir() && !path.ends_with("locks")).collect()
}

#[test]
fn what_is_missing_or_damaged_is_made_again() {
    let project = Project::with_steps(&json!([
        forever(step("a", "echo a > a; echo did a")),
        forever(child("b", "a", "cat a; echo b > b; echo did b")),
        child("end", "b", "cat a b"),
    ]))
    .alone();
    Built::of(&project, &[]).expect("", "a b end");
    type Damage = fn(&Project);
    let gone = "its result is gone: somebody removed it";
    let nothing = "nothing changed, but no result was kept";
    let damaged = "its result is damaged";
    let damages: [(&str, &str, Damage); 9] = [
        ("no layers", gone, |project| fs::remove_dir_all(project.cache().join("kept")).expect("gone")),
        ("layers without files", damaged, |project| {
            for layer in folders(project, "kept") {
                fs::rename(layer.join("tree"), layer.join("gone")).expect("moved");
            }
        }),
        ("no results", nothing, |project| fs::remove_dir_all(project.cache().join("results")).expect("gone")),
        ("entries that are none", damaged, |project| {
            entries(project).iter().for_each(|entry| fs::write(entry, "{\"format\":1").expect("a file"));
        }),
        ("entries of another start of the machine", damaged, |project| {
            for path in entries(project) {
                let mut entry: Value =
                    serde_json::from_slice(&fs::read(&path).expect("an entry")).expect("JSON");
                entry["boot"] = json!("another");
                fs::write(&path, entry.to_string()).expect("a file");
                // There is none yet if nothing made it last; a build makes it at its end.
                fs::remove_file(path.with_file_name("durable")).expect("a mark");
            }
        }),
        ("no logs", damaged, |project| {
            for result in folders(project, "results") {
                fs::remove_file(result.join("log")).expect("a log");
            }
        }),
        ("logs without their last lines", damaged, |project| {
            for log in folders(project, "results").iter().map(|result| result.join("log")) {
                let text = fs::read_to_string(&log).expect("a log");
                let rest = text.trim_end().rfind('\n').map_or("", |end| &text[..=end]);
                fs::write(&log, rest).expect("a log");
            }
        }),
        ("logs that say something else", damaged, |project| {
            for log in folders(project, "results").iter().map(|result| result.join("log")) {
                let text = fs::read_to_string(&log).expect("a log");
                fs::write(&log, text.replace("did", "dId")).expect("a log");
            }
        }),
        ("pipes instead of logs", damaged, |project| {
            for log in folders(project, "results").iter().map(|result| result.join("log")) {
                fs::remove_file(&log).expect("a log");
                rustix::fs::mkfifoat(rustix::fs::CWD, &log, 0o600.into()).expect("a pipe");
            }
        }),
    ];
    for (what, reason, damage) in damages {
        damage(&project);
        let built = Built::of(&project, &[]);
        assert_eq!(
            (&*built.hits(), &*built.started(), built.ran.code),
            ("", "a b end", Some(0)),
            "{what}: {}",
            built.ran.stderr
        );
        assert_eq!(logs(&built.events)["end"], ["a", "b"], "{what}");
        assert!(why_of(&project, "a").contains(reason), "{what}: {}", why_of(&project, "a"));
        let built = Built::of(&project, &[]).expect("a b", "end");
        assert_eq!(logs(&built.events)["b"], ["a", "did b"], "{what}");
    }
    // What is durable outlives a start of the machine.
    for path in entries(&project) {
        let mut entry: Value = serde_json::from_slice(&fs::read(&path).expect("an entry")).expect("JSON");
        entry["boot"] = json!("another");
        fs::write(&path, entry.to_string()).expect("a file");
    }
    Built::of(&project, &[]).expect("a b", "end");
}

#[test]
fn a_layer_that_is_gone_takes_along_what_stands_on_it() {
    let project = Project::with_steps(&json!([
        on_change(step("a", "cat in > a"), &["in"]),
        forever(child("b", "a", "cat a > b")),
        child("end", "b", "cat a b"),
    ]))
    .alone();
    project.write("in", "1\n");
    Built::of(&project, &[]).expect("", "a b end");
    let bottom = folders(&project, "kept")
        .into_iter()
        .find(|layer| fs::read_to_string(layer.join("about")).expect("about").starts_with("- "));
    fs::remove_dir_all(bottom.expect("a lowest layer")).expect("gone");
    let built = Built::of(&project, &[]).expect("", "a b end");
    assert_eq!(logs(&built.events)["end"], ["1", "1"]);
    Built::of(&project, &[]).expect("a b", "end");
}

#[test]
fn steps_that_are_the_same_run_once() {
    let same = |key| forever(step(key, "echo x >> $HOME/count; sleep 0.3; date +%s%N"));
    let project = Project::with_steps(&json!([same("one"), same("two"), same("three")])).alone();
    let built = Built::of(&project, &["-j", "3"]);
    assert_eq!((built.ran.code, counted(&project).len()), (Some(0), 1), "{}", built.ran.stderr);
    let logs = logs(&built.events);
    assert!(logs["one"] == logs["two"] && logs["two"] == logs["three"]);
    Built::of(&project, &[]).expect("one three two", "");
}

/// As `make` does, which compares times: a file can be older than what a kept step has made, and different from what
/// that was made from.
#[test]
fn what_was_changed_is_newer_than_what_kept_steps_have_made() {
    let make = "[ product -nt source ] || cp source product; cat product";
    let project = Project::with_steps(&json!([
        forever(step("make", make)),
        child("plain", "make", make),
        on_change(child("kept", "make", make), &["source"]),
    ]))
    .alone();
    let write = |content: &str| {
        project.write("source", content);
        let file = File::open(project.path().join("source")).expect("a file");
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000))
            .expect("a time");
    };
    let printed = |built: &Built| ["plain", "kept"].map(|key| logs(&built.events)[key].join(" "));
    write("first");
    assert_eq!(printed(&Built::of(&project, &[]).expect("", "kept make plain")), ["first", "first"]);
    for content in ["second", "first", "third!"] {
        write(content);
        let built = Built::of(&project, &[]);
        assert_eq!(
            &*built.hits(),
            if content == "first" { "kept make" } else { "make" },
            "{}",
            built.ran.stderr
        );
        assert_eq!(printed(&built), [content, content]);
    }
}
