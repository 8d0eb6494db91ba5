//! `hm plugin call`: what goes into any Extism module, what comes out of it, and what it may use.

use std::fs;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Project, Ran, Running, ran, wait_until};
use crate::transcript::Transcript;

/// Functions that answer with what they were given, and ones that fail in every way.
const GUEST: &str = r#"(module
  (import "extism:host/env" "input_offset" (func $input (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "length" (func $length (param i64) (result i64)))
  (import "extism:host/env" "output_set" (func $output (param i64 i64)))
  (import "extism:host/env" "error_set" (func $error (param i64)))
  (import "extism:host/env" "config_get" (func $config (param i64) (result i64)))
  (import "extism:host/env" "http_request" (func $http (param i64 i64) (result i64)))
  (import "extism:host/env" "log_info" (func $info (param i64)))
  (import "extism:host/env" "log_warn" (func $warn (param i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (memory (export "memory") 2)
  (func $give (param $block i64) (call $output (local.get $block) (call $length (local.get $block))))
  (func (export "echo") (call $output (call $input) (call $input_length)))
  (func (export "config") (call $give (call $config (call $input))))
  (func (export "fetch") (call $give (call $http (call $input) (i64.const 0))))
  (func (export "fail") (result i32) (call $error (call $input)) (i32.const 7))
  (func $inner unreachable)
  (func $outer (call $inner))
  (func (export "trap") (call $outer))
  (func (export "spin") (loop $l (br $l)))
  (func (export "grow") (result i32) (memory.grow (i32.const 8)))
  (func (export "takes") (param i32))
  (func (export "flood") (loop $l (call $warn (call $alloc (i64.const 3))) (br $l)))
  (func (export "log") (call $warn (call $input)))
  (func (export "log_info") (call $info (call $input))))"#;

fn project() -> Project {
    let project = Project::new();
    add(&project, "guest.wasm", GUEST);
    project
}

fn add(project: &Project, name: &str, wat: &str) {
    fs::write(project.path().join(name), wat::parse_str(wat).expect("WAT")).expect("a file");
}

/// The words of a call.
const CALL: &[&str] = &["plugin", "call", "guest.wasm"];

fn call(project: &Project, args: &[&str]) -> Ran {
    project.run(&[CALL, args].concat())
}

/// The one object of `--json`.
fn json_of(ran: &Ran) -> Value {
    assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
    serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e} in {}", ran.stdout))
}

#[test]
fn input_comes_from_everywhere_and_output_is_unchanged() {
    let project = project();
    project.write("input", "from a file\n");
    for (args, expected) in [
        (&["echo"][..], ""),
        (&["echo", "--input", "typed"], "typed"),
        (&["echo", "--input", "--looks-like-an-option"], "--looks-like-an-option"),
        (&["echo", "--input-file", "input"], "from a file\n"),
        (&["echo", "--input", "\x1b[2J\r"], "\x1b[2J\r"),
    ] {
        assert_eq!(call(&project, args).expect_code(0).stdout, expected);
    }
    for args in [["-"].as_slice(), &["--input-file", "-"]] {
        let args = [&["plugin", "call", "guest.wasm", "echo"], args].concat();
        assert_eq!(project.run_with_input(&args, b"from a pipe").expect_code(0).stdout, "from a pipe");
    }
}

#[test]
fn bytes_that_are_no_text_come_through() {
    let project = project();
    fs::write(project.path().join("bytes"), b"\xff\0\xfe").expect("a file");
    let args = ["plugin", "call", "guest.wasm", "echo", "--input-file", "bytes"];
    let output = project.hm(&args).output().expect("hm starts");
    assert_eq!((output.status.code(), output.stdout), (Some(0), b"\xff\0\xfe".to_vec()));
    let object = json_of(&project.run(&[&args[..], &["--json"]].concat()).expect_code(0));
    assert_eq!((&object["output"], &object["encoding"]), (&json!("/wD+"), &json!("base64")));
}

#[test]
fn json_says_what_came_out_and_what_was_used() {
    let ran = call(&project(), &["echo", "--input", "hello", "--json"]).expect_code(0);
    let mut object = json_of(&ran);
    assert!(object["report"]["fuel_used"].as_u64().is_some_and(|fuel| fuel > 0), "{object}");
    assert!(object["report"]["wall_ms"].is_u64(), "{object}");
    object["report"]["fuel_used"] = json!(1);
    object["report"]["wall_ms"] = json!(1);
    let report = json!({"fuel_used": 1, "wall_ms": 1, "memory_bytes": 131_072, "block_bytes": 5,
        "host_calls": {"output_set": 1}, "bytes_in": 5, "bytes_out": 5});
    let expected = json!({"ok": true, "output": "hello", "stdout": "", "stderr": "", "report": report});
    assert_eq!(object, expected);
    assert_eq!(ran.stderr, "");
}

#[test]
fn failures_have_their_code_and_say_what_happened() {
    let project = project();
    let mut said = Transcript::default();
    for (about, args, code) in [
        ("a message", &["fail", "--input", "one\nerror: two"][..], 6),
        ("a code alone", &["fail"], 6),
        ("a trap", &["trap"], 6),
        ("no fuel", &["spin", "--fuel", "1000"], 6),
        ("no time", &["spin", "--timeout", "100"], 6),
        ("no grant", &["fetch", "--input", "{}"], 6),
        ("no such function", &["nope"], 2),
        ("a function of another type", &["takes"], 2),
    ] {
        let ran = said.run(about, &project, &[CALL, args].concat()).expect_code(code);
        assert_eq!(ran.stdout, "");
    }
    said.expect("plugin-call-failures");
}

#[test]
fn json_tells_failures_too() {
    let project = project();
    for (args, code, error) in [
        (&["fail", "--input", "why"][..], 6, json!({"kind": "guest", "code": 7, "message": "why"})),
        (
            &["trap"],
            6,
            json!({"kind": "trap", "message": "trap: wasm `unreachable` instruction executed",
                   "backtrace": ["inner", "outer", "function 17"]}),
        ),
        (
            &["spin", "--fuel", "1000"],
            6,
            json!({"kind": "out-of-fuel", "message": "the call used up its 1000 units of fuel"}),
        ),
        (&["nope"], 2, json!({"kind": "no-such-export", "message": "the plug-in has no function `nope`"})),
    ] {
        let ran = call(&project, &[args, &["--json"]].concat()).expect_code(code);
        let object = json_of(&ran);
        assert_eq!((&object["ok"], &object["error"]), (&json!(false), &error));
        assert!(object["report"].is_object());
        assert_eq!(ran.stderr, "");
    }
}

#[test]
fn what_cannot_be_loaded_is_named() {
    let project = project();
    project.write("text.wasm", "(module)");
    add(&project, "host.wasm", r#"(module (import "extism:host/user" "hm_root" (func (param i64 i64))))"#);
    add(&project, "large.wasm", "(module (memory 5000))");
    let mut said = Transcript::default();
    for (file, cause) in [
        ("text.wasm", "not a binary WebAssembly module"),
        ("host.wasm", "the module imports `hm_root` from `extism:host/user`, which does not exist"),
        ("large.wasm", "the module starts with 5000 pages of memory, more than the 4096 allowed"),
    ] {
        let text = format!("plugin {file} is not a module that can be loaded");
        said.run(file, &project, &["plugin", "call", file, "run"]).expect_code(5);
        let ran = project.run(&["plugin", "call", file, "run", "--json"]).expect_code(5);
        let error = json!({"kind": "load", "message": format!("{text}: {cause}")});
        assert_eq!(json_of(&ran), json!({"ok": false, "error": error}));
    }
    said.expect("plugin-call-modules");
    let ran = project.run(&["plugin", "call", "missing.wasm", "run"]).expect_code(5);
    assert!(
        ran.stderr.starts_with("error: cannot read plugin missing.wasm\n  1: No such file"),
        "{}",
        ran.stderr
    );
    let ran = project.run(&["plugin", "call", "/dev/zero", "run"]).expect_code(5);
    assert!(ran.stderr.contains("it is not a regular file"), "{}", ran.stderr);
}

#[test]
fn configuration_and_limits_reach_the_module() {
    let project = project();
    let config = ["config", "--config", "a=1", "--config", "b==2 ", "--input"];
    assert_eq!(call(&project, &[&config[..], &["a"]].concat()).expect_code(0).stdout, "1");
    assert_eq!(call(&project, &[&config[..], &["b"]].concat()).expect_code(0).stdout, "=2 ");
    assert_eq!(call(&project, &[&config[..], &["c"]].concat()).expect_code(0).stdout, "");

    // Growing answers 2, the size before, or -1.
    let code = |pages: &str| {
        json_of(&call(&project, &["grow", "--max-pages", pages, "--json"]))["error"]["code"].clone()
    };
    assert_eq!((code("10"), code("9")), (json!(2), json!(-1)));
    let ran = call(&project, &["grow", "--max-pages", "1"]).expect_code(5);
    assert!(ran.stderr.contains("2 pages of memory, more than the 1 allowed"), "{}", ran.stderr);
    add(&project, "large.wasm", r#"(module (memory 5000) (func (export "run")))"#);
    project.run(&["plugin", "call", "large.wasm", "run", "--max-pages", "5000"]).expect_code(0);
}

#[test]
fn hosts_are_allowed_by_name_only() {
    let project = project();
    let fetch = |host: &str| {
        let args = ["fetch", "--allow-host", host, "--json", "--input", r#"{"url": "http://127.0.0.1:9/"}"#];
        json_of(&call(&project, &args).expect_code(6))["error"].clone()
    };
    assert_eq!(
        fetch("*"),
        json!({"kind": "denied", "message": "denied: http_request to http://127.0.0.1:9"})
    );
    let allowed = fetch("127.0.0.1");
    assert_eq!(allowed["kind"], "host-function");
    assert!(
        allowed["message"].as_str().is_some_and(|m| m.contains("cannot connect to http://127.0.0.1:9")),
        "{allowed}"
    );
}

#[test]
fn modules_are_linked_by_name() {
    let project = Project::new();
    add(
        &project,
        "main.wasm",
        r#"(module (import "other" "f" (func $f (result i32))) (func (export "run") (result i32) (call $f)))"#,
    );
    add(&project, "other.wasm", r#"(module (func (export "f") (result i32) (i32.const 42)))"#);
    let run = ["plugin", "call", "main.wasm", "run", "--json"];
    let object = json_of(&project.run(&[&run[..], &["--link", "other=other.wasm"]].concat()).expect_code(6));
    assert_eq!(object["error"]["code"], 42);
    let ran = project.run(&run).expect_code(5);
    assert!(ran.stdout.contains("imports `f` from `other`, which does not exist"), "{}", ran.stdout);
    let ran = project.run(&[&run[..], &["--link", "other=missing.wasm"]].concat()).expect_code(5);
    assert!(ran.stdout.contains("cannot read plugin missing.wasm"), "{}", ran.stdout);
}

#[test]
fn the_log_is_shown_like_all_diagnostics() {
    let project = project();
    let hostile = "one\nerror: two \x1b[2J";
    let ran = call(&project, &["log", "--input", hostile]).expect_code(0);
    assert_eq!(ran.stderr, "warning: plugin guest.wasm: one\\nerror: two \\u{1b}[2J\n");
    assert_eq!(call(&project, &["log_info", "--input", "quiet"]).expect_code(0).stderr, "");
    let ran = call(&project, &["log_info", "--input", "loud", "--verbose"]).expect_code(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", "info: plugin guest.wasm: loud\n"));
    // All of it, up to the limit, and how much was more.
    let ran = call(&project, &["flood", "--fuel", "20000000"]).expect_code(6);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(
        lines.iter().filter(|line| line.starts_with("warning: plugin guest.wasm: \\u{0}")).count(),
        10_000
    );
    assert!(lines[10_000].contains("log lines") && lines[10_000].contains("dropped"), "{}", lines[10_000]);
    assert_eq!(lines.len(), 10_003);
}

#[test]
fn wrong_usage_is_refused() {
    let project = project();
    let mut said = Transcript::default();
    for args in [
        &["echo", "--config", "novalue"][..],
        &["echo", "--config", "=v"],
        &["echo", "--config", "a=1", "--config", "a=2"],
        &["echo", "--link", "nofile"],
        &["echo", "--allow-host", "dir:../docs"],
        &["echo", "--allow-host", "a b"],
        &["echo", "--grant", "hm_root"],
        &["echo", "--grant", "keyring:"],
        &["echo", "--input", "a", "-"],
        &["echo", "--input", "a", "--input-file", "b"],
        &["echo", "text"],
        &["echo", "--fuel", "0"],
        &["echo", "--timeout", "0"],
        &["echo", "--timeout", "86400001"],
        &["echo", "--max-pages", "0"],
    ] {
        said.run("wrong usage", &project, &[CALL, args].concat()).expect_code(2);
    }
    said.expect("plugin-call-usage");
    let ran = call(&project, &["echo", "--input-file", "missing"]).expect_code(2);
    assert!(
        ran.stderr.starts_with("error: cannot read the input from missing\n  1: No such"),
        "{}",
        ran.stderr
    );
}

#[test]
fn nobody_reading_is_no_error_to_tell() {
    let project = project();
    fs::write(project.path().join("large"), vec![b'x'; 1 << 20]).expect("a file");
    let mut command = project.hm(&["plugin", "call", "guest.wasm", "echo", "--input-file", "large"]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let ran = ran(command.stdout(writer).stderr(Stdio::piped()).output().expect("hm starts"));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
}

#[test]
fn ctrl_c_cancels_the_call() {
    let project = project();
    let args = ["plugin", "call", "guest.wasm", "flood", "--fuel", "10000000000000", "--json"];
    let mut command = project.hm(&args);
    let log = project.path().join("log");
    command.stdout(Stdio::piped()).stderr(fs::File::create(&log).expect("a file"));
    let mut call = Running::start(command);
    wait_until("the call runs", || fs::metadata(&log).is_ok_and(|m| m.len() > 0));
    call.signal(Signal::INT);
    assert_eq!(call.ended(), Some(130));
    let output = std::io::read_to_string(call.0.stdout.take().expect("a pipe")).expect("text");
    let object: Value = serde_json::from_str(&output).expect("JSON");
    assert_eq!(object["error"]["kind"], "cancelled", "{object}");
}
