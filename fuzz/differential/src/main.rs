//! Runs well-behaved guests in our host and in the reference implementation, and tells where they differ.
//! `hm-differential GUEST [--scripts N] [--seed N]`, where the guest is `rust.wasm` of those that `cargo xtask
//! guests` builds.

mod author;
mod guest;
mod host;
#[path = "../../src/model.rs"]
mod model;
mod ours;
#[path = "../../src/script.rs"]
mod script;
mod theirs;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use hm_abi::CallError;

use crate::author::Script;
use crate::model::Stop;

/// Scripts that are played unless told otherwise.
const SCRIPTS: u64 = 5000;

/// Exit code by which 1.41 tells of a trap.
const TRAP_CODE: i32 = 134;

fn main() -> ExitCode {
    match run() {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String> {
    let mut args = std::env::args().skip(1);
    let guest = args.next().context("the guest is missing")?;
    let (mut scripts, mut seed) = (SCRIPTS, 1);
    while let Some(arg) = args.next() {
        let number = match arg.as_str() {
            "--scripts" => &mut scripts,
            "--seed" => &mut seed,
            _ => bail!("there is no argument `{arg}`"),
        };
        *number = args.next().with_context(|| format!("`{arg}` needs a number"))?.parse()?;
    }
    let wasm = std::fs::read(&guest).with_context(|| guest.clone())?;
    println!("no difference in {} calls of {guest}", guest::compare(&wasm).context(guest.clone())?);

    let wasm = wat::parse_str(script::guest())?;
    let (ours, theirs) = (ours::Guest::new(&wasm)?, theirs::Guest::new(&wasm)?);
    let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut operations, mut calls) = (0, 0);
    for number in 0..scripts {
        let bytes: Vec<u8> =
            (0..200 + numbers.next() % 2000).map(|_| numbers.next().to_le_bytes()[3]).collect();
        let script = author::script(&bytes);
        operations += script.ops.len();
        calls += script.stops.len();
        if let Err(difference) = compare(&script, &ours, &theirs) {
            let (input, listing) = (&script.input, listing(&script));
            bail!("script {number} of seed {seed}: {difference:#}\n\nInput {input:?}\n{listing}");
        }
    }
    Ok(format!("no difference in {scripts} scripts of seed {seed}: {calls} calls, {operations} operations"))
}

/// Plays a script in both, and compares every call and every result.
fn compare(script: &Script, ours: &ours::Guest, theirs: &theirs::Guest) -> Result<()> {
    let (our_answers, our_results) = ours.play(script)?;
    let (their_answers, their_results) = theirs.play(script)?;
    for (number, ((our, their), stop)) in
        our_answers.iter().zip(&their_answers).zip(&script.stops).enumerate()
    {
        compare_answer(our, their, Some(*stop)).with_context(|| format!("call {number}, {stop:?}"))?;
    }
    let Some(our_results) = our_results else { return Ok(()) };
    if our_results.len() != their_results.len() {
        bail!("{} results in ours, {} in 1.41", our_results.len(), their_results.len());
    }
    for (number, (our, their)) in our_results.into_iter().zip(their_results).enumerate() {
        // Where a block is, is the host's choice; whether there is one, is not.
        let same = if script.ops[number].makes_block() { (our == 0) == (their == 0) } else { our == their };
        if !same {
            bail!("operation {number} is {our} in ours, {their} in 1.41");
        }
    }
    Ok(())
}

/// Compares what one call came to. `stop` is how the guest ended it, where that is known.
///
/// The two tell some outcomes in different words, on purpose. All of these differences are here:
/// - A code that is not 0 is a failure in ours. In 1.41 it is that only for who does not ask for the code.
/// - An error next to a code 0 gets code -1 in ours; 1.41 gives an error with code 0.
/// - An exit or a trap next to an error is told as such in ours, beside the error. 1.41 tells the error, with code -1.
fn compare_answer(our: &ours::Answer, their: &theirs::Answer, stop: Option<Stop>) -> Result<()> {
    let same = match (our, &their.output, &their.code) {
        (Ok(our), Ok(output), Ok(same_output)) => our == output && our == same_output,
        (Err(CallError::Guest { code, message: None }), Err(text), Ok(_)) => {
            *text == format!("Returned non-zero exit code: {code}")
        }
        (Err(CallError::Guest { code, message: Some(message) }), Err(text), Err(their_code)) => {
            let exited = matches!(stop, Some(Stop::Exit(_)));
            let expected = match (their_code, stop) {
                (-1, _) if exited => -1,
                (0, Some(Stop::Return(0)) | None) => -1,
                (code, _) => *code,
            };
            message == text && *code == expected
        }
        (Err(CallError::Exit { code, message: None }), Err(text), Err(their_code)) => {
            code == their_code && text.ends_with(&format!("exit status {code}"))
        }
        (Err(CallError::Trap { reason, message: None, .. }), Err(text), Err(their_code)) => {
            *their_code == TRAP_CODE && text.contains(reason.as_str())
        }
        (
            Err(
                CallError::Exit { message: Some(message), .. }
                | CallError::Trap { message: Some(message), .. },
            ),
            Err(text),
            Err(-1),
        ) => message == text,
        _ => false,
    };
    if !same {
        bail!("ours: {our:?}\n1.41: {:?}, with codes {:?}", their.output, their.code);
    }
    Ok(())
}

fn listing(script: &Script) -> String {
    let operand = |operand: script::Operand| match operand {
        script::Operand { result: 0, plus } => format!("{plus}"),
        script::Operand { result, plus: 0 } => format!("#{}", result - 1),
        script::Operand { result, plus } => format!("#{} + {plus}", result - 1),
    };
    let line = |(number, op): (usize, &script::Op)| {
        format!("#{number} {} {} {}\n", op.name(), operand(op.a), operand(op.b))
    };
    script.ops.iter().enumerate().map(line).collect()
}

/// Numbers that look random and are the same for the same seed (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
