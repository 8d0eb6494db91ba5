//! Whole logs, compared with what they should be.

use super::*;
use hm_plugin_sdk::chrono::DateTime;

/// The log of a build of that many steps, which are `a`, `b` … and queued at the start.
fn log(style: Style, step_count: usize, events: impl IntoIterator<Item = BuildEvent>) -> String {
    let plan = PlanSummary { step_count, chain_count: step_count, default_runner: "local".into() };
    let start = BuildEvent::BuildStart { run_id: id('r'), plan, started_at: DateTime::UNIX_EPOCH };
    let queued = ('a'..).take(step_count).enumerate().map(|(chain_idx, key)| BuildEvent::StepQueued {
        step_id: id(key),
        key: key.into(),
        chain_idx,
    });
    let mut log = Log::new(style);
    [start].into_iter().chain(queued).chain(events).map(|event| log.on_event(event)).collect()
}

fn id(key: char) -> Uuid {
    Uuid::from_u128(u128::from(u32::from(key)))
}

fn start(key: char) -> BuildEvent {
    BuildEvent::StepStart { step_id: id(key), runner: "docker".into(), image: Some("alpine".into()) }
}

fn line(key: char, line: &str) -> BuildEvent {
    let (stream, ts) = (StdStream::Stdout, DateTime::UNIX_EPOCH);
    BuildEvent::StepLog { step_id: id(key), stream, line: line.into(), ts }
}

fn end(key: char, exit_code: i32, duration_ms: u64) -> BuildEvent {
    let snapshot = (exit_code == 0).then(|| SnapshotRef("layer".into()));
    BuildEvent::StepEnd { step_id: id(key), exit_code, duration_ms, snapshot, artifacts: Vec::new() }
}

/// The end of a step that produced this many files, named after their numbers.
fn end_with(key: char, files: u64) -> BuildEvent {
    let artifact = |number| ArtifactRef {
        key: format!("dist/{number}"),
        mime: "text/plain".into(),
        size_bytes: 1000 * number,
    };
    let artifacts = (1..=files).map(artifact).collect();
    BuildEvent::StepEnd { step_id: id(key), exit_code: 0, duration_ms: 0, snapshot: None, artifacts }
}

fn hit(key: char) -> BuildEvent {
    BuildEvent::StepCacheHit { step_id: id(key), key: key.into(), tag: "layer".into() }
}

fn chain_failed(key: char, exit_code: i32, message: &str) -> BuildEvent {
    BuildEvent::ChainFailed {
        chain_idx: 0,
        failed_step_id: id(key),
        failed_step_key: key.into(),
        exit_code,
        message: message.into(),
        ts: DateTime::UNIX_EPOCH,
    }
}

fn build_end(exit_code: i32) -> BuildEvent {
    BuildEvent::BuildEnd { exit_code, duration_ms: 61_000 }
}

#[test]
fn one_step_needs_no_prefix() {
    let events = [start('a'), line('a', "hello"), line('a', ""), end('a', 0, 1_234), build_end(0)];
    assert_eq!(
        log(Style::default(), 1, events),
        "Building 1 step\n▶ a\nhello\n\n✓ a (1.2s)\n\nBuild passed in 1m 01s\n"
    );
}

#[test]
fn several_steps_are_told_apart_and_failures_come_again_at_the_end() {
    let events = [
        hit('a'),
        line('a', "as before"),
        end('a', 0, 0),
        start('b'),
        start('c'),
        line('b', "from b"),
        line('c', "from c"),
        end('b', 2, 400),
        chain_failed('b', 2, "the command failed"),
        end('c', 0, 90_500),
        build_end(1),
    ];
    let expected = "\
Building 4 steps in 4 chains
▶ a (cached)
[a] as before
✓ a (cached)
▶ b
▶ c
[b] from b
[c] from c
✗ b failed with exit code 2 (400ms)
✓ c (1m 30s)

✗ b: the command failed
  │ from b
Build failed in 1m 01s: 1 of 4 steps failed, 1 did not run (d), 1 cached
";
    assert_eq!(log(Style::default(), 4, events), expected);
}

#[test]
fn verbose_logs_say_where_things_run() {
    let style = Style { verbose: true, color: false };
    let expected = "\
Building 2 steps in 2 chains
  run 00000000-0000-0000-0000-000000000072, default runner local
· a queued in chain 0
· b queued in chain 1
▶ a (runner docker, image alpine)
✓ a (0ms) (saved as layer)
▶ b (cached) (from layer)
✓ b (cached)

Build passed in 1m 01s: 2 steps, 1 cached
";
    let events = [start('a'), end('a', 0, 0), hit('b'), end('b', 0, 0), build_end(0)];
    assert_eq!(log(style, 2, events), expected);
}

#[test]
fn the_summary_says_what_steps_produced() {
    let events = [start('a'), end_with('a', 2), hit('b'), end_with('b', 1), end_with('c', 6), build_end(0)];
    let text = log(Style::default(), 4, events);
    let (_, summary) = text.split_once("\n\n").unwrap();
    let expected = "\
a produced dist/1 (1.0 kB), dist/2 (2.0 kB)
b produced dist/1 (1.0 kB)
c produced dist/1 (1.0 kB), dist/2 (2.0 kB), dist/3 (3.0 kB), dist/4 (4.0 kB) and 2 more (21.0 kB in all)
Build passed in 1m 01s: 1 of 4 steps did not run (d), 1 cached
";
    assert_eq!(summary, expected);
}

#[test]
fn a_summary_of_many_steps_is_short() {
    let events = ('a'..='z').map(|key| end_with(key, 1)).chain([build_end(0)]);
    let text = log(Style::default(), 26, events);
    let (_, summary) = text.split_once("\n\n").unwrap();
    assert_eq!(summary.matches(" produced dist").count(), PRODUCED_SHOWN);
    assert!(summary.contains("\n6 more steps produced something\n"), "{summary}");
}

#[test]
fn a_cached_step_that_cannot_be_had_again_has_failed() {
    let events = [hit('a'), end('a', 73, 0), chain_failed('a', 73, "cannot write x"), build_end(1)];
    let expected = "\
Building 1 step
▶ a (cached)
✗ a failed with exit code 73 (0ms)

✗ a: cannot write x
Build failed in 1m 01s: 1 of 1 step failed
";
    assert_eq!(log(Style::default(), 1, events), expected);
}

#[test]
fn colors_end_where_they_began() {
    let style = Style { color: true, verbose: false };
    let text = log(style, 1, [start('a'), end('a', 1, 0), build_end(1)]);
    assert!(text.contains("\u{1b}[31m✗ a failed with exit code 1\u{1b}[0m (0ms)\n"), "{text:?}");
    for line in text.lines() {
        assert_eq!(line.matches("\u{1b}[0m").count() * 2, line.matches('\u{1b}').count(), "{line:?}");
    }
}

#[test]
fn only_the_last_lines_of_a_step_are_kept() {
    let long = "x".repeat(10 * TAIL_WIDTH);
    let lines = (0..1000).map(|number| line('a', &format!("{number}"))).chain([line('a', &long)]);
    let text = log(Style::default(), 2, lines.chain([end('a', 1, 0), build_end(1)]));
    let (_, summary) = text.split_once("\n\n").unwrap();
    assert_eq!(summary.lines().filter(|line| line.contains('│')).count(), TAIL_LINES);
    assert!(summary.contains("│ 999\n") && !summary.contains("│ 990\n"), "{summary}");
    assert!(summary.contains(&"x".repeat(TAIL_WIDTH)) && !summary.contains(&"x".repeat(TAIL_WIDTH + 1)));
}

#[test]
fn a_step_that_failed_before_it_ran_is_counted_once() {
    let events = [chain_failed('a', 1, "no such runner"), build_end(1)];
    let expected = "\
Building 1 step
✗ a failed with exit code 1

✗ a: no such runner
Build failed in 1m 01s: 1 of 1 step failed
";
    assert_eq!(log(Style::default(), 1, events), expected);
}

#[test]
fn timeouts_and_cancels_are_named() {
    let events = [end('a', 124, 0), end('b', 130, 0), build_end(130)];
    let text = log(Style::default(), 3, events);
    assert!(text.contains("✗ a timed out (0ms)\n"), "{text}");
    assert!(text.contains("✗ b was cancelled (0ms)\n"), "{text}");
    assert!(text.ends_with("1m 01s: 1 of 3 steps failed, 1 cancelled, 1 did not run (c)\n"), "{text}");
    assert_eq!(text.matches("was cancelled").count(), 1, "{text}");
}

#[test]
fn a_command_may_exit_like_a_cancelled_step() {
    let events = [start('a'), end('a', 130, 0), chain_failed('a', 130, "exited with code 130"), build_end(1)];
    let text = log(Style::default(), 1, events);
    assert!(
        text.ends_with("\n✗ a: exited with code 130\nBuild failed in 1m 01s: 1 of 1 step failed\n"),
        "{text}"
    );
}

#[test]
fn progress_bars_leave_their_last_state() {
    let events = [line('a', "10%\r20%\r100%\r"), line('a', "\r"), build_end(0)];
    assert!(log(Style::default(), 1, events).contains("\n100%\n\n"));
}

#[test]
fn events_of_unknown_steps_are_shown_all_the_same() {
    let mut log = Log::new(Style::default());
    assert_eq!(log.on_event(line('z', "stray")), "[unknown step] stray\n");
    assert_eq!(log.on_event(end('z', 0, 1)), "✓ unknown step (1ms)\n");
}

#[test]
fn durations_have_two_units_at_the_most() {
    let cases = [
        (0, "0ms"),
        (999, "999ms"),
        (1_000, "1.0s"),
        (59_999, "59.9s"),
        (60_000, "1m 00s"),
        (3_599_999, "59m 59s"),
        (3_600_000, "1h 00m"),
        (90_061_000, "25h 01m"),
    ];
    for (ms, expected) in cases {
        assert_eq!(duration(ms), expected);
    }
}
