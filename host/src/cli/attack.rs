//! `hm plugin attack`: shows whether the sandbox holds on this machine.

use super::args::{ATTACK_PROCESS, ActArgs, AttackArgs};
use super::error::CliError;
use super::exit_code::to_u8;
use super::signals::interrupts;
use super::terminal_output::{print, print_data};
use crate::attack::{Attack, Judgement, act, attacks, judge, run};
use crate::orchestrator::exit;
use crate::sys::program;

/// Columns of attack, expected, got. With time, memory and judgement a line has 80.
const WIDTHS: [usize; 3] = [27, 15, 15];

/// Runs the attacks that were named, or all, and returns the exit code.
pub(super) async fn attack(args: AttackArgs) -> Result<u8, CliError> {
    let program = program();
    let chosen = choose(&args.names)?;
    let interrupts = interrupts()?;
    if !args.json {
        print(&row(["attack", "expected", "got"], "time", "memory", ""))?;
    }
    let mut failed = 0;
    for attack in &chosen {
        let outcome = tokio::select! {
            outcome = run(attack, &program, &[ATTACK_PROCESS]) => outcome,
            () = interrupts.token().cancelled() => return Err(CliError::Interrupted),
        };
        let verdict = judge(attack, &outcome);
        failed += usize::from(!verdict.held);
        if args.json {
            print_data(&as_json(&verdict)?)?;
        } else {
            print(&shown(&verdict))?;
        }
    }
    if !args.json {
        let attacks = chosen.len();
        print(&match failed {
            0 => format!("the sandbox has held: {attacks} of {attacks} attacks\n"),
            _ => format!("the sandbox has NOT held: {failed} of {attacks} attacks FAILED\n"),
        })?;
    }
    Ok(if failed == 0 { 0 } else { to_u8(exit::FAILED) })
}

/// Carries out one attack in this process, and says what was seen.
pub(super) async fn carry_out(args: ActArgs) -> Result<u8, CliError> {
    let attack = attacks().into_iter().find(|attack| attack.name == args.name);
    let attack = attack.ok_or_else(|| CliError::Usage(format!("there is no attack `{}`", args.name)))?;
    let seen = act(&attack, program()).await?;
    print_data(&as_json(&seen)?)
}

/// The attacks of these names; all, if there are none.
fn choose(names: &[String]) -> Result<Vec<Attack>, CliError> {
    let mut chosen = attacks();
    if let Some(unknown) = names.iter().find(|name| !chosen.iter().any(|attack| is_named(attack, name))) {
        let mut groups: Vec<&str> = chosen.iter().map(|attack| group(&attack.name)).collect();
        groups.dedup();
        return Err(CliError::NoSuchAttack {
            name: unknown.clone(),
            groups: groups.into_iter().map(str::to_owned).collect(),
        });
    }
    chosen.retain(|attack| names.is_empty() || names.iter().any(|name| is_named(attack, name)));
    Ok(chosen)
}

/// True if a name means this attack: as its own, or as that of its group.
fn is_named(attack: &Attack, name: &str) -> bool {
    attack.name == name || group(&attack.name) == name.trim_end_matches("/*")
}

/// Group of an attack: the part of its name before the slash.
fn group(name: &str) -> &str {
    name.split_once('/').map_or(name, |(group, _)| group)
}

fn as_json(value: &impl serde::Serialize) -> Result<Vec<u8>, CliError> {
    let mut line = serde_json::to_vec(value).map_err(|error| CliError::Write(error.into()))?;
    line.push(b'\n');
    Ok(line)
}

/// A line of the table, and below it what was wrong.
fn shown(verdict: &Judgement) -> String {
    let time = format!("{}.{}s", verdict.ms / 1000, verdict.ms % 1000 / 100);
    let memory = format!("{}M", verdict.memory_bytes >> 20);
    let held = if verdict.held { "ok" } else { "FAILED" };
    let mut text = row([&verdict.attack, &verdict.expected, &verdict.got], &time, &memory, held);
    for problem in &verdict.problems {
        // One line each: they contain the guest's words.
        text.push_str(&format!("    {}\n", problem.replace(char::is_control, " ")));
    }
    text
}

fn row(cells: [&str; 3], time: &str, memory: &str, held: &str) -> String {
    let mut line = String::new();
    for (cell, width) in cells.into_iter().zip(WIDTHS) {
        let cell: String = match cell.char_indices().nth(width) {
            None => cell.to_owned(),
            Some(_) => cell.chars().take(width - 1).chain(['…']).collect(),
        };
        line.push_str(&format!("{cell:<width$} "));
    }
    line.push_str(&format!("{time:>6} {memory:>6} {held}"));
    format!("{}\n", line.trim_end())
}
