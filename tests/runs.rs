//! What a build leaves behind, and what reads it: `hm why`, `hm plan`, `hm build --failed`, on records of real builds
//! and on made ones.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use hm_host::cache::{KeyInputs, MissReason, StepDecision, StepVerdict};
use hm_host::record::{Recorder, Run, RunMeta, RunStatus, Runs, StepMeta, StepStatus};
use hm_plugin_protocol::{BuildEvent, StdStream};
use rustix::process::Signal;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Project, Running, child, exits, process_with, step, wait_until};
use crate::transcript::Transcript;

/// The records of all projects, as tests share them.
fn all_runs(project: &Project) -> PathBuf {
    let command = project.hm(&[]);
    let state = command.get_envs().find(|(name, _)| *name == "XDG_STATE_HOME").and_then(|(_, value)| value);
    PathBuf::from(state.expect("a folder")).join("harmont/runs")
}

/// The builds of a project, the newest first.
fn builds(project: &Project) -> Vec<Run> {
    Runs::of(&all_runs(project), &project.path())
}

fn cached(mut step: Value) -> Value {
    step["cache"] = json!({"policy": "forever"});
    step
}

fn write_steps(project: &Project, steps: &Value) {
    project.write(".hm/ci.json", &json!({"version": "0", "steps": steps}).to_string());
}

/// Words of `hm why` about a step, each line of which fits.
#[track_caller]
fn why(project: &Project, args: &[&str]) -> String {
    let said = project.run(&[&["why"], args].concat()).expect_code(0).stdout;
    for line in said.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    said
}

#[track_caller]
fn plan(project: &Project) -> Value {
    let said = project.run(&["plan", "--json"]).expect_code(0).stdout;
    serde_json::from_str(&said).expect("JSON")
}

#[test]
fn why_tells_what_has_changed_since_the_result_was_kept() {
    let steps =
        |cmd: &str| json!([cached(step("a", cmd)), cached(child("b", "a", "true")), step("c", "true")]);
    let project = Project::with_steps(&steps("echo one"));
    let first = plan(&project);
    let reasons =
        |plan: &Value| plan["steps"][0]["reasons"][0].as_str().map(str::to_owned).unwrap_or_default();
    assert_eq!(
        (&first["steps"][0]["cache"], &first["steps"][2]["cache"]),
        (&json!("miss"), &json!("not cached"))
    );
    assert_eq!(reasons(&first), "no former build is known that had this step");

    project.run(&["build"]).expect_code(0);
    let said = why(&project, &["a"]);
    assert!(said.starts_with("`a` succeeded in the last build of `ci`, "), "{said}");
    assert!(said.contains("\n  no former build is known that had this step\n"), "{said}");
    assert!(why(&project, &["c"]).contains("cache policy"), "{}", why(&project, &["c"]));

    let second = plan(&project);
    assert_eq!((&second["steps"][0]["cache"], &second["steps"][1]["cache"]), (&json!("hit"), &json!("hit")));
    project.run(&["build"]).expect_code(0);
    let said = why(&project, &["b"]);
    let sentences: Vec<&str> = said.lines().collect();
    assert!(
        sentences[0].starts_with("`b` was taken from the cache in the last build of `ci`, ")
            && sentences[1].starts_with("  nothing changed since its result was made, "),
        "{said}"
    );

    write_steps(&project, &steps("echo two"));
    let changed = reasons(&plan(&project));
    assert!(changed.starts_with("cmd changed") && changed.ends_with(": echo one → echo two"), "{changed}");
    let drawn = project.run(&["plan"]).expect_code(0).stdout;
    assert!(drawn.contains(&format!("- a (local): miss, {changed}\n")), "{drawn}");
    assert!(drawn.lines().all(|line| line.chars().count() <= 80), "{drawn}");
    project.run(&["build"]).expect_code(0);
    let said = why(&project, &["a", "--pipeline", "ci"]);
    assert!(said.contains(&format!("\n  {changed}\n")), "{said}");
    let said = why(&project, &["b"]);
    assert!(said.contains("\n  parent `a` was made anew\n"), "{said}");
}

#[test]
fn plans_and_their_reasons_read_well() {
    let mut timed = step("old", "true");
    timed["cache"] = json!({"policy": "ttl", "duration_seconds": 1});
    let steps = |cmd: &str| {
        json!([
            cached(step("deps", cmd)),
            cached(child("lint", "deps", "true")),
            child("test", "lint", "true"),
            timed,
            {"type": "wait"},
            step("never", "true"),
        ])
    };
    let mut said = Transcript::default();
    let project = Project::with_steps(&steps("echo one")).alone();
    said.run("no build is on record", &project, &["why", "deps"]).expect_code(2);
    said.run("nothing was built yet", &project, &["plan"]).expect_code(0);
    project.run(&["build", "-j1"]).expect_code(0);
    // So long that the result of `old` is too old.
    std::thread::sleep(Duration::from_millis(1100));
    said.run("all is built", &project, &["plan"]).expect_code(0);
    said.run("a step that ran", &project, &["why", "deps"]).expect_code(0);
    said.run("a step that keeps nothing", &project, &["why", "test"]).expect_code(0);
    project.run(&["build", "-j1"]).expect_code(0);
    said.run("a step that was taken from the cache", &project, &["why", "lint"]).expect_code(0);
    write_steps(&project, &steps("echo two; false"));
    std::thread::sleep(Duration::from_millis(1100));
    said.run("a command was edited", &project, &["plan"]).expect_code(0);
    project.run(&["build", "-j1"]).expect_code(1);
    said.run("a step that failed", &project, &["why", "deps"]).expect_code(0);
    said.run("a step that its turn did not come to", &project, &["why", "never"]).expect_code(0);
    said.run("a step that there is not", &project, &["why", "nevver"]).expect_code(2);
    said.expect("plan-and-why");
}

#[test]
fn a_record_holds_what_happened_and_what_was_printed() {
    let mut noisy = step("a/b c", "echo out; echo \"$SECRET\" | wc -c >&2; printf '\\033[31mred\\n'; exit 3");
    noisy["env"] = json!({"SECRET": "hunter2-hunter2"});
    let project = Project::with_steps(&json!([noisy, step("z", "echo z")]));
    project.run(&["build", "-j1", "--env", "TYPED=hunter3-hunter3"]).expect_code(1);
    let run = builds(&project).remove(0);
    assert!(matches!(run.state(), RunStatus::Ended { exit_code: 1, .. }));
    assert_eq!(run.outcome("a/b c"), Some(StepStatus::Failed { exit_code: 3 }));
    assert_eq!(run.outcome("z"), Some(StepStatus::NotRun));
    let log = fs::read_to_string(run.folder().join("logs/00000-a_b_c.log")).expect("a log");
    let lines: Vec<&str> = log.lines().map(|line| &line[28..]).collect();
    assert_eq!(lines.len(), 3, "{log}");
    assert!(
        lines.contains(&"o out") && lines.contains(&"e 16") && lines.contains(&"o \u{1b}[31mred"),
        "{log}"
    );
    assert!(why(&project, &["z"]).contains("These failed before it came to its turn: `a/b c`."));
    let said = why(&project, &["a/b c"]);
    let (first, _) = said.split_once('\n').expect("a line");
    assert!(first.starts_with("`a/b c` failed in the last build of `ci`, "), "{said}");
    assert!(first.ends_with(" s ago: exited with code 3."), "{said}");
    for file in ["run.json", "plan.json", "events.jsonl", "cache.jsonl"] {
        let text = fs::read_to_string(run.folder().join(file)).expect(file);
        assert!(!text.contains("hunter"), "{file}: {text}");
    }
}

#[test]
fn why_names_the_failures_that_a_step_needed() {
    let mut hangs = step("hangs", "sleep 77403");
    hangs["timeout_seconds"] = json!(1);
    let project = Project::with_steps(&json!([
        step("bad", "false"),
        hangs,
        child("child", "bad", "true"),
        child("grandchild", "child", "true"),
        {"type": "wait"},
        step("last", "true"),
    ]));
    project.run(&["build", "--keep-going"]).expect_code(1);
    for needs in ["child", "grandchild"] {
        let said = why(&project, &[needs]);
        assert!(said.contains("\nThese failed before it came to its turn: `bad`.\n"), "{said}");
    }
    let said = why(&project, &["last"]);
    assert!(said.contains("`bad`, `hangs`."), "{said}");
    let said = why(&project, &["hangs"]);
    assert!(said.contains("ago: timed out after 1 s."), "{said}");
    let ran = project.run(&["why", "lats"]).expect_code(2);
    assert!(ran.stderr.ends_with("hint: did you mean `last`?\n"), "{}", ran.stderr);
}

#[test]
fn plan_warns_of_patterns_that_name_no_file() {
    let mut with = step("a", "true");
    with["cache"] = json!({"policy": "on_change", "paths": ["src/nothing-*"]});
    let project = Project::with_steps(&json!([with]));
    let warned = "warning: a cache policy names `src/nothing-*`, and there is no such file\n";
    assert_eq!(project.run(&["plan"]).expect_code(0).stderr, warned);
    assert_eq!(project.run(&["build"]).expect_code(0).stderr, warned);
}

#[test]
fn builds_that_did_not_come_to_a_step_hide_none_that_did() {
    let steps =
        |first: &str, cmd: &str| json!([step("first", first), {"type": "wait"}, cached(step("a", cmd))]);
    let project = Project::with_steps(&steps("true", "echo one"));
    project.run(&["build"]).expect_code(0);
    write_steps(&project, &steps("false", "echo two"));
    for _ in 0..6 {
        project.run(&["build"]).expect_code(1);
    }
    let planned = project.run(&["plan"]).expect_code(0).stdout;
    assert!(planned.contains("- a (local): miss, cmd changed"), "{planned}");
    let known = builds(&project).len();

    // Nor does one that did not begin at all leave a record.
    let mut nowhere = step("a", "true");
    nowhere["image"] = json!("alpine");
    write_steps(&project, &json!([nowhere]));
    let mut build = project.hm(&["build"]);
    let begun = build.env("DOCKER_HOST", "unix:///no/such/socket").output().expect("hm");
    assert_eq!(begun.status.code(), Some(4));
    nowhere["image"] = json!("No Image");
    write_steps(&project, &json!([nowhere]));
    project.run(&["build"]).expect_code(7);
    project.run(&["build", "--runner", "local", "--artifacts", "."]).expect_code(2);
    assert_eq!(builds(&project).len(), known);
}

#[test]
fn failed_runs_what_is_left_to_do_with_what_it_builds_in() {
    let project = Project::with_steps(&json!([
        step("root", "echo root"),
        child("bad", "root", "test -e fixed"),
        child("good", "root", "true"),
        step("other", "true"),
        {"type": "wait"},
        child("last", "good", "true"),
    ]));
    let ran = project.run(&["build", "--failed"]).expect_code(2);
    assert!(ran.stderr.contains("there is no build of `ci` on record for this project"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: hm build"), "{}", ran.stderr);
    project.run(&["build", "--keep-going"]).expect_code(1);

    project.write("fixed", "");
    let (_, events) = project.events(&["--failed"]);
    let ran: Vec<String> = exits(&events).into_keys().collect();
    assert_eq!(ran, ["bad", "good", "last", "root"]);
    let run = builds(&project).remove(0);
    assert_eq!(run.outcome("other"), Some(StepStatus::SucceededBefore));
    assert!(why(&project, &["other"]).contains("was left out"));

    let ran = project.run(&["build", "--failed"]).expect_code(0);
    assert!(ran.stdout.is_empty() && ran.stderr.starts_with("nothing to do: "), "{ran:?}");
    assert_eq!(builds(&project).len(), 2, "nothing was run, so there is no record");
}

#[test]
fn a_killed_build_has_a_record_too() {
    let marker = "77401";
    let project = Project::with_steps(&json!([
        cached(step("a", "echo first")),
        cached(child("b", "a", &format!("sleep {marker}")))
    ]));
    let mut command = project.hm(&["build"]);
    command.stdout(Stdio::null());
    let mut build = Running::start(command);
    wait_until("the step runs", || process_with(&format!("sleep {marker}")));
    assert_eq!(builds(&project)[0].state(), RunStatus::Running);
    assert!(why(&project, &["b"]).starts_with("`b` is running in the last build of `ci`, "));
    assert_eq!(plan(&project)["steps"][1]["reasons"], json!(["another build is running it now"]));
    build.signal(Signal::KILL);
    build.ended();
    let run = builds(&project).remove(0);
    wait_until("the record is given up", || run.state() == RunStatus::Killed);
    assert_eq!(run.outcome("a"), Some(StepStatus::Succeeded));
    assert_eq!(run.outcome("b"), Some(StepStatus::Stopped));
    assert!(why(&project, &["b"]).starts_with("`b` was stopped in the last build of `ci`, "));
    write_steps(&project, &json!([step("a", "echo first"), child("b", "a", "true")]));
    project.run(&["build", "--failed"]).expect_code(0);
}

/// A decision as a build with cached steps makes it.
fn missed(key: &str, cmd: &str, inputs: usize) -> StepDecision {
    let inputs: serde_json::Map<String, Value> =
        (0..inputs).map(|n| (format!("src/{n}.rs"), json!("ab".repeat(32)))).collect();
    let parts: KeyInputs = serde_json::from_value(json!({
        "project": "/p", "cmd": cmd, "env": {"PATH": "cd".repeat(32)}, "image": null, "runner": "local",
        "plugin": "local 1.0.0", "runner_args": null, "fields": {}, "emitter_key": null, "parent": null,
        "inputs": inputs, "machine": "ef".repeat(32),
    }))
    .expect("parts");
    let verdict = StepVerdict::Miss(MissReason::NoEntry);
    StepDecision { step: key.to_owned(), key: Some(parts.key()), inputs: Some(parts), verdict }
}

/// The record of a build in which all of these steps succeeded.
fn record(project: &Project, pipeline: &str, steps: usize, cmd: &str, ago: TimeDelta) {
    let step = |number: usize| StepMeta {
        key: format!("s{number}"),
        cmd: cmd.to_owned(),
        runner: "local".into(),
        parent: number.checked_sub(1).map(|parent| format!("s{parent}")),
        ..StepMeta::default()
    };
    let about = RunMeta {
        run_id: Uuid::new_v4(),
        project: project.path(),
        pipeline: pipeline.to_owned(),
        started_at: Utc::now() - ago,
        version: "0.1.0".into(),
        steps: (0..steps).map(step).collect(),
    };
    let recorder = Recorder::create(&all_runs(project), about).expect("a record");
    let ids: Vec<Uuid> = (0..steps).map(|_| Uuid::new_v4()).collect();
    for (number, step_id) in ids.iter().enumerate() {
        recorder.event(&BuildEvent::StepQueued {
            step_id: *step_id,
            key: format!("s{number}"),
            chain_idx: 0,
        });
    }
    for (number, step_id) in ids.into_iter().enumerate() {
        recorder.decision(&missed(&format!("s{number}"), cmd, 10));
        recorder.event(&BuildEvent::StepStart { step_id, runner: "local".into(), image: None });
        let (snapshot, artifacts) = (None, Vec::new());
        recorder.event(&BuildEvent::StepEnd { step_id, exit_code: 0, duration_ms: 1, snapshot, artifacts });
    }
    recorder.event(&BuildEvent::BuildEnd { exit_code: 0, duration_ms: 1 });
    assert_eq!(recorder.trouble(), None);
}

#[test]
fn why_is_quick_on_large_records_and_loads_no_plugin() {
    let project = Project::new();
    for build in (0..5).rev() {
        record(&project, "ci", 10_000, &format!("make {build}"), TimeDelta::hours(build));
    }
    // Loading it would fail, and say so.
    project.write(".hm/plugins/broken.wasm", "no wasm");
    let start = Instant::now();
    let ran = project.run(&["why", "s9999"]).expect_code(0);
    // A hang would take longer; how long it takes is told by the benchmarks.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(ran.stderr, "");
    let words: Vec<&str> = ran.stdout.lines().collect();
    assert!(words[0].starts_with("`s9999` succeeded in the last build of `ci`, "), "{}", ran.stdout);
    assert_eq!((words.len(), words[1]), (3, "It was not taken from the cache:"), "{}", ran.stdout);
    assert!(
        words[2].starts_with("  cmd changed") && words[2].ends_with(": make 1 → make 0"),
        "{}",
        ran.stdout
    );
}

#[test]
fn why_names_what_it_does_not_know() {
    let project = Project::new();
    let ran = project.run(&["why", "a"]).expect_code(2);
    assert!(
        ran.stderr.starts_with("error: there is no build on record for this project\nhint: "),
        "{}",
        ran.stderr
    );
    record(&project, "ci", 12, "make", TimeDelta::hours(2));
    record(&project, "docs", 1, "make docs", TimeDelta::hours(1));
    let ran = project.run(&["why", "s1", "--pipeline", "none"]).expect_code(2);
    assert!(ran.stderr.starts_with("error: there is no build of `none` on record"), "{}", ran.stderr);
    let ran = project.run(&["why", "S11x"]).expect_code(2);
    assert!(ran.stderr.starts_with("error: no build on record has a step `S11x`\nhint: "), "{}", ran.stderr);
    assert!(ran.stderr.ends_with("hint: the steps of the last build are `s0`\n"), "{}", ran.stderr);
    assert!(why(&project, &["s0"]).contains("of `docs`, 1 h ago"), "the pipeline that was built last");
    assert!(why(&project, &["s0", "-p", "ci"]).contains("of `ci`, 2 h ago"));
    assert!(why(&project, &["s11"]).contains("of `ci`, 2 h ago"), "no other has it");
    let elsewhere = Project::new();
    let dir = project.path();
    assert!(why(&elsewhere, &["s11", "--dir", dir.to_str().expect("UTF-8")]).contains("of `ci`, 2 h ago"));
}

#[test]
fn damaged_records_break_no_command() {
    let project = Project::with_steps(&json!([cached(step("a", "true")), step("b", "true")]));
    project.run(&["build"]).expect_code(0);
    let folder = builds(&project)[0].folder().to_owned();
    let project_folder = folder.parent().expect("a folder").to_owned();
    fs::create_dir(project_folder.join("20990101T000000Z-00000000")).expect("a folder");
    fs::write(project_folder.join("stray"), "x").expect("a file");
    let whole = fs::read_to_string(folder.join("run.json")).expect("run.json");
    for (file, content) in [
        ("events.jsonl", "{\"kind\":\"step_que"),
        ("cache.jsonl", "\0\0\0"),
        ("plan.json", "[{\"key\":\"a\""),
        ("run.json", ""),
        ("run.json", &whole.replace("\"format\":1", "\"format\":99")),
    ] {
        fs::write(folder.join(file), content).expect("a file");
        // What is lost is not known; but nothing else is said, and nothing panics.
        for args in [&["why", "a"][..], &["why", "b"], &["build", "--failed"], &["plan"]] {
            let ran = project.run(args);
            assert!(matches!(ran.code, Some(0 | 2)), "{file} {args:?}: {ran:?}");
            assert!(!ran.stderr.contains("panicked"), "{file} {args:?}: {ran:?}");
        }
        for newer in builds(&project).iter().filter(|run| run.folder() != folder) {
            fs::remove_dir_all(newer.folder()).expect("removed");
        }
    }
    project.run(&["build"]).expect_code(0);
    assert!(why(&project, &["a"]).starts_with("`a` was taken from the cache in the last build of `ci`, "));
}

#[test]
fn logs_are_written_as_the_step_prints() {
    let marker = "77402";
    let project = Project::with_steps(&json!([step("a", &format!("echo early; sleep {marker}"))]));
    let mut command = project.hm(&["build"]);
    command.stdout(Stdio::null());
    let mut build = Running::start(command);
    let log = || {
        let run = builds(&project).into_iter().next()?;
        let lines = hm_host::record::read_log(&run.folder().join("logs/00000-a.log")).ok()?;
        lines.collect::<Result<Vec<_>, _>>().ok()
    };
    wait_until("the line is in the log", || log() == Some(vec![(StdStream::Stdout, "early".to_owned())]));
    build.signal(Signal::KILL);
    build.ended();
}
