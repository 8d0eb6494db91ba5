//! Plugins that the user put into the plugin directory: what they may do, and what becomes of them when they misbehave.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Project, Running, exits, step};

/// Long enough for the fuel of one call to run out on a slow machine; only there so that a hang is noticed.
const BOUND: Duration = Duration::from_secs(90);

/// A module whose `hm_manifest` answers this text, with these further definitions.
pub(crate) fn module(manifest: &str, imports: &str, definitions: &str) -> Vec<u8> {
    let escaped: String = manifest.bytes().map(|b| format!("\\{b:02x}")).collect();
    let len = manifest.len();
    let wat = format!(
        r#"(module
            (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
            (import "extism:host/env" "store_u8" (func $store (param i64 i32)))
            (import "extism:host/env" "output_set" (func $output (param i64 i64)))
            {imports}
            (memory (export "memory") 1)
            (data (i32.const 0) "{escaped}")
            (func (export "hm_manifest") (result i32) (call $give (i32.const 0) (i64.const {len})) (i32.const 0))
            (func $block (param $from i32) (param $len i64) (result i64) (local $at i64) (local $block i64)
              (local.set $block (call $alloc (local.get $len)))
              (loop $next
                (call $store (i64.add (local.get $block) (local.get $at))
                  (i32.load8_u (i32.add (local.get $from) (i32.wrap_i64 (local.get $at)))))
                (br_if $next (i64.lt_u (local.tee $at (i64.add (local.get $at) (i64.const 1))) (local.get $len))))
              (local.get $block))
            (func $give (param $from i32) (param $len i64)
              (call $output (call $block (local.get $from) (local.get $len)) (local.get $len)))
            {definitions})"#
    );
    wat::parse_str(wat).expect("WAT")
}

fn manifest(asks: &[&str], capabilities: &Value) -> String {
    json!({"api_version": 1, "name": "foreign", "version": "0.1.0", "description": "", "config_schema": null,
           "required_host_fns": asks, "capabilities": capabilities})
    .to_string()
}

fn executor() -> Value {
    json!([{"kind": "step_executor", "runner": "foreign", "default": false, "step_schema": null}])
}

/// A project with this plugin in the user's directory, and a step that it runs beside one of our own.
fn with_plugin(wasm: &[u8]) -> Project {
    let mut theirs = step("theirs", "true");
    theirs["runner"] = json!("foreign");
    let project = Project::with_steps(&json!([theirs, step("ours", "true")]));
    fs::create_dir_all(project.config().join("plugins")).expect("a directory");
    fs::write(project.config().join("plugins/foreign.wasm"), wasm).expect("a plugin");
    project
}

#[test]
fn a_loop_in_the_manifest_ends_with_an_error_that_names_the_plugin() {
    let wasm = wat::parse_str(r#"(module (func (export "hm_manifest") (loop $l (br $l))))"#).expect("WAT");
    let project = with_plugin(&wasm);
    let start = Instant::now();
    let ran = project.run(&["build"]).expect_code(7);
    assert!(start.elapsed() < BOUND);
    assert!(
        ran.stderr.contains("foreign.wasm could not say what it is: hm_manifest failed: "),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("error: step `theirs` asks for runner `foreign`, which no plugin provides"),
        "{}",
        ran.stderr
    );
    // Whoever does not need it is not kept.
    project.write("ours.json", &json!({"version": "0", "steps": [step("ours", "true")]}).to_string());
    project.run(&["build", "--file", "ours.json"]).expect_code(0);
}

#[test]
fn a_loop_in_a_step_ends_with_an_error_that_names_the_plugin() {
    let wasm = module(
        &manifest(&[], &executor()),
        "",
        r#"(func (export "hm_executor_run") (result i32) (loop $l (br $l)) (i32.const 0))"#,
    );
    let start = Instant::now();
    let (ran, events) = with_plugin(&wasm).events(&["-j2"]);
    assert!(start.elapsed() < BOUND);
    let ran = ran.expect_code(6);
    assert!(ran.stdout.contains("plugin foreign failed in hm_executor_run: "), "{}", ran.stdout);
    assert_eq!(
        exits(&events),
        [("ours".to_owned(), 0), ("theirs".to_owned(), 70)].into(),
        "its neighbour is unharmed"
    );
}

#[test]
fn a_loop_in_a_step_ends_at_the_steps_timeout_too() {
    let wasm = module(
        &manifest(&[], &executor()),
        "",
        r#"(func (export "hm_executor_run") (result i32) (loop $l (br $l)) (i32.const 0))"#,
    );
    let project = with_plugin(&wasm);
    let mut theirs = step("theirs", "true");
    theirs["runner"] = json!("foreign");
    theirs["timeout_seconds"] = json!(1);
    project.write(".hm/ci.json", &json!({"version": "0", "steps": [theirs]}).to_string());
    let (ran, events) = project.events(&[]);
    ran.expect_code(1);
    assert_eq!(exits(&events), [("theirs".to_owned(), 124)].into());
}

#[test]
fn what_was_not_granted_or_not_asked_for_is_a_denial() {
    let import = r#"(import "extism:host/user" "hm_sandbox_exists" (func $exists (param i64) (result i64)))"#;
    let run = r#"(data (i32.const 4096) "\"x\"")
        (func (export "hm_executor_run") (result i32)
          (drop (call $exists (call $block (i32.const 4096) (i64.const 3)))) (i32.const 0))"#;
    for asks in [&["hm_sandbox_exists"][..], &[]] {
        let (ran, _) = with_plugin(&module(&manifest(asks, &executor()), import, run)).events(&[]);
        let ran = ran.expect_code(6);
        assert!(ran.stdout.contains("hm_sandbox_exists"), "{}", ran.stdout);
    }
    let info = with_plugin(&module(&manifest(&["hm_sandbox_exists", "hm_log"], &executor()), import, run))
        .run(&["plugin", "info", "foreign"])
        .expect_code(0);
    assert!(
        info.stdout.contains("hm_sandbox_exists (not granted)") && info.stdout.contains("hm_log (granted)"),
        "{}",
        info.stdout
    );
}

#[test]
fn an_executor_cannot_write_to_the_terminal() {
    let import = r#"(import "extism:host/user" "hm_write_stdout" (func $write (param i64)))"#;
    let run = r#"(func (export "hm_executor_run") (result i32) (call $write (i64.const 0)) (i32.const 0))"#;
    let ran = with_plugin(&module(&manifest(&["hm_write_stdout"], &executor()), import, run))
        .run(&["build"])
        .expect_code(6);
    assert!(ran.stdout.contains("hm_write_stdout: not for step executors"), "{}", ran.stdout);
}

#[test]
fn files_that_are_no_plugins_are_named_and_harm_nobody() {
    let cases: [(&[u8], &str); 4] = [
        (b"not wasm", "is not a module that can be loaded"),
        (b"\0asm\x01\0\0\0", "exports no function `hm_manifest`"),
        (&module("{", "", ""), "has a manifest that cannot be read"),
        (
            &module(&manifest(&["hm_rule_the_world"], &json!([])), "", ""),
            "asks for host function \"hm_rule_the_world\"",
        ),
    ];
    for (wasm, expected) in cases {
        let project = with_plugin(wasm);
        let list = project.run(&["plugin", "list"]).expect_code(0);
        let last = list.stdout.lines().last().unwrap_or_default();
        assert!(last.starts_with("foreign      broken   plugin ") && last.contains(expected), "{last}");
        assert_eq!(list.stdout.lines().count(), 5);
    }
}

#[test]
fn two_plugins_that_claim_the_same_are_both_named() {
    let capabilities =
        json!([{"kind": "step_executor", "runner": "local", "default": false, "step_schema": null}]);
    let run = r#"(func (export "hm_executor_run") (result i32) (i32.const 0))"#;
    let ran = with_plugin(&module(&manifest(&[], &capabilities), "", run)).run(&["build"]).expect_code(5);
    assert!(
        ran.stderr.starts_with("error: runner `local` is claimed by two plugins: local (built in, sha256 "),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("and foreign (") && ran.stderr.contains("foreign.wasm, sha256 "),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_plugin_that_floods_its_log_can_be_stopped_although_nobody_reads_it() {
    let import = r#"(import "extism:host/user" "hm_log" (func $log (param i64 i64)))"#;
    let run = r#"(data (i32.const 4096) "\"error\"")
        (func (export "hm_executor_run") (result i32) (local $level i64)
          (local.set $level (call $block (i32.const 4096) (i64.const 7)))
          (loop $again (call $log (local.get $level) (local.get $level)) (br $again)) (i32.const 0))"#;
    let project = with_plugin(&module(&manifest(&["hm_log"], &executor()), import, run));
    let mut command = project.hm(&["build", "-j2"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut build = Running::start(command);
    std::thread::sleep(Duration::from_secs(2));
    build.signal(Signal::INT);
    assert_eq!(build.ended(), Some(130));

    // Whoever reads is not drowned either: the plugin has a budget, then its fuel ends.
    let ran = project.run(&["build", "-j2"]).expect_code(6);
    assert!(
        ran.stderr.len() < 64 << 20 && ran.stderr.contains("(it says too much; the rest is dropped)"),
        "{} bytes",
        ran.stderr.len()
    );
}
