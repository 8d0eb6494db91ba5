//! `hm plugin call --grant`: which host functions a module without a manifest has, and what becomes of what it writes.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Project, Ran};

/// Each function calls the host function of its name with its input.
const GUEST: &str = r#"(module
  (import "extism:host/env" "input_offset" (func $input (result i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $store (param i64 i32)))
  (import "extism:host/user" "hm_log" (func $log (param i64 i64)))
  (import "extism:host/user" "hm_write_stdout" (func $stdout (param i64)))
  (import "extism:host/user" "hm_write_stderr" (func $stderr (param i64)))
  (import "extism:host/user" "hm_emit_step_log" (func $step_log (param i64 i64)))
  (import "extism:host/user" "hm_sandbox_exists" (func $exists (param i64) (result i64)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\22warn\22")
  (func $level (result i64) (local $block i64) (local $i i32)
    (local.set $block (call $alloc (i64.const 6)))
    (loop $next
      (call $store (i64.add (local.get $block) (i64.extend_i32_u (local.get $i))) (i32.load8_u (local.get $i)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (i32.const 6))))
    (local.get $block))
  (func (export "log") (call $log (call $level) (call $input)))
  (func (export "stdout") (call $stdout (call $input)))
  (func (export "both") (call $stdout (call $input)) (call $stderr (call $input)))
  (func (export "written_then_trap") (call $stdout (call $input)) unreachable)
  (func (export "flood") (loop $l (call $stdout (call $alloc (i64.const 1000000))) (br $l)))
  (func (export "step_log") (call $step_log (call $level) (call $input)))
  (func (export "exists") (drop (call $exists (call $input)))))"#;

fn project() -> Project {
    let project = Project::new();
    fs::write(project.path().join("guest.wasm"), wat::parse_str(GUEST).expect("WAT")).expect("a file");
    project
}

fn call(project: &Project, args: &[&str]) -> Ran {
    project.run(&[&["plugin", "call", "guest.wasm"], args].concat())
}

fn json_of(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e} in {}", ran.stdout))
}

#[test]
fn a_function_is_there_once_it_is_granted_by_name() {
    let project = project();
    let ran = call(&project, &["log", "--input", "hello"]).expect_code(6);
    let expected = "error: calling `log` of guest.wasm failed\n  1: denied: hm_log: it was not granted\n\
                    hint: if the module is to have it: --grant hm_log\n";
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", expected));

    let ran = call(&project, &["log", "--input", "hello", "--grant", "hm_log"]).expect_code(0);
    let name = ran.stderr.strip_prefix("warning: plugin call-").expect("a name").strip_suffix(": hello\n");
    let name = name.expect("what it said");
    assert!(name.len() == 16 && name.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");

    // One grant is no other.
    let ran = call(&project, &["stdout", "--input", "hello", "--grant", "hm_log", "--json"]).expect_code(6);
    let error = json!({"kind": "denied", "message": "denied: hm_write_stdout: it was not granted"});
    assert_eq!((&json_of(&ran)["error"], ran.stderr.as_str()), (&error, ""));
}

#[test]
fn what_belongs_to_a_step_is_denied_also_where_it_is_granted() {
    let project = project();
    for (export, function) in [("step_log", "hm_emit_step_log"), ("exists", "hm_sandbox_exists")] {
        for args in [&[export][..], &[export, "--grant", function]] {
            let ran = call(&project, args).expect_code(6);
            let why = format!("  1: denied: {function}: not for `hm plugin call`\n");
            assert_eq!(ran.stderr, format!("error: calling `{export}` of guest.wasm failed\n{why}"));
        }
    }
}

#[test]
fn what_is_written_goes_to_the_streams_or_into_fields() {
    let project = project();
    let both =
        ["both", "--grant", "hm_write_stdout", "--grant", "hm_write_stderr", "--input", "words\x1b[2J\n"];
    let ran = call(&project, &both).expect_code(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("words\x1b[2J\n", "words\n"));

    let object = json_of(&call(&project, &[&both[..], &["--json"]].concat()).expect_code(0));
    assert_eq!((&object["stdout"], &object["stderr"]), (&json!("words\x1b[2J\n"), &json!("words\x1b[2J\n")));
    assert_eq!(object["report"]["host_calls"], json!({"hm_write_stdout": 1, "hm_write_stderr": 1}));

    fs::write(project.path().join("bytes"), b"\xff\0").expect("a file");
    let bytes = ["stdout", "--grant", "hm_write_stdout", "--input-file", "bytes", "--json"];
    let object = json_of(&call(&project, &bytes).expect_code(0));
    assert_eq!((&object["stdout"], &object["stdout_encoding"]), (&json!("/wA="), &json!("base64")));

    let trap = ["written_then_trap", "--grant", "hm_write_stdout", "--input", "before"];
    assert_eq!(call(&project, &trap).expect_code(6).stdout, "before");
    let object = json_of(&call(&project, &[&trap[..], &["--json"]].concat()).expect_code(6));
    assert_eq!((&object["stdout"], &object["error"]["kind"]), (&json!("before"), &json!("trap")));
}

#[test]
fn a_flood_is_kept_up_to_a_limit_and_the_rest_is_counted() {
    let flood = ["flood", "--grant", "hm_write_stdout", "--json", "--fuel", "30000000"];
    let object = json_of(&call(&project(), &flood).expect_code(6));
    assert_eq!(object["stdout"].as_str().map(str::len), Some(16 << 20));
    let writes = object["report"]["host_calls"]["hm_write_stdout"].as_u64().expect("a number");
    // The last one may have found no fuel.
    let dropped = object["stdout_dropped"].as_u64().expect("a number");
    assert!(
        [writes, writes - 1].map(|n| n * 1_000_000 - (16 << 20)).contains(&dropped),
        "{writes}: {dropped}"
    );
}
