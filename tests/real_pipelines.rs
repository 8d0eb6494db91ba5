//! Pipelines from outside: the real emitter's output, rendered here and collected, and this repository's own.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use hm_plugin_protocol::BuildEvent;
use serde_json::{Value, json};

use crate::docker::lab::{BUSYBOX, Engine};
use crate::python::lab::packages;
use crate::support::{Project, exits, logs, repository};

const PIPELINE: &str = r#"
import harmont as hm

@hm.pipeline("ci")
def ci():
    base = hm.sh("echo base > base.txt", label="base")
    left = base.sh("cat base.txt && echo left > side.txt", label="left")
    right = base.sh("cat base.txt && test ! -e side.txt", label="right")
    return [left, right, hm.wait(), hm.sh("echo after", label="after")]
"#;

/// Document that a version of harmont, installed below the target directory, makes of [`PIPELINE`]; nothing without
/// one. `cargo xtask test` installs each.
fn rendered(project: &Project, version: &str) -> Option<Vec<u8>> {
    let packages = packages(version)?;
    project.write(".hm/pipelines.py", PIPELINE);
    let render =
        "import runpy, harmont; runpy.run_path('.hm/pipelines.py'); print(harmont.dump_registry_json())";
    let rendered = Command::new("python3")
        .args(["-c", render])
        .env("PYTHONPATH", packages)
        .current_dir(project.path())
        .output()
        .expect("python");
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
    Some(rendered.stdout)
}

/// Runs [`PIPELINE`] from its rendered document.
fn runs(project: &Project, rendered: &[u8], more: &[&str]) {
    let args = [&["build", "--format", "json", "--file", "-"], more].concat();
    let ran = project.run_with_input(&args, rendered).expect_code(0);
    let events: Vec<_> = ran.stdout.lines().map(|l| serde_json::from_str(l).expect("an event")).collect();
    let exits = exits(&events);
    assert_eq!(exits.len(), 4, "{exits:?}");
    assert!(exits.values().all(|&code| code == 0));
    let logs = logs(&events);
    assert_eq!(
        (logs["left"].as_slice(), logs["right"].as_slice()),
        (&["base".to_owned()][..], &["base".to_owned()][..])
    );
    assert_eq!(ran.stdout.lines().last().map(|l| l.contains("build_end")), Some(true));
    let last_start = events.iter().rposition(|e| matches!(e, BuildEvent::StepStart { .. })).expect("a start");
    let ended = events[..last_start].iter().filter(|e| matches!(e, BuildEvent::StepEnd { .. })).count();
    assert_eq!(ended, 3, "the last step has waited for the others");
}

#[test]
fn what_harmont_renders_runs() {
    let project = Project::new();
    if let Some(rendered) = rendered(&project, "0.0.1") {
        assert!(!String::from_utf8_lossy(&rendered).contains("\"graph\""), "the form with steps");
        runs(&project, &rendered, &[]);
    }
}

#[test]
fn what_newer_harmont_renders_runs() {
    let project = Project::new();
    if let Some(rendered) = rendered(&project, "0.0.9") {
        let text = String::from_utf8_lossy(&rendered);
        assert!(text.contains("\"graph\"") && text.contains("\"depends_on\""), "{text}");
        // It gives each root an image.
        runs(&project, &rendered, &["--runner", "local"]);
        assert!(text.contains("ubuntu:24.04"), "{text}");
        if let Some(engine) = Engine::get() {
            let in_one_of_ours = text.replace("ubuntu:24.04", BUSYBOX);
            runs(&engine.reached_from(Project::new()), in_one_of_ours.as_bytes(), &[]);
        }
    }
}

fn data(name: &str) -> Value {
    let text = fs::read_to_string(repository().join("protocol/tests/data").join(name)).expect("the corpus");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn every_collected_pipeline_loads_or_is_refused_for_a_reason_that_is_in_it() {
    for (name, pipeline) in data("corpus_v0.json").as_object().expect("cases") {
        let project = Project::new();
        // Their commands are made up; what counts is that they are run.
        project.write("p.json", &pipeline.to_string());
        let ran = project.run(&["build", "--format", "json", "--file", "p.json", "--runner", "local"]);
        if name == "dup_keys" {
            assert!(
                ran.expect_code(7).stderr.contains("step key `x` is used twice, by steps[0] and steps[1]")
            );
            continue;
        }
        assert!(matches!(ran.code, Some(0 | 1)), "{name}: {ran:?}");
        let events: Vec<_> = ran.stdout.lines().map(|l| serde_json::from_str(l).expect("an event")).collect();
        assert!(!exits(&events).is_empty(), "{name} has run");
    }
}

#[test]
fn the_collected_envelope_loads() {
    let project = Project::new();
    project.write("p.json", &data("demo_envelope_v0.json").to_string());
    let moved = project.run(&["build", "--file", "p.json"]).expect_code(7);
    assert!(
        moved.stderr.contains("step `lint` runs on `local` but builds in `build`, which runs on `docker`"),
        "{}",
        moved.stderr
    );
    // `apk` is not a program of this machine, but `report` comes after a wait that continues.
    let ran =
        project.run(&["build", "--format", "json", "--file", "p.json", "--runner", "local"]).expect_code(1);
    let events: Vec<_> = ran.stdout.lines().map(|l| serde_json::from_str(l).expect("an event")).collect();
    assert_eq!(exits(&events).get("report"), Some(&0), "{:?}", exits(&events));
}

#[test]
fn the_collected_graph_runs() {
    let project = Project::new();
    let mut document = data("graph_0.0.9.json");
    project.write("g.json", &document.to_string());
    let planned = project.run(&["plan", "--file", "g.json"]).expect_code(0);
    assert!(planned.stdout.contains("docker") && planned.stdout.contains("ubuntu:24.04"), "{planned:?}");

    // Its commands would need a network and a Makefile; what counts is the order and what a step is given.
    let nodes = document["pipelines"][0]["definition"]["graph"]["nodes"].as_array_mut().expect("nodes");
    for (node, cmd) in nodes.iter_mut().zip(["echo $TERM > deps", "cat deps", "cat deps >&2", "exit 3"]) {
        node["step"]["cmd"] = json!(cmd);
    }
    let runs = |project: &Project, document: &str, more: &[&str]| {
        project.write("g.json", document);
        let (ran, events) = project.events(&[&["--file", "g.json", "-j", "9"], more].concat());
        let ran = ran.expect_code(1);
        assert_eq!(json!(exits(&events)), json!({"deps": 0, "build": 0, "test": 0, "lint": 3}), "{ran:?}");
        assert_eq!(json!(logs(&events)), json!({"build": ["dumb"], "test": ["dumb"]}));
    };
    let document = document.to_string();
    runs(&project, &document, &["--runner", "local"]);
    if let Some(engine) = Engine::get() {
        runs(&engine.reached_from(Project::new()), &document.replace("ubuntu:24.04", BUSYBOX), &[]);
    }
}

#[test]
fn a_step_starts_when_all_that_it_depends_on_has_ended_well() {
    let node = |key: &str, cmd: &str| json!({"step": {"key": key, "cmd": cmd}, "env": {"WHO": key}});
    // With a hole, as if a node had been removed.
    let graph = |left: &str| {
        json!({"version": "0", "graph": {
            "nodes": [node("left", left), node("right", "echo $WHO"), node("both", "test ! -e side && echo $WHO")],
            "node_holes": [1],
            "edge_property": "directed",
            "edges": [[0, 3, "depends_on"], null, [2, 3, "depends_on"]],
        }})
    };
    let project = Project::new();
    project.write(".hm/ci.json", &graph("touch side").to_string());
    let (ran, events) = project.events(&["-j", "9"]);
    ran.expect_code(0);
    assert_eq!(json!(exits(&events)), json!({"left": 0, "right": 0, "both": 0}));
    assert_eq!(json!(logs(&events)), json!({"right": ["right"], "both": ["both"]}));
    assert!(matches!(&events[events.len() - 2], BuildEvent::StepEnd { .. }), "{events:?}");

    project.write(".hm/ci.json", &graph("exit 3").to_string());
    let (ran, events) = project.events(&["-j", "9"]);
    ran.expect_code(1);
    assert_eq!(json!(exits(&events)), json!({"left": 3, "right": 0}));
}

/// Only a part runs here: `.ci/run` runs the whole pipeline.
#[test]
fn hm_builds_hm() {
    let text = fs::read_to_string(repository().join(".hm/ci.json")).expect("our own pipeline");
    let mut pipeline: Value = serde_json::from_str(&text).expect("JSON");
    let mut expected = BTreeMap::new();
    for step in pipeline["steps"].as_array_mut().expect("steps") {
        let key = step["key"].as_str().expect("a key").to_owned();
        if !["format", "protocol", "sdk"].contains(&key.as_str()) {
            step["cmd"] = json!("true");
        }
        expected.insert(key, 0);
    }
    let project = Project::new();
    project.write("p.json", &pipeline.to_string());
    let build = || {
        let mut command = project.hm(&["build", "--format", "json", "--file"]);
        command.arg(project.path().join("p.json")).arg("--dir").arg(repository());
        for name in [
            "HOME",
            "RUSTUP_HOME",
            "CARGO_HOME",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "CURL_CA_BUNDLE",
            "https_proxy",
        ] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        let output = command.output().expect("hm");
        let (text, told) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr).into_owned());
        let events: Vec<_> = text.lines().map(|l| serde_json::from_str(l).expect("an event")).collect();
        assert_eq!(json!(exits(&events)), json!(expected), "{text}\n{told}");
        (events, told)
    };
    let (_, told) = build();
    assert!(!told.contains("there is no such file"), "policies name what is there: {told}");
    let (events, _) = build();
    let again = events.iter().find(|e| matches!(e, BuildEvent::StepStart { .. }));
    assert!(again.is_none(), "nothing has changed since: {again:?}");
}
