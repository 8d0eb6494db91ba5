//! Plays scripts of host calls in a guest, and compares every result with the model.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use hm_abi::{
    CallError, CallLimits, Engine, HostFunction, HostFunctions, InstanceLimits, InstanceOptions, LogLevel,
    LogSink, Module, ModuleLimits, USER_MODULE,
};

use super::model::{self, Line, Model, Outcome, Stop};
use super::runtime::RUNTIME;
use super::script::{self, Op, Source};

/// The guest, compiled once.
static PLAYER: LazyLock<Module<()>> = LazyLock::new(|| {
    let wasm = wat::parse_str(script::guest()).expect("the guest that plays scripts");
    let engine = Engine::new().expect("an engine");
    Module::load(&engine, &wasm, &host_functions(), &ModuleLimits::standard()).expect("it loads")
});

/// Never used up, but by a guest that hangs.
const CALL: CallLimits = CallLimits { fuel: 100_000_000, deadline: Duration::from_secs(60) };

/// Any bytes as a script: what it comes to is what the model says.
pub fn host_calls(data: &[u8]) {
    let mut source = Source(data);
    let input = source.input();
    let ops = script::read(&mut source, |_| true);

    let played = play(&ops, &input);
    // A guest that was ended cannot tell its results. Up to the end they are those of a script that ends before.
    let results = played.results.clone().unwrap_or_else(|| {
        let lengths: Vec<usize> = (1..=ops.len()).collect();
        let reached = lengths.partition_point(|length| play(&ops[..*length], &input).results.is_some());
        play(&ops[..reached], &input).results.expect("results of a script that comes to its end")
    });
    let mut model = Model::new(input);
    let outcomes = follow(&mut model, &ops, &results);
    assert_eq!(played.outcomes, outcomes, "{ops:#?}\n{results:?}");
    assert_log(&played.log, &model.log);
}

/// Outcomes in the model of the operations that were reached: those with a result, and the one that ended the guest.
fn follow(model: &mut Model, ops: &[Op], results: &[u64]) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut running = false;
    for (index, op) in ops.iter().enumerate() {
        let answer = results.get(index).copied();
        if !running {
            // The first operation of each call asks where the input is.
            model.begin(answer);
            running = true;
        }
        match model.step(op, op.a.value(results), op.b.value(results), answer) {
            Ok(result) => {
                assert_eq!(Some(result), answer, "operation {index}: {op:?}\n{ops:#?}\n{results:?}");
            }
            Err(stop) => {
                outcomes.push(model.end(stop));
                running = false;
                if !matches!(stop, Stop::Return(_)) {
                    assert_eq!(results.len(), index, "{stop:?} is right for {op:?}\n{ops:#?}");
                    return outcomes;
                }
            }
        }
    }
    if running {
        outcomes.push(model.end(Stop::Return(0)));
    }
    outcomes
}

/// Record of a script that an instance has played.
struct Played {
    outcomes: Vec<Outcome>,
    /// One for each operation; nothing if the guest was ended.
    results: Option<Vec<u64>>,
    log: Vec<(LogLevel, String)>,
}

fn play(ops: &[Op], input: &[u8]) -> Played {
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&log);
    let sink = LogSink::new(LogLevel::Info, move |level, line| {
        lines.lock().expect("the log").push((level, line.to_owned()));
    });
    let limits = InstanceLimits {
        memory_pages: model::MEMORY_PAGES.try_into().expect("a few pages"),
        memory_bytes: model::MEMORY_BYTES,
        blocks: model::BLOCKS,
        var_bytes: model::VAR_BYTES,
        vars: model::VARS,
        log_lines: model::LOG_LINES,
        log_bytes: model::LOG_BYTES,
        ..InstanceLimits::standard()
    };
    let config = model::CONFIG.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let options = InstanceOptions { limits, config, log: sink, ..InstanceOptions::standard() };
    let mut instance = PLAYER.instance((), options);
    let mut call = |export: &str, input: &[u8]| RUNTIME.block_on(instance.call(export, input, &CALL));

    call("load", &script::encode(ops)).expect("a script is loaded");
    let mut outcomes = Vec::new();
    for _ in 0..script::calls(ops) {
        outcomes.push(outcome(call("run", input)));
        if !matches!(outcomes.last(), Some(Outcome::Output(_) | Outcome::Guest { .. })) {
            break;
        }
    }
    let results = script::decode(&call("results", b"").expect("results are told"));
    // In a fresh instance, nothing has been played.
    let results = (results.len() == ops.len()).then_some(results);
    let log = log.lock().expect("the log").clone();
    Played { outcomes, results, log }
}

pub(super) fn host_functions() -> HostFunctions<()> {
    let mut host = HostFunctions::new();
    host.define(
        HostFunction {
            module: USER_MODULE,
            name: "reverse",
            params: 1,
            returns: true,
            fuel: 1,
            fuel_per_byte: 1,
        },
        |(), arguments| Box::pin(async move { Ok(arguments.concat().into_iter().rev().collect()) }),
    );
    host
}

fn outcome(result: Result<Vec<u8>, CallError>) -> Outcome {
    match result {
        Ok(output) => Outcome::Output(output),
        Err(CallError::Guest { code, message }) => Outcome::Guest { code, message },
        Err(CallError::Exit { code, message }) => Outcome::Exit { code, message },
        Err(CallError::Trap { message, .. }) => Outcome::Trap { message },
        Err(CallError::Limit { message, .. }) => Outcome::Limit { message },
        Err(other) => panic!("a script cannot come to this: {other:?}"),
    }
}

fn assert_log(found: &[(LogLevel, String)], expected: &[Line]) {
    assert_eq!(found.len(), expected.len(), "{found:?}\n{expected:?}");
    for ((level, line), (expected_level, text)) in found.iter().zip(expected) {
        let levels = [LogLevel::Trace, LogLevel::Debug, LogLevel::Info, LogLevel::Warn, LogLevel::Error];
        assert_eq!(levels.iter().position(|one| one == level), usize::try_from(*expected_level).ok());
        assert!(line.chars().all(|letter| letter == '\t' || !letter.is_control()), "{line:?}");
        match text {
            None => assert!(line.contains("dropped"), "{line}"),
            Some(text) if text.iter().all(|byte| (b' '..=b'~').contains(byte)) => {
                assert_eq!(line.as_bytes(), text);
            }
            Some(_) => {}
        }
    }
}
