//! Decides whether the sandbox has held, from what was seen. Pure: it runs nothing.

use std::time::Duration;

use super::definition::{Attack, Call};
use super::outcome::{AttackOutcome, CallEnd, Judgement};

/// Most of a text that is told.
const MAX_TEXT: usize = 200;

/// Judges what has become of an attack.
#[must_use]
pub(crate) fn judge(attack: &Attack, outcome: &AttackOutcome) -> Judgement {
    let mut problems = Vec::new();
    if outcome.time > attack.time {
        problems.push(format!("it took {:?}, more than {:?}", outcome.time, attack.time));
    }
    let got = match &outcome.seen {
        Err(trouble) => {
            problems.push(trouble.clone());
            "no answer".to_owned()
        }
        Ok(seen) => {
            problems.extend(of_calls(&attack.calls, &seen.ends));
            if seen.memory > attack.memory {
                problems
                    .push(format!("it took {} bytes of memory, more than {}", seen.memory, attack.memory));
            }
            if let Some(neighbour) = &seen.neighbour {
                problems.push(format!("the neighbour: {neighbour}"));
            }
            if let Some(log) = &seen.log {
                problems.push(format!("the log: {log}"));
            }
            if seen.connections > 0 {
                problems.push(format!("{} connections to a forbidden listener", seen.connections));
            }
            kinds(seen.ends.iter().map(|end| end.kind.as_str()))
        }
    };
    Judgement {
        attack: attack.name.clone(),
        class: attack.class,
        expected: kinds(attack.calls.iter().map(|call| call.expected.kind)),
        got,
        ms: milliseconds(outcome.time),
        memory_bytes: outcome.seen.as_ref().map_or(0, |seen| seen.memory),
        held: problems.is_empty(),
        problems,
    }
}

/// Differences between the calls that were expected and those that came to an end.
fn of_calls(calls: &[Call], ends: &[CallEnd]) -> Vec<String> {
    let mut problems = Vec::new();
    if calls.len() != ends.len() {
        problems.push(format!("{} of {} calls came to an end", ends.len(), calls.len()));
    }
    for (number, (call, end)) in calls.iter().zip(ends).enumerate() {
        let expected = call.expected;
        if end.kind != expected.kind || !end.text.contains(expected.says) {
            problems.push(format!(
                "call {} of `{}`: {} {:?} expected, but: {} {:?}",
                number + 1,
                call.export,
                expected.kind,
                expected.says,
                end.kind,
                end.text.chars().take(MAX_TEXT).collect::<String>()
            ));
        }
    }
    problems
}

/// The kinds in the order in which they come, each once.
fn kinds<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let mut kinds: Vec<&str> = Vec::new();
    for kind in all {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds.join(", ")
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::definition::Expected;
    use super::super::{Observation, attacks};
    use super::*;

    fn attack() -> Attack {
        let mut attack = attacks().into_iter().next().expect("an attack");
        let call = |kind, says| Call { export: "run", input: Vec::new(), expected: Expected { kind, says } };
        attack.calls = vec![call("ok", ""), call("trap", "unreachable")];
        attack.time = Duration::from_secs(1);
        attack.memory = 1000;
        attack
    }

    fn held() -> Observation {
        let end = |kind: &str, text: &str| CallEnd { kind: kind.into(), text: text.into() };
        Observation {
            ends: vec![end("ok", "output"), end("trap", "trap: unreachable")],
            neighbour: None,
            log: None,
            connections: 0,
            memory: 1000,
        }
    }

    fn problems(change: impl FnOnce(&mut AttackOutcome)) -> Vec<String> {
        let mut outcome = AttackOutcome { seen: Ok(held()), time: Duration::from_secs(1) };
        change(&mut outcome);
        let verdict = judge(&attack(), &outcome);
        assert_eq!(verdict.held, verdict.problems.is_empty());
        verdict.problems
    }

    /// Changes what was seen.
    fn seen(change: impl FnOnce(&mut Observation)) -> Vec<String> {
        problems(|outcome| {
            if let Ok(seen) = &mut outcome.seen {
                change(seen);
            }
        })
    }

    #[test]
    fn what_is_as_expected_holds() {
        assert_eq!(problems(|_| {}), [""; 0]);
    }

    #[test]
    fn each_broken_expectation_is_noticed() {
        for (problems, said) in [
            (problems(|o| o.time += Duration::from_millis(1)), "it took 1.001s, more than 1s"),
            (problems(|o| o.seen = Err("killed by signal 11".into())), "killed by signal 11"),
            (seen(|s| s.memory += 1), "it took 1001 bytes of memory, more than 1000"),
            (seen(|s| s.neighbour = Some("wrong sum".into())), "the neighbour: wrong sum"),
            (seen(|s| s.log = Some("a line with \\r".into())), "the log: a line with \\r"),
            (seen(|s| s.connections = 1), "1 connections to a forbidden listener"),
            (seen(|s| s.ends.truncate(1)), "1 of 2 calls came to an end"),
            (
                seen(|s| s.ends[0].kind = "limit".into()),
                r#"call 1 of `run`: ok "" expected, but: limit "output""#,
            ),
            (
                seen(|s| s.ends[1].text = "trap: out of bounds".into()),
                r#"call 2 of `run`: trap "unreachable" expected, but: trap "trap: out of bounds""#,
            ),
        ] {
            assert_eq!(problems, [said]);
        }
    }

    #[test]
    fn a_load_error_in_place_of_calls_is_no_success() {
        let refused = CallEnd { kind: "load".into(), text: "too large".into() };
        let problems = seen(|s| s.ends = vec![refused]);
        assert_eq!(problems.len(), 2, "{problems:?}");
    }
}
