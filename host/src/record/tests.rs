//! Records as they are written and read again: whole, cut short, damaged, of other versions, and more than are kept.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use hm_plugin_protocol::{BuildEvent, PlanSummary, SnapshotRef, StdStream};
use uuid::Uuid;

use super::recorder::forget_old;
use super::run::project_folder;
use super::*;
use crate::cache::{MissReason, StepDecision, StepVerdict, Uncacheable};

fn about(keys: &[&str]) -> RunMeta {
    let step = |key: &&str| StepMeta {
        key: (*key).into(),
        cmd: format!("make {key}"),
        runner: "local".into(),
        ..StepMeta::default()
    };
    RunMeta {
        run_id: Uuid::new_v4(),
        project: "/no/such/project".into(),
        pipeline: "ci".into(),
        started_at: Utc::now(),
        version: "1.2.3".into(),
        steps: keys.iter().map(step).collect(),
    }
}

fn newest(runs: &Path) -> Run {
    Runs::of(runs, Path::new("/no/such/project")).remove(0)
}

fn build_end(exit_code: i32) -> BuildEvent {
    BuildEvent::BuildEnd { exit_code, duration_ms: 5 }
}

fn queued(step_id: Uuid, key: &str) -> BuildEvent {
    BuildEvent::StepQueued { step_id, key: key.into(), chain_idx: 0 }
}

fn started(step_id: Uuid) -> BuildEvent {
    BuildEvent::StepStart { step_id, runner: "local".into(), image: None }
}

fn ended(step_id: Uuid, exit_code: i32) -> BuildEvent {
    BuildEvent::StepEnd { step_id, exit_code, duration_ms: 1, snapshot: None, artifacts: Vec::new() }
}

fn decision(step: &str, verdict: StepVerdict) -> StepDecision {
    StepDecision { step: step.into(), key: None, inputs: None, verdict }
}

/// All files and directories below a directory.
fn everything(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        next += 1;
        if path.is_dir() {
            found.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found
}

#[test]
fn what_is_recorded_is_read_and_nobody_else_can() {
    let scratch = tempfile::tempdir().unwrap();
    let runs = scratch.path().join("state/runs");
    let about = about(&["a", "b \"quoted\" \u{20ac}"]);
    let recorder = Recorder::create(&runs, about.clone()).unwrap();
    let id = Uuid::new_v4();
    let start = BuildEvent::BuildStart {
        run_id: about.run_id,
        plan: PlanSummary { step_count: 2, chain_count: 2, default_runner: "local".into() },
        started_at: about.started_at,
    };
    let line = BuildEvent::StepLog {
        step_id: id,
        stream: StdStream::Stdout,
        line: "elsewhere".into(),
        ts: about.started_at,
    };
    let events = [start, queued(id, "a"), line, build_end(0)];
    events.iter().for_each(|event| recorder.event(event));
    let verdicts = [
        StepVerdict::Hit { tag: SnapshotRef("hm-cache:1".into()), made_at: about.started_at },
        StepVerdict::Miss(MissReason::Expired { since: about.started_at }),
        StepVerdict::Uncacheable(Uncacheable::ParentNotKept { parent: "x".into() }),
    ];
    let keys = ["a", "b \"quoted\" \u{20ac}", "c"];
    for (key, verdict) in keys.iter().zip(&verdicts) {
        recorder.decision(&decision(key, verdict.clone()));
    }
    let mut log = recorder.log(1, "b/\"quoted\" \u{20ac}").unwrap();
    log.line(StdStream::Stdout, about.started_at, "text");
    assert_eq!(
        log.finish().unwrap().file_name().and_then(|name| name.to_str()),
        Some("00001-b__quoted___.log")
    );
    assert_eq!(recorder.trouble(), None);

    let run = newest(&runs);
    assert_eq!((run.state(), run.folder()), (RunStatus::Running, recorder.folder()));
    drop(recorder);
    assert_eq!(run.state(), RunStatus::Ended { exit_code: 0, duration_ms: 5 });
    assert_eq!(run.header.run_id, about.run_id);
    assert_eq!((run.header.pipeline.as_str(), run.header.number, run.header.step_count), ("ci", 1, 2));
    assert_eq!(run.steps(), about.steps);
    let without_lines: Vec<BuildEvent> =
        events.into_iter().filter(|event| !matches!(event, BuildEvent::StepLog { .. })).collect();
    assert_eq!(run.events(), without_lines);
    for (key, verdict) in keys.iter().zip(&verdicts) {
        let found = run.decision(key).unwrap();
        assert_eq!(found.decision, decision(key, verdict.clone()));
        assert_eq!(run.decisions()[*key], found);
    }
    assert_eq!(run.decision("x"), None, "which is only the parent of one");
    let all = everything(&runs);
    assert_eq!(all.len(), 10, "{all:?}");
    for path in all {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
}

#[test]
fn what_became_of_each_step_is_told() {
    let scratch = tempfile::tempdir().unwrap();
    let keys = ["ok", "hit", "bad", "cancelled", "killed", "later", "before", "deep \\ \"key\""];
    let mut about = about(&keys);
    about.steps[6].succeeded_before = true;
    let recorder = Recorder::create(scratch.path(), about).unwrap();
    let ids: BTreeMap<&str, Uuid> = keys.iter().map(|key| (*key, Uuid::new_v4())).collect();
    for key in keys.iter().filter(|key| **key != "before") {
        recorder.event(&queued(ids[key], key));
    }
    for key in ["ok", "bad", "cancelled", "killed", "deep \\ \"key\""] {
        recorder.event(&started(ids[key]));
    }
    let hit = BuildEvent::StepCacheHit { step_id: ids["hit"], key: "hit".into(), tag: "t".into() };
    let failed = BuildEvent::ChainFailed {
        chain_idx: 0,
        failed_step_id: ids["bad"],
        failed_step_key: "bad".into(),
        exit_code: 3,
        message: "exited with code 3".into(),
        ts: Utc::now(),
    };
    let ends = [("hit", 0), ("ok", 0), ("bad", 3), ("cancelled", 130), ("deep \\ \"key\"", 0)];
    recorder.event(&hit);
    ends.iter().for_each(|(key, code)| recorder.event(&ended(ids[key], *code)));
    recorder.event(&failed);
    drop(recorder);
    let run = newest(scratch.path());
    assert_eq!(run.state(), RunStatus::Killed);
    assert_eq!(run.failures(), [StepFailure { step: "bad".into(), message: "exited with code 3".into() }]);
    let expected = [
        ("ok", StepStatus::Succeeded),
        ("hit", StepStatus::Cached),
        ("bad", StepStatus::Failed { exit_code: 3 }),
        ("cancelled", StepStatus::Stopped),
        ("killed", StepStatus::Stopped),
        ("later", StepStatus::NotRun),
        ("before", StepStatus::SucceededBefore),
        ("deep \\ \"key\"", StepStatus::Succeeded),
    ];
    assert_eq!(run.outcomes(), expected.map(|(key, outcome)| (key.to_owned(), outcome)).into());
    for (key, outcome) in expected {
        assert_eq!(run.outcome(key), Some(outcome), "{key}");
        let done = ["ok", "hit", "before", "deep \\ \"key\""].contains(&key);
        assert_eq!(outcome.is_success(), done, "{key}");
    }
    assert_eq!(run.outcome("nobody"), None);
}

#[test]
fn the_clock_does_not_decide_which_build_was_the_last() {
    let scratch = tempfile::tempdir().unwrap();
    let mut ids = Vec::new();
    for days in [0, -400, 400, -5] {
        let about = RunMeta { started_at: Utc::now() + chrono::TimeDelta::days(days), ..about(&["a"]) };
        ids.insert(0, about.run_id);
        drop(Recorder::create(scratch.path(), about).unwrap());
    }
    let runs = Runs::of(scratch.path(), Path::new("/no/such/project"));
    assert_eq!(runs.iter().map(|run| run.header.run_id).collect::<Vec<_>>(), ids);
    assert!(Runs::of(scratch.path(), Path::new("/other/project")).is_empty());
}

#[test]
fn damaged_records_and_those_of_later_versions_keep_nobody_from_reading_others() {
    let scratch = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(scratch.path(), about(&["a", "b"])).unwrap();
    let (a, b) = (Uuid::new_v4(), Uuid::new_v4());
    recorder.event(&queued(a, "a"));
    recorder.event(&queued(b, "b"));
    recorder.event(&ended(a, 0));
    recorder.decision(&decision("a", StepVerdict::Uncacheable(Uncacheable::NoPolicy)));
    recorder.decision(&decision("a", StepVerdict::Uncacheable(Uncacheable::Policy)));
    let folder = recorder.folder().to_owned();
    drop(recorder);
    let read = |name| fs::read(folder.join(name)).unwrap();
    let whole: Vec<(&str, Vec<u8>)> =
        [name::RUN, name::PLAN, name::EVENTS, name::DECISIONS].map(|name| (name, read(name))).into();
    let look_at_everything = || {
        for run in Runs::of(scratch.path(), Path::new("/no/such/project")) {
            // Whatever they say, they must not panic.
            let _ = (run.state(), run.steps(), run.outcomes(), run.outcome("a"));
            let _ = (run.failures(), run.decision("a"), run.decisions());
        }
    };
    for (name, bytes) in &whole {
        let path = folder.join(name);
        for length in 0..bytes.len() {
            fs::write(&path, &bytes[..length]).unwrap();
            look_at_everything();
        }
        let mut odd = bytes.clone();
        for at in (0..bytes.len()).step_by(7) {
            odd[at] = 0xff;
            fs::write(&path, &odd).unwrap();
            look_at_everything();
        }
        for junk in
            [&b"\0\0\0\0"[..], b"[]", b"{}", b"null\n\n{}\n", b"{\"step\":\"a\"}\n{\"step\":\"a\"", b"\xff"]
        {
            fs::write(&path, junk).unwrap();
            look_at_everything();
        }
        fs::remove_file(&path).unwrap();
        look_at_everything();
        fs::create_dir(&path).unwrap();
        look_at_everything();
        fs::remove_dir(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    }

    // What is whole in a file that was cut short is still there.
    let events = &whole[2].1;
    fs::write(folder.join(name::EVENTS), [&events[..events.len() - 9], b"\n{\"kind\":\"new\"}\n"].concat())
        .unwrap();
    let decisions = &whole[3].1;
    fs::write(folder.join(name::DECISIONS), &decisions[..decisions.len() - 9]).unwrap();
    let run = newest(scratch.path());
    assert_eq!(run.outcome("b"), Some(StepStatus::NotRun));
    assert_eq!(run.outcome("a"), Some(StepStatus::NotRun), "its end is the line that was cut");
    assert_eq!(run.decision("a").unwrap().decision.verdict, StepVerdict::Uncacheable(Uncacheable::NoPolicy));

    let later = String::from_utf8(whole[0].1.clone()).unwrap().replace("\"format\":1", "\"format\":2");
    fs::write(folder.join(name::RUN), later).unwrap();
    assert!(Runs::of(scratch.path(), Path::new("/no/such/project")).is_empty());
    drop(Recorder::create(scratch.path(), about(&["a"])).unwrap());
    assert_eq!(newest(scratch.path()).header.number, 2, "it is counted all the same");
}

#[test]
fn only_the_newest_are_kept_and_never_is_a_running_one_removed() {
    let scratch = tempfile::tempdir().unwrap();
    let running = Recorder::create(scratch.path(), about(&["a"])).unwrap();
    let others: Vec<PathBuf> = (0..5)
        .map(|_| Recorder::create(scratch.path(), about(&["a"])).unwrap().folder().to_owned())
        .collect();
    let project = project_folder(scratch.path(), Path::new("/no/such/project"));
    let (new, old) = (project.join("new"), project.join("old"));
    fs::create_dir_all(new.join("logs")).unwrap();
    fs::create_dir_all(old.join("logs")).unwrap();
    fs::write(project.join("file"), "").unwrap();
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(7200);
    fs::File::open(&old).unwrap().set_modified(long_ago).unwrap();
    forget_old(&project, 2);
    assert!(running.folder().is_dir());
    let left: Vec<bool> = others.iter().map(|folder| folder.is_dir()).collect();
    assert_eq!(left, [false, false, false, true, true]);
    assert!(new.is_dir() && project.join("file").is_file(), "which may be somebody's who is not done yet");
    assert!(!old.exists(), "which was left by a killed hm");
    drop(running);
    forget_old(&project, 2);
    assert_eq!(Runs::of(scratch.path(), Path::new("/no/such/project")).len(), 2);
}

#[test]
fn logs_are_read_as_they_were_written() {
    let scratch = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(scratch.path(), about(&["a"])).unwrap();
    let at: DateTime<Utc> = "2026-11-23T02:09:29.123456789Z".parse().unwrap();
    let lines = [
        (StdStream::Stdout, "text"),
        (StdStream::Stderr, ""),
        (StdStream::Stdout, "  o e \u{1b}[31m\ttail \u{20ac} "),
        (StdStream::Stderr, "progress\r99%\r"),
    ];
    let mut log = recorder.log(0, "a").unwrap();
    for (stream, text) in lines {
        log.line(stream, at, text);
    }
    log.line(StdStream::Stdout, at, "two\nlines");
    for number in 0..100_000 {
        log.line(StdStream::Stdout, at, &number.to_string());
    }
    let path = log.finish().unwrap();
    let read: Vec<(StdStream, String)> = read_log(&path).unwrap().map(Result::unwrap).collect();
    assert_eq!(read.len(), 100_006);
    for ((stream, text), read) in lines.iter().zip(&read) {
        assert_eq!((*stream, *text), (read.0, read.1.as_str()));
    }
    assert_eq!((read[4].1.as_str(), read[5].1.as_str(), read[100_005].1.as_str()), ("two", "lines", "99999"));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("2026-11-23T02:09:29.123456Z o text\n"), "{}", &text[..60]);

    fs::write(&path, &text[..text.len() - 3]).unwrap();
    assert!(read_log(&path).unwrap().last().unwrap().is_err(), "the last line is not whole");
    for junk in [&b"\xff\xff\n"[..], b"\n", b"time\n", b"time x text\n", b"time o"] {
        fs::write(&path, junk).unwrap();
        assert!(read_log(&path).unwrap().all(|line| line.is_err()), "{junk:?}");
    }
    assert!(read_log(&scratch.path().join("none")).is_err());
    assert!(recorder.log(0, "a").is_none(), "there is one already");
    assert!(recorder.trouble().unwrap().starts_with("cannot create "), "{:?}", recorder.trouble());
}

#[test]
fn a_record_that_cannot_be_begun_says_where() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("file"), "").unwrap();
    let error = Recorder::create(&scratch.path().join("file/runs"), about(&["a"])).unwrap_err();
    assert!(error.to_string().starts_with("cannot create /"), "{error}");
}

/// A record that hm 0.1.0 has written, and a result that it has kept, before anything in them was called as it is now.
#[test]
fn what_earlier_versions_wrote_is_read() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data");
    let run = Run::open(data.join("record-0.1.0")).unwrap();
    assert_eq!((run.header.number, run.header.pipeline.as_str(), run.header.step_count), (1, "ci", 3));
    assert_eq!(run.state(), RunStatus::Ended { exit_code: 1, duration_ms: 5 });
    let steps = run.steps();
    assert_eq!(steps.iter().map(|step| &*step.key).collect::<Vec<_>>(), ["deps", "build", "lint"]);
    assert_eq!(
        (&*steps[0].settings_digest, steps[1].stage, steps[2].succeeded_before),
        (&*"0b".repeat(32), 1, true)
    );
    assert_eq!(run.outcome("deps"), Some(StepStatus::Cached));
    assert_eq!(run.outcome("build"), Some(StepStatus::Failed { exit_code: 2 }));
    let at: DateTime<Utc> = "2026-11-20T08:15:30.123456789Z".parse().unwrap();
    let tag = SnapshotRef("hm-cache:01".into());
    let expected = [
        ("hit", StepVerdict::Hit { tag: tag.clone(), made_at: at }),
        ("no_entry", StepVerdict::Miss(MissReason::NoEntry)),
        ("expired", StepVerdict::Miss(MissReason::Expired { since: at })),
        ("made_in_future", StepVerdict::Miss(MissReason::MadeInFuture)),
        ("removed", StepVerdict::Miss(MissReason::Deleted)),
        ("other_image", StepVerdict::Miss(MissReason::OtherImage { name: "gcc:12".into() })),
        ("covered", StepVerdict::Miss(MissReason::Covered { path: "src/main.c".into() })),
        ("cannot_use", StepVerdict::Miss(MissReason::CannotUse { why: "no engine".into() })),
        ("gone", StepVerdict::Miss(MissReason::RunnerLostIt)),
        ("damaged", StepVerdict::Miss(MissReason::Damaged)),
        ("not_asked", StepVerdict::Miss(MissReason::Bypassed)),
        ("no_policy", StepVerdict::Uncacheable(Uncacheable::NoPolicy)),
        ("policy", StepVerdict::Uncacheable(Uncacheable::Policy)),
        ("parent_not_kept", StepVerdict::Uncacheable(Uncacheable::ParentNotKept { parent: "deps".into() })),
        ("cannot_keep", StepVerdict::Uncacheable(Uncacheable::CannotKeep { why: "no room".into() })),
    ];
    // What is written today is the same text: versions before this one read it, too.
    let written = fs::read_to_string(data.join("record-0.1.0/cache.jsonl")).unwrap();
    assert_eq!(written.lines().count(), expected.len());
    for ((step, verdict), line) in expected.into_iter().zip(written.lines()) {
        let decided = run.decision(step).unwrap();
        assert_eq!(decided.decision.verdict, verdict, "{step}");
        assert_eq!(serde_json::to_string(&decided).unwrap(), line);
        if let Some(parts) = decided.decision.inputs {
            assert_eq!((Some(parts.key()), &*parts.cmd), (decided.decision.key, "make"));
            assert_eq!(parts.parent.unwrap().result, tag);
        }
    }
    let plan = fs::read_to_string(data.join("record-0.1.0/plan.json")).unwrap();
    assert_eq!(serde_json::to_string(&steps).unwrap(), plan.trim_end());
    let result = fs::read_to_string(data.join("result-0.1.0.json")).unwrap();
    let entry: crate::cache::ResultMeta = serde_json::from_str(&result).unwrap();
    assert_eq!((entry.longest_secs, &*entry.step, &entry.parent), (Some(3600), "build", &Some(tag)));
    assert_eq!(serde_json::to_string(&entry).unwrap(), result);
}
