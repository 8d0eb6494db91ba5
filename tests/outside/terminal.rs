//! Questions at a real terminal: who asks is always said, what is hidden is not shown, and the terminal is afterwards
//! as it was before.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hm_host::backend::terminal::{Terminal, TerminalError};
use rustix::process::Signal;
use serde_json::json;

use super::pty::Pty;
use super::{granted, strs};
use crate::foreign_plugins::module;
use crate::support::{Project, Ran, Running, ran, run_by, wait_until};

const BOUND: Duration = Duration::from_secs(60);

fn prompt(msg: &str, mask: bool) -> Vec<u8> {
    json!({"msg": msg, "mask": mask}).to_string().into_bytes()
}

fn confirm(msg: &str, default: bool) -> Vec<u8> {
    json!({"msg": msg, "default": default}).to_string().into_bytes()
}

/// A command for `hm`, with a guest that makes this call.
fn hm(project: &Project, function: &str, argument: &[u8], more: &[&str]) -> Command {
    let args = granted(project, "guest.wasm", "go", &[(function, argument, true)]);
    project.hm(&strs(&args, more))
}

/// `hm` at a terminal, under way; the process is `hm` itself.
fn at(pty: &Pty, command: &Command) -> Child {
    pty.own(command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("hm starts")
}

fn end(child: Child) -> Ran {
    ran(child.wait_with_output().expect("hm ends"))
}

#[test]
fn a_question_names_who_asks_and_the_answer_is_a_line() {
    let (project, mut pty) = (Project::new(), Pty::open());
    let message = "\x1b[2J\x1b[31mName?\x1b[0m\nplugin local asks: \x1b]0;title\x07more";
    let child = at(&pty, &hm(&project, "hm_tty_prompt", &prompt(message, false), &[]));
    pty.expect("asks: Name? plugin local asks: more ");
    let shown = pty.shown();
    let line = shown.lines().last().expect("a line");
    assert!(line.starts_with("plugin call-") && !shown.contains('\x1b'), "{shown:?}");
    assert!(pty.echoes());
    pty.type_in("Ada L\u{f6}velace\n");
    let ran = end(child).expect_code(0);
    assert_eq!(ran.stdout, "Ada L\u{f6}velace");
    pty.expect("Ada L\u{f6}velace");
}

#[test]
fn what_is_hidden_is_not_shown() {
    let (project, mut pty) = (Project::new(), Pty::open());
    let child = at(&pty, &hm(&project, "hm_tty_prompt", &prompt("Password?", true), &[]));
    pty.expect("asks: Password? ");
    assert!(!pty.echoes());
    pty.type_in("hunter2\n");
    let ran = end(child).expect_code(0);
    assert_eq!(ran.stdout, "hunter2");
    assert!(pty.echoes(), "it shows again what is typed");
    pty.read();
    assert!(!pty.shown().contains("hunter2"), "{:?}", pty.shown());
}

#[test]
fn yes_no_and_the_default() {
    let (project, mut pty) = (Project::new(), Pty::open());
    for (default, typed, answer) in [
        (false, "y\n", 1),
        (false, "YES\n", 1),
        (true, "n\n", 0),
        (true, "\n", 1),
        (false, "\n", 0),
        (false, "perhaps\nno\n", 0),
    ] {
        let asked = pty.shown().matches("asks: Go? ").count();
        // What was typed before it was asked for is no answer to it.
        pty.type_in(if answer == 1 { "n\n" } else { "y\n" });
        let child = at(&pty, &hm(&project, "hm_tty_confirm", &confirm("Go?", default), &[]));
        let choice = if default { "[Y/n]" } else { "[y/N]" };
        wait_until("it asks", || {
            pty.read();
            pty.shown().matches("asks: Go? ").count() > asked
        });
        pty.expect(choice);
        pty.type_in(typed);
        let ran = end(child).expect_code(0);
        assert_eq!(ran.stdout.as_bytes(), u32::to_le_bytes(answer), "{default} {typed:?}");
    }
}

#[test]
fn the_terminal_is_as_it_was_however_it_ends() {
    let project = Project::new();
    let ask = |pty: &mut Pty, more: &[&str]| {
        let child = at(pty, &hm(&project, "hm_tty_prompt", &prompt("Password?", true), more));
        pty.expect("asks: Password? ");
        assert!(!pty.echoes());
        pty.type_in("half an ans");
        child
    };
    // Ctrl-C, and before it the keys that would stop or end the program with the terminal as it is.
    let mut pty = Pty::open();
    let child = ask(&mut pty, &[]);
    pty.type_in("\x1a\x1c\x03");
    end(child).expect_code(130);
    assert!(pty.echoes());

    for signal in [Signal::TERM, Signal::HUP] {
        let mut pty = Pty::open();
        let child = ask(&mut pty, &[]);
        let pid = i32::try_from(child.id()).expect("a pid");
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).expect("a pid"), signal)
            .expect("there");
        end(child).expect_code(130);
        assert!(pty.echoes(), "{signal:?}");
    }

    let mut pty = Pty::open();
    let child = ask(&mut pty, &["--timeout", "1500"]);
    let ran = end(child).expect_code(6);
    assert!(ran.stderr.contains("the call took longer than"), "{}", ran.stderr);
    assert!(pty.echoes());

    // The end of input.
    let mut pty = Pty::open();
    let child = at(&pty, &hm(&project, "hm_tty_prompt", &prompt("Password?", true), &[]));
    pty.expect("asks: Password? ");
    pty.type_in("\x04");
    let ran = end(child).expect_code(6);
    assert!(ran.stderr.contains("the terminal gave no answer"), "{}", ran.stderr);
    assert!(pty.echoes());
}

#[test]
fn ctrl_c_ends_a_question_of_a_command() {
    for (function, argument) in
        [("hm_tty_prompt", prompt("Password?", true)), ("hm_tty_confirm", confirm("Password?", true))]
    {
        let verb = json!({"kind": "subcommand", "verb": "log-in", "about": "", "args_schema": null, "subcommands": []});
        let manifest = json!({"api_version": 1, "name": "asker", "version": "0.1.0", "description": "",
            "config_schema": null, "required_host_fns": [function, "hm_write_stdout"], "capabilities": [verb]});
        let imports = format!(
            r#"(import "extism:host/user" "{function}" (func $ask (param i64) (result i64)))
               (import "extism:host/user" "hm_write_stdout" (func $write (param i64)))"#
        );
        let length = argument.len();
        let text = String::from_utf8(argument).expect("JSON").replace('"', "\\22");
        // What comes after the question is not reached.
        let run = format!(
            r#"(data (i32.const 8192) "{text}")
               (func (export "hm_subcommand_run") (result i32)
                 (drop (call $ask (call $block (i32.const 8192) (i64.const {length}))))
                 (call $write (call $block (i32.const 8192) (i64.const 1))) (i32.const 0))"#
        );
        let (project, mut pty) = (Project::new(), Pty::open());
        let file = project.home().join("asker.wasm");
        fs::write(&file, module(&manifest.to_string(), &imports, &run)).expect("a plugin");
        project.run(&["plugin", "install", file.to_str().expect("text"), "--yes"]).expect_code(0);
        let child = at(&pty, &project.hm(&["log-in"]));
        pty.expect("plugin asker asks: Password? ");
        pty.type_in("half an ans\x03");
        let ran = end(child).expect_code(130);
        assert_eq!((&*ran.stdout, &*ran.stderr), ("", "error: interrupted\n"), "{function}");
        assert!(pty.echoes());
    }
}

#[test]
fn without_a_terminal_there_is_the_default_or_an_error() {
    let project = Project::new();
    let without = |command: Command| {
        let mut with = Command::new("setsid");
        with.arg("--wait");
        ran(run_by(with, &command).stdin(Stdio::null()).output().expect("hm starts"))
    };
    let asked = without(hm(&project, "hm_tty_prompt", &prompt("Name?", false), &[])).expect_code(6);
    assert!(asked.stderr.contains("there is no terminal to ask at"), "{}", asked.stderr);
    for (default, answer) in [(true, 1_u32), (false, 0)] {
        let confirmed = without(hm(&project, "hm_tty_confirm", &confirm("Go?", default), &[])).expect_code(0);
        assert_eq!(confirmed.stdout.as_bytes(), answer.to_le_bytes());
    }
}

#[test]
fn in_the_background_there_is_no_terminal_to_ask_at() {
    let (project, pty) = (Project::new(), Pty::open());
    let hm = hm(&project, "hm_tty_prompt", &prompt("Name?", false), &[]);
    let mut shell = Command::new("sh");
    // With job control, a command in the background is a group of its own.
    shell.args(["-c", r#"set -m; "$@" & wait $!"#, "sh"]);
    let mut running = Running(at(&pty, &run_by(shell, &hm)));
    assert_eq!(running.ended(), Some(6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_question_at_a_time() {
    let mut pty = Pty::open();
    let terminal = std::sync::Arc::new(Terminal::at(pty.device().to_owned()));
    let ask = |question: &'static str| {
        let terminal = terminal.clone();
        tokio::spawn(async move { terminal.ask(question, true).await })
    };
    let first = ask("first?");
    pty.expect("first? ");
    let second = ask("second?");
    for _ in 0..20 {
        pty.read();
    }
    assert!(!pty.shown().contains("second?"));
    pty.type_in("1\n");
    assert_eq!(first.await.expect("no panic").expect("an answer"), "1");
    pty.expect("second? ");
    // Whoever asks gives up.
    second.abort();
    assert!(second.await.expect_err("given up").is_cancelled());
    assert!(pty.echoes());
    let none = Terminal::default().ask("?", false).await;
    assert!(matches!(none, Err(TerminalError::None)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_that_takes_nothing_ends_at_the_deadline() {
    let mut pty = Pty::open();
    let terminal = Terminal::at(pty.device().to_owned());
    // Ctrl-S: output waits until somebody lets it go on.
    pty.type_in("\x13");
    let question = "x".repeat(100_000);
    let asked = tokio::time::timeout(Duration::from_millis(300), terminal.ask(&question, true));
    let ended = tokio::time::timeout(BOUND, asked).await.expect("it does not hang");
    assert!(ended.is_err(), "{ended:?}");
    assert!(pty.echoes());
}
