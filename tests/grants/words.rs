//! Cases of the functions that carry words.

use chrono::Utc;
use hm_host::host_functions::Role;
use hm_plugin_protocol::{BuildEvent, Level, StdStream};

use super::case::{Bench, Case, Happened, json};

pub(super) fn case(name: &str, bench: &Bench) -> Case {
    match name {
        "hm_log" => Case {
            role: Role::Hook,
            args: vec![json(Level::Info), b"a word".to_vec()],
            done: Box::new(|happened| {
                happened.said.iter().any(|line| line.text == "a word" && &*line.plugin == "p")
            }),
        },
        "hm_emit_step_log" => output(bench, vec![json(StdStream::Stdout), b"a line\n".to_vec()]),
        "hm_emit_event" => {
            let (step_id, line) = (bench.step_id, "a line".to_owned());
            let event = BuildEvent::StepLog { step_id, stream: StdStream::Stdout, line, ts: Utc::now() };
            output(bench, vec![json(event)])
        }
        "hm_should_cancel" => {
            bench.cancellation.cancel();
            Case {
                role: Role::Hook,
                args: Vec::new(),
                done: Box::new(|happened| happened.answer == 1_u32.to_le_bytes()),
            }
        }
        "hm_write_stdout" => written(bench, "stdout"),
        "hm_write_stderr" => written(bench, "stderr"),
        _ => panic!("no case for {name}"),
    }
}

/// Something that makes `a line` of the step's output.
fn output(bench: &Bench, args: Vec<Vec<u8>>) -> Case {
    let (step, mut events) = bench.step();
    let own = bench.step_id;
    let done = move |_: &Happened<'_>| matches!(events.try_recv(), Ok(BuildEvent::StepLog { step_id, line, .. }) if step_id == own && line == "a line");
    Case { role: Role::Executor(Box::new(step)), args, done: Box::new(done) }
}

fn written(bench: &Bench, file: &str) -> Case {
    let path = bench.directory.path().join(file);
    Case {
        role: Role::Subcommand(bench.output()),
        args: vec![b"text".to_vec()],
        done: Box::new(move |_| std::fs::read(&path).expect("a file") == b"text"),
    }
}
