//! Commands that plugins bring: their arguments, help, completions, endings, and what becomes of those that contradict
//! themselves.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::foreign_plugins::module;
use crate::support::{Project, Running, installed, ran, step};

const WRITE: &str = r#"(import "extism:host/user" "hm_write_stdout" (func $write (param i64)))
    (import "extism:host/env" "input_offset" (func $input (result i64)))"#;

/// Writes what it was given, and ends with 3.
const ECHO: &str = r#"(data (i32.const 8192) "{\"exit_code\":3,\"message\":\"that's it\"}")
    (func (export "hm_subcommand_run") (result i32)
      (call $write (call $input)) (call $give (i32.const 8192) (i64.const 37)) (i32.const 0))"#;

fn manifest(name: &str, asks: &[&str], verbs: &[Value]) -> String {
    json!({"api_version": 1, "name": name, "version": "0.1.0", "description": "", "config_schema": null,
           "required_host_fns": asks, "capabilities": verbs})
    .to_string()
}

fn verb(verb: &str, about: &str, args_schema: &Value, subcommands: &[Value]) -> Value {
    json!({"kind": "subcommand", "verb": verb, "about": about, "args_schema": args_schema, "subcommands": subcommands})
}

/// `hm send`, as a plugin of today declares it.
fn send() -> Value {
    let args = json!({"args": [
        {"id": "what", "takes": "one", "required": true, "help": "What to send"},
        {"id": "files", "takes": "many"},
        {"id": "to", "takes": "one", "long": "to", "short": "t", "value_name": "HOST", "possible_values": ["here", "there"]},
        {"id": "quiet", "takes": "flag", "short": "q", "long": "quiet"},
    ]});
    verb("send", "Send things", &args, &[verb("back", "Send it back", &json!({"args": []}), &[])])
}

fn project(plugins: &[(&str, &[u8])]) -> Project {
    let project = Project::with_steps(&json!([step("ours", "true")]));
    fs::create_dir_all(project.config().join("plugins")).expect("a directory");
    for (name, wasm) in plugins {
        fs::write(project.config().join("plugins").join(name).with_extension("wasm"), wasm)
            .expect("a plugin");
    }
    project
}

fn echo(verbs: &[Value]) -> Vec<u8> {
    module(&manifest("echo", &["hm_write_stdout"], verbs), WRITE, ECHO)
}

#[test]
fn arguments_are_parsed_by_the_plugins_own_schema() {
    let project = project(&[("echo", &echo(&[send()]))]);
    let mut command = project.hm(&["send", "-q", "x", "a", "b", "--to=there"]);
    command.env("HARMONT_TOKEN", "t").env("HARM", "no").env("SECRET", "no");
    let ran = ran(command.output().expect("hm")).expect_code(3);
    let input: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let args = json!({"what": "x", "files": ["a", "b"], "to": "there", "quiet": true});
    assert_eq!(input, json!({"verb_path": ["send"], "args": args, "env": {"HARMONT_TOKEN": "t"}}));
    assert_eq!(ran.stderr, "that's it\n");

    let below = project.run(&["send", "x", "back"]).expect_code(3);
    let input: Value = serde_json::from_str(&below.stdout).expect("JSON");
    assert_eq!(input["verb_path"], json!(["send", "back"]));

    for (wrong, expected) in [
        (&["send"][..], "the following required arguments were not provided"),
        (&["send", "x", "--quit"], "a similar argument exists: '--quiet'"),
        (&["send", "x", "--to", "nowhere"], "[possible values: here, there]"),
    ] {
        let ran = project.run(wrong).expect_code(2);
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains(expected), "{}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn without_a_project_there_are_no_directories_of_it() {
    let manifest = json!({"api_version": 1, "name": "echo", "version": "0.1.0", "description": "",
        "config_schema": null, "required_host_fns": ["hm_write_stdout"], "allowed_hosts": ["dir+rw:out"],
        "capabilities": [verb("raw", "", &Value::Null, &[])]});
    for (folder, expected) in [(".", true), ("../elsewhere", false)] {
        let project = project(&[]);
        let wasm = project.home().join("echo.wasm");
        fs::write(&wasm, module(&manifest.to_string(), WRITE, ECHO)).expect("a plugin");
        project.run(&["plugin", "install", "--yes", &wasm.display().to_string()]).expect_code(0);
        let here = project.path().join(folder);
        fs::create_dir_all(&here).expect("a directory");
        let mut command = project.hm(&["raw"]);
        ran(command.current_dir(&here).output().expect("hm")).expect_code(3);
        assert_eq!(here.join("out").exists(), expected, "{folder}");
    }
}

#[test]
fn help_of_plugins_is_like_that_of_hm() {
    let project = project(&[("echo", &echo(&[send()])), ("broken", b"not wasm")]);
    for args in [&["--help"][..], &["-h"], &["help"]] {
        let ran = project.run(args).expect_code(0);
        assert!(ran.stdout.contains("\n  send         Send things (plugin echo)\n"), "{}", ran.stdout);
        assert!(ran.stdout.find("  build ") < ran.stdout.find("  send "), "{}", ran.stdout);
    }
    for args in [&["send", "--help"][..], &["help", "send"]] {
        let ran = project.run(args).expect_code(0);
        for part in
            ["Usage: hm send [OPTIONS] <what> [files]...", "What to send", "-t, --to <HOST>", "Send it back"]
        {
            assert!(ran.stdout.contains(part), "{part} is not in\n{}", ran.stdout);
        }
    }
    assert!(project.run(&["help", "sendd"]).expect_code(2).stderr.contains("did you mean `send`?"));
    let below = project.run(&["help", "send", "back"]).expect_code(0).stdout;
    assert!(below.starts_with("Send it back\n\nUsage: hm send <what> back"), "{below}");
    // With no place for plugins there is still help.
    let mut command = project.hm(&["--help"]);
    command.env_remove("HOME").env_remove("XDG_CONFIG_HOME");
    assert!(ran(command.output().expect("hm")).expect_code(0).stdout.contains("Run a pipeline"));
}

#[test]
fn a_schema_that_declares_nothing_gets_what_was_typed() {
    let project = project(&[("echo", &echo(&[verb("raw", "", &json!({}), &[])]))]);
    let ran = project.run(&["raw", "--help", "-x", "--", "--y=1"]).expect_code(3);
    let input: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let path = ["raw", "--help", "-x", "--", "--y=1"];
    assert_eq!(input, json!({"verb_path": path, "args": null, "env": {}}));
}

#[test]
fn unknown_commands_are_told_with_what_there_is() {
    let with_plugin = project(&[("echo", &echo(&[send()]))]);
    let ran = with_plugin.run(&["sned", "x"]).expect_code(2);
    assert!(
        ran.stderr
            .starts_with("error: there is no command `sned`\nhint: did you mean `send`? the commands are: ")
    );
    assert!(ran.stderr.contains("build, ") && ran.stderr.ends_with("send\n"), "{}", ran.stderr);
    let with_broken = project(&[("broken", b"not wasm")]);
    let ran = with_broken.run(&["send"]).expect_code(5);
    assert!(
        ran.stderr.contains("broken.wasm is not a module") && ran.stderr.contains("unless it is of a plugin")
    );
}

#[test]
fn commands_that_contradict_themselves_or_hm_keep_their_plugin_out() {
    let twice = json!({"args": [{"id": "a", "takes": "flag", "long": "x"}, {"id": "b", "takes": "flag", "long": "x"}]});
    let reserved = verb("build", "", &json!({}), &[]);
    let cases = [
        (verb("send", "", &twice, &[]), "its command `send` cannot call `b` `--x`"),
        (reserved, "its verb `build` is a command of hm itself"),
    ];
    for (verb, expected) in cases {
        let project = project(&[("echo", &echo(&[verb]))]);
        let ran = project.run(&["send"]).expect_code(5);
        assert!(ran.stderr.contains("echo.wasm has a manifest that cannot be accepted: "), "{}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
        project.run(&["build"]).expect_code(0);
        project.run(&["--help"]).expect_code(0);
    }
}

#[test]
fn a_command_ends_as_the_plugin_says() {
    let ends = |run: &str| {
        let imports = r#"(import "extism:host/env" "error_set" (func $error (param i64)))"#;
        let wasm = module(&manifest("echo", &[], &[verb("x", "", &json!({"args": []}), &[])]), imports, run);
        project(&[("echo", &wasm)]).run(&["x"])
    };
    let answer = |json: &str| {
        let (text, len) = (json.replace('"', "\\\""), json.len());
        ends(&format!(
            r#"(data (i32.const 8192) "{text}") (func (export "hm_subcommand_run") (result i32)
              (call $give (i32.const 8192) (i64.const {len})) (i32.const 0))"#
        ))
    };
    answer(r#"{"exit_code":0,"message":null}"#).expect_code(0);
    answer(r#"{"exit_code":-1,"message":null}"#).expect_code(255);
    answer(r#"{"exit_code":256,"message":null}"#).expect_code(255);
    assert!(
        answer("{}")
            .expect_code(6)
            .stderr
            .contains("gave an answer from hm_subcommand_run that cannot be read")
    );
    let error =
        r#"{\"code\":\"no_luck\",\"message\":\"not today\",\"doc_url\":\"https://example.com/luck\"}"#;
    let ran = ends(&format!(
        r#"(data (i32.const 8192) "{error}") (func (export "hm_subcommand_run") (result i32)
          (call $error (call $block (i32.const 8192) (i64.const {}))) (i32.const 1))"#,
        error.replace('\\', "").len()
    ));
    let expected = "error: plugin echo: not today [no_luck], see https://example.com/luck\n";
    assert_eq!(ran.expect_code(6).stderr, expected);
    let trap = ends(r#"(func (export "hm_subcommand_run") (result i32) unreachable)"#).expect_code(6);
    assert!(trap.stderr.starts_with("error: plugin echo failed in hm_subcommand_run\n"), "{}", trap.stderr);
}

/// Starts a command, and waits until it has written what it was given.
fn started(run: &str) -> (Project, Running) {
    let imports = format!(
        r#"{WRITE} (import "extism:host/user" "hm_should_cancel" (func $cancel (result i64)))
        (import "extism:host/env" "load_u8" (func $load (param i64) (result i32)))
        (data (i32.const 8192) "{{\"exit_code\":0,\"message\":\"done\"}}") (data (i32.const 8300) "\n")"#
    );
    let run = format!(
        r#"(func (export "hm_subcommand_run") (result i32)
          (call $write (call $block (i32.const 8300) (i64.const 1))) {run}
          (call $give (i32.const 8192) (i64.const 32)) (i32.const 0))"#
    );
    let asks = ["hm_write_stdout", "hm_should_cancel"];
    let wasm =
        module(&manifest("echo", &asks, &[verb("wait", "", &json!({"args": []}), &[])]), &imports, &run);
    let project = project(&[("echo", &wasm)]);
    let mut command = project.hm(&["wait"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::start(command);
    // It is written at once although the plugin goes on.
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    (project, running)
}

#[test]
fn an_interrupted_command_may_clean_up() {
    let (_project, mut running) =
        started("(loop $again (br_if $again (i32.eqz (call $load (call $cancel)))))");
    running.signal(Signal::INT);
    assert_eq!(running.ended(), Some(130));
    let stderr = std::io::read_to_string(running.0.stderr.take().expect("a pipe")).expect("text");
    assert_eq!(stderr, "done\nerror: interrupted\n");
}

#[test]
fn an_interrupted_command_that_goes_on_is_ended() {
    let (_project, mut running) = started("(loop $again (br $again))");
    running.signal(Signal::INT);
    assert_eq!(running.ended(), Some(130));
}

#[test]
fn nobody_is_told_that_nobody_reads() {
    let project = project(&[("echo", &echo(&[verb("raw", "", &Value::Null, &[])]))]);
    let mut command = project.hm(&["raw"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("hm starts");
    drop(child.stdout.take());
    let ran = ran(child.wait_with_output().expect("hm ends")).expect_code(1);
    assert_eq!(ran.stderr, "");
}

#[test]
fn shells_complete_the_commands_of_plugins() {
    let bad = json!({"args": [{"id": "x", "takes": "one", "long": "xx", "help": "it's $(id)", "possible_values": ["$(id)"]}]});
    let project = project(&[("echo", &echo(&[send(), verb("bad", "`id`", &bad, &[])]))]);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = project.run(&["completions", shell]).expect_code(0).stdout;
        for part in ["build", "completions", "send", "quiet", "xx"] {
            assert!(script.contains(part), "{shell}: {part}");
        }
        for part in ["$(id)", "`id`", "it's", "____attack"] {
            assert!(!script.contains(part), "{shell}: {part}");
        }
    }
    if !installed(&["bash"]) {
        return;
    }
    let script = project.run(&["completions", "bash"]).stdout;
    let check = format!(
        "{script}\nCOMP_WORDS=(hm send --t); COMP_CWORD=2; _hm hm --t send; echo \"${{COMPREPLY[@]}}\""
    );
    let output = Command::new("bash").args(["-c", &check]).output().expect("bash");
    assert_eq!(ran(output).stdout.trim(), "--to");
}
