//! What is taken from the cache and what is not: a hit looks like the step itself, and whatever a step depends on makes
//! a miss. Which results are kept at all is tested in `keeping`, whom a hit asks in `hits`, what crashes and full disks
//! do to them in `crashes`.

pub(crate) mod hits;
mod keeping;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use hm_plugin_protocol::{BuildEvent, StdStream};
use serde_json::{Value, json};

use crate::support::{Project, Ran, child, exits, logs, step};

/// A step with this cache policy.
pub(crate) fn kept(mut step: Value, policy: Value) -> Value {
    step["cache"] = policy;
    step
}

/// A step whose result is kept for ever.
pub(crate) fn forever(step: Value) -> Value {
    kept(step, json!({"policy": "forever"}))
}

/// A step whose result is kept until one of these changes.
pub(crate) fn on_change(step: Value, paths: &[&str]) -> Value {
    kept(step, json!({"policy": "on_change", "paths": paths}))
}

/// A build, and what it did with its steps.
pub(crate) struct Built {
    pub(crate) ran: Ran,
    pub(crate) events: Vec<BuildEvent>,
}

impl Built {
    pub(crate) fn of(project: &Project, args: &[&str]) -> Self {
        let (ran, events) = project.events(args);
        Self { ran, events }
    }

    /// The keys of the steps that were taken from the cache, sorted.
    pub(crate) fn hits(&self) -> String {
        let hit = |event: &BuildEvent| match event {
            BuildEvent::StepCacheHit { key, .. } => Some(key.clone()),
            _ => None,
        };
        sorted(self.events.iter().filter_map(hit))
    }

    /// The keys of the steps that ran, sorted.
    pub(crate) fn started(&self) -> String {
        let key = |id| {
            self.events.iter().find_map(|event| match event {
                BuildEvent::StepQueued { step_id, key, .. } if step_id == id => Some(key.clone()),
                _ => None,
            })
        };
        sorted(self.events.iter().filter_map(|event| match event {
            BuildEvent::StepStart { step_id, .. } => key(step_id),
            _ => None,
        }))
    }

    /// Fails unless the build succeeded, took the first from the cache and ran the second.
    #[track_caller]
    pub(crate) fn expect(self, hits: &str, started: &str) -> Self {
        let Ran { code, stdout, stderr } = &self.ran;
        let did = (&*self.hits(), &*self.started(), *code);
        assert_eq!(did, (hits, started, Some(0)), "hits, runs and exit code of\n{stderr}{stdout}");
        self
    }
}

fn sorted(keys: impl Iterator<Item = String>) -> String {
    keys.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
}

/// Writes the pipeline that has these steps.
pub(crate) fn set_steps(project: &Project, steps: &Value) {
    project.write(".hm/ci.json", &json!({"version": "0", "steps": steps}).to_string());
}

/// The home directory of the steps of a project whose cache is its own.
pub(crate) fn home_of_steps(project: &Project) -> PathBuf {
    let mut homes = fs::read_dir(project.cache().join("home")).expect("homes");
    homes.next().expect("a build has run").expect("an entry").path()
}

/// The lines that steps have added to `$HOME/count`, sorted.
pub(crate) fn counted(project: &Project) -> Vec<String> {
    let text = fs::read_to_string(home_of_steps(project).join("count")).unwrap_or_default();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// All lines of all steps: key, stream, text, in the order of the events of each step.
pub(crate) fn printed(events: &[BuildEvent], of: &str) -> Vec<(StdStream, String)> {
    let id = events.iter().find_map(|event| match event {
        BuildEvent::StepQueued { step_id, key, .. } if key == of => Some(*step_id),
        _ => None,
    });
    let line = |event: &BuildEvent| match event {
        BuildEvent::StepLog { step_id, stream, line, .. } if Some(*step_id) == id => {
            Some((*stream, line.clone()))
        }
        _ => None,
    };
    events.iter().filter_map(line).collect()
}

#[test]
fn a_hit_gives_again_what_the_step_gave() {
    let print = r"echo x >> $HOME/count; i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo out $i; echo err $i >&2; done; echo; echo ' o e 2026 o text';
        printf '\033[31mred\033[0m\r\n\377\n\t tab\001\n'; head -c 200000 /dev/zero | tr '\0' x; printf '\nno end'; printf 'no end either' >&2; echo made > made";
    let steps = json!([
        forever(step("print", print)),
        forever(child("next", "print", "cat made; echo x >> $HOME/count"))
    ]);
    let project = Project::with_steps(&steps).alone();
    let first = Built::of(&project, &[]).expect("", "next print");
    let again = Built::of(&project, &[]).expect("next print", "");
    assert_eq!(printed(&again.events, "print"), printed(&first.events, "print"));
    assert_eq!(
        printed(&again.events, "print").iter().filter(|(stream, _)| *stream == StdStream::Stderr).count(),
        201
    );
    assert_eq!(logs(&again.events)["next"], ["made"]);
    assert_eq!(exits(&again.events), [("next".into(), 0), ("print".into(), 0)].into());
    let snapshots = |built: &Built| -> BTreeSet<String> {
        let snapshot = |event: &BuildEvent| match event {
            BuildEvent::StepEnd { snapshot, .. } => Some(snapshot.clone().expect("a snapshot").0),
            _ => None,
        };
        built.events.iter().filter_map(snapshot).collect()
    };
    assert_eq!(snapshots(&again), snapshots(&first));
    assert_eq!(counted(&project), ["x", "x"]);
    // A third build replays what the second one replayed.
    let third = Built::of(&project, &[]).expect("next print", "");
    assert_eq!(printed(&third.events, "print"), printed(&first.events, "print"));
}

#[test]
fn events_of_a_hit_come_in_their_order() {
    let project = Project::with_steps(&json!([forever(step("a", "echo one; echo two"))])).alone();
    Built::of(&project, &[]).expect("", "a");
    let hit = Built::of(&project, &[]).expect("a", "");
    let kinds: Vec<String> = hit
        .events
        .iter()
        .map(|event| serde_json::to_value(event).expect("JSON")["kind"].as_str().expect("a kind").to_owned())
        .collect();
    let expected =
        ["build_start", "step_queued", "step_cache_hit", "step_log", "step_log", "step_end", "build_end"];
    assert_eq!(kinds, expected);
}

#[test]
fn what_a_step_depends_on_makes_a_miss() {
    let base = || forever(step("k", "echo $A $B $C; cat unnamed"));
    let pipeline = |step: Value| json!({"version": "0", "env": {"A": "1"}, "steps": [step]});
    let changed = |name: &str, value: Value| {
        let mut step = base();
        step[name] = value;
        pipeline(step)
    };
    let project = Project::new().alone();
    project.write("unnamed", "1");
    let build = |pipeline: &Value, args: &[&str]| {
        project.write(".hm/ci.json", &pipeline.to_string());
        Built::of(&project, args)
    };
    build(&pipeline(base()), &[]).expect("", "k");
    let mut of_pipeline = pipeline(base());
    of_pipeline["env"]["A"] = json!("2");
    let keyed = changed("cache", json!({"policy": "forever", "key": "sha-1"}));
    let other_key = changed("cache", json!({"policy": "forever", "key": "sha-2"}));
    let misses = [
        (changed("cmd", json!("echo $A $B  $C; cat unnamed")), vec![]),
        (of_pipeline, vec![]),
        (changed("env", json!({"B": "1"})), vec![]),
        (changed("env", json!({"B": "2"})), vec![]),
        (changed("env", json!({"B": ""})), vec![]),
        (pipeline(base()), vec!["--env", "C=1"]),
        (pipeline(base()), vec!["--env", "C=2"]),
        (changed("runner_args", json!({"network": true})), vec![]),
        (changed("runner_args", json!({"network": false})), vec![]),
        (changed("runner_args", json!({"shell": "bash"})), vec![]),
        (changed("x-unknown", json!("1")), vec![]),
        (keyed, vec![]),
        (other_key, vec![]),
    ];
    for (pipeline, args) in &misses {
        build(pipeline, args).expect("", "k");
    }
    // Each has its own result, and what a step is called does not count.
    project.write("unnamed", "2");
    for (pipeline, args) in &misses {
        let hit = build(pipeline, args).expect("k", "");
        assert_eq!(logs(&hit.events)["k"].last().map(String::as_str), Some("1"), "what was printed then");
    }
    build(&changed("label", json!("Something else")), &[]).expect("k", "");
    build(&changed("key", json!("renamed")), &[]).expect("renamed", "");
    build(&changed("timeout_seconds", json!(60)), &[]).expect("k", "");
    build(&changed("env", json!({"A": "1"})), &[]).expect("k", "");

    // Programs are found elsewhere, perhaps others.
    let path = format!("{}:/usr/local/nothing", std::env::var("PATH").expect("PATH"));
    project.write(".hm/ci.json", &pipeline(base()).to_string());
    let output = project.hm(&["build", "--format", "json"]).env("PATH", path).output().expect("hm");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains(r#""kind":"step_start""#) && !text.contains("step_cache_hit"), "{text}");
}

#[test]
fn the_files_that_a_policy_names_count_and_no_others() {
    let steps = json!([on_change(
        step("k", "cat in.txt; find src lib | sort"),
        &["in.txt", "src", "lib/**/*.rs", "absent"]
    )]);
    let project = Project::with_steps(&steps).alone();
    for (name, text) in
        [("in.txt", "1"), ("src/a/b.c", "1"), ("lib/x/y.rs", "1"), ("lib/notes", "1"), ("other", "1")]
    {
        project.write(name, text);
    }
    let first = Built::of(&project, &[]).expect("", "k");
    assert!(first.ran.stderr.contains("`absent`"), "{}", first.ran.stderr);
    Built::of(&project, &[]).expect("k", "");
    let path = |name: &str| project.path().join(name);
    // The same content at another time is the same.
    project.write("in.txt", "1");
    project.write("other", "2");
    project.write("lib/notes", "2");
    Built::of(&project, &[]).expect("k", "");
    let mode =
        |mode| fs::set_permissions(path("src/a/b.c"), fs::Permissions::from_mode(mode)).expect("a mode");
    let changes: [(&str, &dyn Fn()); 9] = [
        ("a file", &|| project.write("in.txt", "2")),
        ("below a folder", &|| project.write("src/a/b.c", "2")),
        ("new in a folder", &|| project.write("src/new", "")),
        ("gone from a folder", &|| {
            fs::remove_file(path("src/new")).and_then(|()| fs::remove_file(path("src/a/b.c"))).expect("gone");
        }),
        ("by a pattern", &|| project.write("lib/x/y.rs", "2")),
        ("new for a pattern", &|| project.write("lib/new.rs", "")),
        ("there at last", &|| project.write("absent", "")),
        ("another kind", &|| {
            fs::remove_file(path("absent"))
                .and_then(|()| std::os::unix::fs::symlink("in.txt", path("absent")))
                .expect("a link");
        }),
        ("can be run", &|| {
            project.write("src/a/b.c", "2");
            Built::of(&project, &[]);
            mode(0o755);
        }),
    ];
    for (what, change) in changes {
        change();
        let built = Built::of(&project, &[]);
        assert_eq!((&*built.hits(), &*built.started()), ("", "k"), "{what}");
        Built::of(&project, &[]).expect("k", "");
    }
    // Back to what there was: the old result is still there.
    mode(0o644);
    Built::of(&project, &[]).expect("k", "");
}

#[test]
fn what_links_lead_to_counts_as_the_step_sees_it() {
    let links = [
        ("dirlink", "deep/sub"),
        ("x", "dirlink/../data"),
        ("up", "dirlink/.."),
        ("abs", "/workspace/deep/data"),
        ("out", "/etc/os-release"),
    ];
    let steps = json!([
        on_change(step("x", "cat x"), &["x"]),
        on_change(step("up", "cat up/data"), &["up/data"]),
        on_change(step("abs", "cat abs"), &["abs"]),
        on_change(step("out", "readlink out; ls"), &["out", "empty"]),
    ]);
    let project = Project::with_steps(&steps).alone();
    for file in ["deep/data", "deep/sub/x", "data"] {
        project.write(file, "1\n");
    }
    fs::create_dir(project.path().join("empty")).expect("a folder");
    for (link, target) in links {
        std::os::unix::fs::symlink(target, project.path().join(link)).expect("a link");
    }
    let first = Built::of(&project, &[]).expect("", "abs out up x");
    let warned = "warning: a cache policy covers `out`, a link that leads out of the project";
    assert_eq!(first.ran.stderr.matches(warned).count(), 1, "{}", first.ran.stderr);
    assert_eq!(first.ran.stderr.matches("warning").count(), 1, "{}", first.ran.stderr);
    Built::of(&project, &[]).expect("abs out up x", "");
    project.write("data", "2\n");
    Built::of(&project, &[]).expect("abs out up x", "");
    project.write("deep/data", "2\n");
    let built = Built::of(&project, &[]).expect("out", "abs up x");
    let logs = logs(&built.events);
    for step in ["abs", "up", "x"] {
        assert_eq!(logs[step], ["2"], "{step}");
    }
    fs::remove_dir(project.path().join("empty")).expect("no folder");
    Built::of(&project, &[]).expect("abs up x", "out");
}

#[test]
fn files_are_as_new_as_in_any_other_step_where_the_parent_is_kept() {
    let project = Project::with_steps(&json!([
        forever(step(
            "deps",
            "cat src/a; echo installed > deps; echo mine > src/made; rm -r old; mkdir old; echo new > old/own"
        )),
        on_change(child("build", "deps", "cat src/a deps src/made; ls old; echo built > built"), &["src"]),
        child("test", "build", "cat src/a built; cat gone"),
    ]))
    .alone();
    project.write("src/a", "1\n");
    project.write("old/file", "1\n");
    project.write("gone", "here\n");
    Built::of(&project, &[]).expect("", "build deps test");
    project.write("src/a", "2\n");
    project.write("old/more", "1\n");
    let built = Built::of(&project, &[]).expect("deps", "build test");
    assert_eq!(logs(&built.events)["deps"], ["1"], "as it was then");
    assert_eq!(
        logs(&built.events)["build"],
        ["2", "installed", "mine", "own"],
        "what a step removed stays so"
    );
    assert_eq!(logs(&built.events)["test"], ["2", "built", "here"]);
    project.write("gone", "changed\n");
    let built = Built::of(&project, &[]).expect("build deps", "test");
    assert_eq!(logs(&built.events)["test"], ["2", "built", "changed"]);
}

#[test]
fn what_a_step_has_written_over_makes_it_run_again_when_it_changes() {
    let project = Project::with_steps(&json!([
        forever(step("patch", "echo patched >> src/file; echo x > fresh")),
        forever(child("next", "patch", "echo y > y")),
    ]))
    .alone();
    project.write("src/file", "1\n");
    Built::of(&project, &[]).expect("", "next patch");
    for path in ["src/file", "fresh"] {
        project.write(path, "2\n");
        let plan = project.run(&["plan"]).expect_code(0).stdout.replace("\n  ", " ");
        Built::of(&project, &[]).expect("", "next patch");
        let why = project.run(&["why", "patch"]).expect_code(0).stdout;
        let reason = format!("`{path}` changed, which it or a parent had written or removed");
        assert!(why.contains(&format!("\n  {reason}\n")) && plan.contains(&reason), "{why}{plan}");
    }
}

#[test]
fn a_step_that_removes_files_has_removed_them_in_a_hit() {
    let project = Project::with_steps(&json!([
        forever(step(
            "clean",
            "rm -r a/deep b.txt; ln -s ../c.txt a/link; chmod 700 c.txt; mkdir a/new; mv c.txt d.txt"
        )),
        child(
            "look",
            "clean",
            "find . -name .hm -prune -o -not -type d -print | sort; cat d.txt; stat -c %a d.txt"
        ),
    ]))
    .alone();
    for name in ["a/deep/er/file", "a/stays", "b.txt", "c.txt"] {
        project.write(name, name);
    }
    let first = Built::of(&project, &[]).expect("", "clean look");
    let again = Built::of(&project, &[]).expect("clean", "look");
    assert_eq!(logs(&again.events), logs(&first.events));
    assert_eq!(logs(&again.events)["look"], ["./a/link", "./a/stays", "./d.txt", "c.txt700"]);
}

#[test]
fn a_parent_that_was_made_anew_makes_its_children_miss() {
    let project = Project::with_steps(&json!([
        on_change(step("root", "cat in > out"), &["in"]),
        forever(child("mid", "root", "cat out")),
        forever(child("leaf", "mid", "cat out")),
        forever(step("other", "true")),
    ]))
    .alone();
    project.write("in", "1\n");
    Built::of(&project, &[]).expect("", "leaf mid other root");
    project.write("in", "2\n");
    let built = Built::of(&project, &[]).expect("other", "leaf mid root");
    assert_eq!(logs(&built.events)["leaf"], ["2"]);
    project.write("in", "1\n");
    let built = Built::of(&project, &[]).expect("leaf mid other root", "");
    assert_eq!(logs(&built.events)["leaf"], ["1"]);
}

#[test]
fn a_chain_that_is_deeper_than_mounts_can_be_comes_back_whole() {
    let add = |n: usize| format!("echo {n} >> list; rm -f last-{}; echo {n} > last-{n}", n.saturating_sub(1));
    let mut steps = vec![forever(step("s0", &add(0)))];
    steps.extend((1..60).map(|n| forever(child(&format!("s{n}"), &format!("s{}", n - 1), &add(n)))));
    steps.push(child("end", "s59", "cat list | xargs; ls"));
    let project = Project::with_steps(&json!(steps)).alone();
    let end = |built: &Built| logs(&built.events)["end"].clone();
    let all = (0..60).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    let expected = [all, "last-59".into(), "list".into()];
    let first = Built::of(&project, &[]);
    assert_eq!((first.ran.code, end(&first)), (Some(0), expected.to_vec()), "{}", first.ran.stderr);
    let again = Built::of(&project, &[]);
    assert_eq!((again.started(), end(&again)), ("end".into(), expected.to_vec()));
    // From the middle on, and another step on top of all.
    steps[30]["cmd"] = json!(add(30).replace("echo 30 >>", "echo XXX >>"));
    steps.push(forever(child("top", "s59", "wc -l < list")));
    set_steps(&project, &json!(steps));
    let changed = Built::of(&project, &[]);
    assert_eq!(changed.hits().split(' ').count(), 30, "{}", changed.hits());
    assert_eq!(end(&changed)[0], expected[0].replace(" 30 ", " XXX "));
    assert_eq!(logs(&changed.events)["top"], ["60"]);
}

#[test]
fn people_and_hooks_see_hits() {
    use crate::hooks::{Hook, heard, project};
    let hook = Hook { events: &["step_start", "step_cache_hit"], ..crate::hooks::DEFAULT };
    let steps = json!([forever(step("kept", "echo words of the step")), child("runs", "kept", "true")]);
    let project = project(&[hook], &steps).alone();
    let (first, _) = project.events(&[]);
    assert_eq!(heard(&first.expect_code(0)), ["hook before step_start", "hook before step_start"]);
    let (again, _) = project.events(&[]);
    assert_eq!(heard(&again.expect_code(0)), ["hook before step_cache_hit", "hook before step_start"]);
    let human = project.run(&["build"]).expect_code(0);
    for part in ["kept (cached)", "words of the step", "1 cached"] {
        assert!(human.stdout.contains(part), "{part:?} is not in\n{}", human.stdout);
    }
}
