//! Whom a hit asks, what the decision about it leaves alone, and what becomes of a hit of which not all can be had.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Built, forever};
use crate::foreign_plugins::module;
use crate::support::{Project, child, step};

/// The host calls of runners that a build makes, by function.
pub(crate) fn calls_of_runners(project: &Project, hits: &str) -> Vec<String> {
    let audit = project.home().join("audit.jsonl");
    Built::of(project, &["--audit", audit.to_str().expect("a path")]).expect(hits, "");
    let text = fs::read_to_string(audit).expect("an audit");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let calls = lines.filter(|line| line["role"] == "executor");
    calls.map(|line| line["subject"].as_str().expect("a function").to_owned()).collect()
}

/// Everything below a directory, with the time at which it was changed last.
fn below(folder: &Path) -> Vec<(PathBuf, std::time::SystemTime)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let about = entry.metadata().expect("metadata");
            // Locks are taken, and mean nothing once they are given back.
            if about.is_dir() && entry.file_name() != "locks" {
                folders.push(entry.path());
            }
            found.push((entry.path(), about.modified().expect("a time")));
        }
    }
    found.sort();
    found
}

fn producing() -> Value {
    let mut step = forever(step("make", "echo built > product"));
    step["runner_args"] = json!({"artifacts": ["product"]});
    step
}

#[test]
fn a_hit_of_a_snapshot_that_the_host_has_starts_no_plugin() {
    let steps = json!([forever(step("a", "echo a > a")), forever(child("b", "a", "cat a"))]);
    let project = Project::with_steps(&steps).alone();
    Built::of(&project, &[]).expect("", "a b");
    assert_eq!(calls_of_runners(&project, "a b"), [""; 0]);
}

#[test]
fn foresight_changes_nothing() {
    let project = Project::with_steps(&json!([producing()])).alone();
    Built::of(&project, &[]).expect("", "make");
    let out = project.path().join(".hm/out");
    fs::remove_dir_all(&out).expect("gone");
    let before = below(&project.cache().join("results"));
    let plan = project.run(&["plan"]).expect_code(0).stdout;
    assert!(plan.contains("- make (local): hit,"), "{plan}");
    assert!(!out.exists());
    assert_eq!(below(&project.cache().join("results")), before);
    Built::of(&project, &[]).expect("make", "");
    assert_eq!(fs::read_to_string(out.join("make/product")).expect("a file"), "built\n");
}

#[test]
fn a_hit_whose_artifacts_cannot_be_restored_becomes_a_miss() {
    let project = Project::with_steps(&json!([producing()])).alone();
    Built::of(&project, &[]).expect("", "make");
    let kept = below(&project.cache().join("results"));
    let (kept, _) = kept.into_iter().find(|(path, _)| path.ends_with("artifacts/product")).expect("a copy");
    fs::write(kept, "spoilt").expect("a file");
    Built::of(&project, &[]).expect("", "make");
    let why = project.run(&["why", "make"]).expect_code(0).stdout;
    assert!(why.contains("its result is damaged"), "{why}");
    let product = project.path().join(".hm/out/make/product");
    assert_eq!(fs::read_to_string(product).expect("a file"), "built\n");
    Built::of(&project, &[]).expect("make", "");
}

/// A runner that makes its snapshots in a way of its own, and says `asked` whenever it is called. Of hits, it says that
/// it has the snapshot, or that it has lost it.
fn foreign(has_it: bool) -> Vec<u8> {
    let manifest = json!({"api_version": 1, "name": "foreign", "version": "0.1.0", "description": "",
        "config_schema": null, "required_host_fns": ["hm_log"],
        "capabilities": [{"kind": "step_executor", "runner": "foreign", "default": false, "step_schema": null}]});
    let imports = r#"(import "extism:host/user" "hm_log" (func $log (param i64 i64)))
        (import "extism:host/env" "input_load_u8" (func $in (param i64) (result i32)))"#;
    let digit = if has_it { '0' } else { '1' };
    // The tag is the only text in the input that begins so; before it stands `hit","tag":"` or
    // `miss_build_as","tag":"`.
    let definitions = r#"
        (data (i32.const 8192) "{\"exit_code\":0,\"committed_snapshot\":\"")
        (data (i32.const 8270) "\",\"artifacts\":[]}")
        (data (i32.const 8400) "\"warn\"") (data (i32.const 8410) "asked")
        (func $is (param $at i64) (param $letter i32) (result i32)
          (i32.eq (call $in (local.get $at)) (local.get $letter)))
        (func (export "hm_executor_run") (result i32) (local $at i64) (local $i i64)
          (call $log (call $block (i32.const 8400) (i64.const 6)) (call $block (i32.const 8410) (i64.const 5)))
          (loop $find
            (if (i32.eqz (i32.and (i32.and (call $is (local.get $at) (i32.const 104))
                (call $is (i64.add (local.get $at) (i64.const 1)) (i32.const 109)))
                (call $is (i64.add (local.get $at) (i64.const 2)) (i32.const 45))))
              (then (local.set $at (i64.add (local.get $at) (i64.const 1))) (br $find))))
          (loop $copy
            (i32.store8 (i32.add (i32.const 8229) (i32.wrap_i64 (local.get $i)))
              (call $in (i64.add (local.get $at) (local.get $i))))
            (br_if $copy (i64.lt_u (local.tee $i (i64.add (local.get $i) (i64.const 1))) (i64.const 41))))
          (if (call $is (i64.sub (local.get $at) (i64.const 10)) (i32.const 116))
            (then (i32.store8 (i32.const 8205) (i32.const DIGIT))))
          (call $give (i32.const 8192) (i64.const 95))
          (i32.const 0))"#;
    module(&manifest.to_string(), imports, &definitions.replace("DIGIT", &u32::from(digit).to_string()))
}

#[test]
fn a_runner_with_snapshots_of_its_own_is_asked_for_them() {
    let mut theirs = forever(step("theirs", "true"));
    theirs["runner"] = json!("foreign");
    let project = Project::with_steps(&json!([theirs])).alone();
    let plugins = project.config().join("plugins");
    fs::create_dir_all(&plugins).expect("a directory");
    let install = |has_it| fs::write(plugins.join("foreign.wasm"), foreign(has_it)).expect("a plugin");
    let asked = |stderr: &str| stderr.matches("warning: plugin foreign: asked\n").count();
    install(true);
    let first = Built::of(&project, &[]).expect("", "theirs");
    assert_eq!(asked(&first.ran.stderr), 1, "to run it: {}", first.ran.stderr);
    let hit = Built::of(&project, &[]).expect("theirs", "");
    assert_eq!(asked(&hit.ran.stderr), 1, "for its snapshot: {}", hit.ran.stderr);
    let plan = project.run(&["plan"]).expect_code(0);
    assert!(plan.stdout.contains("- theirs (foreign): hit,"), "{}", plan.stdout);
    assert_eq!(asked(&plan.stderr), 0, "nothing is run for a plan: {}", plan.stderr);

    install(false);
    let lost = Built::of(&project, &[]).expect("", "theirs");
    // As a reader of the result, as its maker, and to run the step.
    assert_eq!(asked(&lost.ran.stderr), 3, "{}", lost.ran.stderr);
    let why = project.run(&["why", "theirs"]).expect_code(0).stdout;
    assert!(why.contains("its runner no longer has its result"), "{why}");
}
