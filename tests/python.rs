//! Pipelines in Python, rendered with the real harmont by `hm` itself: what comes of them, and that nothing else does.

mod errors;
mod interpreters;
pub(crate) mod lab;
mod strangers;
mod walls;

use std::collections::BTreeSet;
use std::fmt::Write;

use hm_host::pipeline::{Overrides, Plan, Runners, UnknownFields, choose};
use serde_json::json;

use self::lab::{NEW, OLD, environment, render};
use crate::support::{Project, exits, logs};

/// Three pipelines in two files and a neighbour that both use; not all is left to harmont 0.0.9, which gives roots an
/// image.
fn several(project: &Project) {
    project.write(".hm/first.py", "from shared import run\nimport harmont as hm\n\nprint('printed')\n\n@hm.pipeline('one')\ndef one():\n    return run('echo eins')\n");
    project.write(".hm/second-file.py", "import harmont as hm, first\nfrom shared import run\n\n@hm.pipeline('two')\ndef two():\n    return run('echo zwei')\n\n@hm.pipeline()\ndef three():\n    return [run('echo ä'), hm.wait(), run('echo after')]\n");
    project.write(".hm/shared.py", "import harmont as hm\n\ndef run(cmd):\n    return hm.scratch().sh(cmd, key=cmd.split()[-1], runner='local')\n");
}

#[test]
fn files_in_python_build_beside_json() {
    for version in [OLD, NEW] {
        let project = Project::new();
        let Some(_) = environment(&project.path().join(".venv"), Some(version)) else { return };
        several(&project);
        project.write(
            ".hm/four.json",
            r#"{"version":"0","steps":[{"type":"command","key":"vier","cmd":"echo vier"}]}"#,
        );
        let list = project.run(&["build"]).expect_code(2);
        assert!(list.stderr.contains("there are 4 pipelines: four, one, two, three"), "{}", list.stderr);
        assert!(list.stderr.contains(".hm say:\n    | printed\n"), "{}", list.stderr);
        for (pipeline, expected) in [
            ("one", vec!["eins"]),
            ("two", vec!["zwei"]),
            ("three", vec!["ä", "after"]),
            ("four", vec!["vier"]),
        ] {
            let (ran, events) = project.events(&[pipeline]);
            ran.expect_code(0);
            let keys = exits(&events).into_keys().collect::<BTreeSet<_>>();
            assert_eq!(keys, expected.iter().map(|key| (*key).to_owned()).collect());
            for key in expected {
                assert_eq!(logs(&events)[key], [key], "{version}");
            }
        }
        let files = std::fs::read_dir(project.path().join(".hm")).expect("there");
        assert_eq!(files.count(), 4, "no byte code, nothing else");
    }
}

#[test]
fn the_older_folder_works_too() {
    let project = Project::new();
    let Some(_) = environment(&project.path().join("venv"), Some(OLD)) else { return };
    let pipeline =
        "import harmont as hm\n\n@hm.pipeline('ci')\ndef ci():\n    return hm.sh('echo works', key='k')\n";
    project.write(".harmont/ci.py", pipeline);
    let (ran, events) = project.events(&[]);
    ran.expect_code(0);
    assert_eq!(json!(logs(&events)), json!({"k": ["works"]}));
}

/// All that the package can say in either version.
const EVERYTHING: &str = r#"
from datetime import timedelta
import harmont as hm

@hm.target()
def base() -> hm.Step:
    return hm.sh("base", key="base", label=":package: base", env={"A": "step"}, cache=hm.forever(env_keys=("ARCH",)))

@hm.target(name="built")
def whatever(base: hm.Target) -> hm.Step:
    return base.sh("built", key="built", cache=hm.on_change("src", "Cargo.lock"))

@hm.pipeline("all", name="All", triggers=[hm.push(branch="main")], env={"A": "pipeline", "B": "b"}, **MORE)
def all_of_it(built: hm.Target):
    left, right = built.fork(label="left"), built.fork()
    composed = hm.compose(hm.ttl(timedelta(days=1)), hm.compose(hm.on_change("src/a.c"), hm.ttl(timedelta(hours=2))))
    never = hm.compose(hm.forever(), hm.CacheNone())
    return (
        left.sh("l1", key="l1", cache=composed).sh("l2", key="l2", cache=never, env={"B": ""}),
        TIMEOUT(right.sh("r", key="r", cwd="src", label="right")),
        hm.wait(continue_on_failure=True),
        hm.scratch().sh("alone", key="alone", runner="local", runner_args={"network": False}),
        hm.sh("imaged", key="imaged", image="alpine:3.20", cache=hm.CacheNone()),
    )
"#;

/// Spellings that are different in 0.0.1.
const OF_OLD: &str = "MORE = {'default_image': 'debian:12'}
def TIMEOUT(step):
    from dataclasses import replace
    return replace(step, timeout_seconds=90)
";
const OF_NEW: &str =
    "import harmont\nMORE = {'timeout': '30m'}\nTIMEOUT = lambda step: harmont.timeout('1m30s', step)\n";

const PLAN_OF_OLD: &str = r#"base: base | docker debian:12 | Keep { longest: None, paths: {} } | {"A": "step", "B": "b"} | :package: base
built: built | docker | in base | Keep { longest: None, paths: {"Cargo.lock", "src"} } | {"A": "pipeline", "B": "b"}
l1: l1 | docker | in built | Keep { longest: Some(7200s), paths: {"src/a.c"} } | {"A": "pipeline", "B": "b"}
l2: l2 | docker | in l1 | Never | {"A": "pipeline", "B": ""}
r: cd src && r | docker | in built | 90s | Never | {"A": "pipeline", "B": "b"} | right
alone: alone | local | behind 1 | Never | {"A": "pipeline", "B": "b"}
imaged: imaged | docker alpine:3.20 | behind 1 | Never | {"A": "pipeline", "B": "b"}
waits: [true]
"#;

/// No barriers here, and so no `continue_on_failure`: this version turns them into edges.
const PLAN_OF_NEW: &str = r#"base: base | docker ubuntu:24.04 | Keep { longest: None, paths: {} } | {"A": "step", "B": "b", "DEBIAN_FRONTEND": "noninteractive", "TERM": "dumb"} | :package: base
built: built | docker | in base | Keep { longest: None, paths: {"Cargo.lock", "src"} } | {"A": "pipeline", "B": "b", "DEBIAN_FRONTEND": "noninteractive", "TERM": "dumb"}
l1: l1 | docker | in built | Keep { longest: Some(7200s), paths: {"src/a.c"} } | {"A": "pipeline", "B": "b", "DEBIAN_FRONTEND": "noninteractive", "TERM": "dumb"}
l2: l2 | docker | in l1 | Never | {"A": "pipeline", "B": "", "DEBIAN_FRONTEND": "noninteractive", "TERM": "dumb"}
r: cd src && r | docker | in built | 90s | Never | {"A": "pipeline", "B": "b", "DEBIAN_FRONTEND": "noninteractive", "TERM": "dumb"} | right
alone: alone | local ubuntu:24.04 | after base built l1 l2 r | Never | {"A": "pipeline", "B": "b", "DEBIAN_FRONTEND": "noninteractive", "TERM": "dumb"}
imaged: imaged | docker alpine:3.20 | after base built l1 l2 r | Never | {"A": "pipeline", "B": "b", "DEBIAN_FRONTEND": "noninteractive", "TERM": "dumb"}
waits: []
"#;

/// A plan, a line for each step.
fn written(plan: &Plan) -> String {
    let key = |step: usize| plan.steps()[step].step.key.as_str();
    let mut text = String::new();
    for step in plan.steps() {
        write!(text, "{}: {} | {}", step.step.key, step.step.cmd, step.runner).expect("text");
        if let Some(image) = &step.image {
            write!(text, " {image}").expect("text");
        }
        if let Some(parent) = step.parent {
            write!(text, " | in {}", key(parent)).expect("text");
        }
        if !step.depends_on.is_empty() {
            let needs: Vec<_> = step.depends_on.iter().map(|&step| key(step)).collect();
            write!(text, " | after {}", needs.join(" ")).expect("text");
        }
        if step.stage > 0 {
            write!(text, " | behind {}", step.stage).expect("text");
        }
        if let Some(timeout) = step.timeout {
            write!(text, " | {timeout:?}").expect("text");
        }
        write!(text, " | {:?} | {:?}", step.caching, plan.env(step)).expect("text");
        if let Some(label) = &step.step.label {
            write!(text, " | {label}").expect("text");
        }
        text.push('\n');
    }
    writeln!(text, "waits: {:?}", plan.waits()).expect("text");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_the_package_can_say_comes_out_in_the_plan() {
    for (version, more, expected) in [(OLD, OF_OLD, PLAN_OF_OLD), (NEW, OF_NEW, PLAN_OF_NEW)] {
        let project = Project::new();
        let Some(_) = environment(&project.path().join(".venv"), Some(version)) else { return };
        let file = format!("{more}{EVERYTHING}");
        project.write(".hm/all.py", &file);
        project.write("src/a.c", "");
        project.write("Cargo.lock", "");
        let Some(rendered) = render(&project, hm_step_sandbox::Mode::Auto).await else { return };
        let pipelines = rendered.pipelines.expect("rendered");
        let line = file.lines().position(|line| line.starts_with("@hm.pipeline")).expect("a line") + 1;
        assert_eq!(pipelines[0].origin, format!("{}/.hm/all.py:{line}", project.path().display()));
        let (slug, definition) = choose(pipelines, None).expect("one");
        assert_eq!(slug, "all");
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let runners = Runners {
            known: names(&["docker", "local"]),
            default: "local".into(),
            for_images: "docker".into(),
        };
        let plan = Plan::new(definition, &Overrides::default(), &runners).expect("a plan");
        assert_eq!(written(&plan), expected, "{version}");
        assert_eq!(plan.steps()[5].step.runner_args, Some(json!({"network": false})));
        assert_eq!(plan.unknown_fields(), &UnknownFields::default());
        assert_eq!(plan.has_time_limit(), version == NEW);
    }
}
