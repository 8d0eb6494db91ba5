//! Pipelines from outside: the real emitter's output, rendered here and collected, and this repository's own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Project, exits, logs, repository, skipped};

const PIPELINE: &str = r#"
import harmont as hm

@hm.pipeline("ci")
def ci():
    base = hm.sh("echo base > base.txt", label="base")
    left = base.sh("cat base.txt && echo left > side.txt", label="left")
    right = base.sh("cat base.txt && test ! -e side.txt", label="right")
    return [left, right, hm.wait(), hm.sh("echo after", label="after")]
"#;

/// A Python with harmont 0.0.1, installed below the target directory. `cargo xtask test` sees to it.
fn harmont() -> Option<(PathBuf, PathBuf)> {
    let packages = PathBuf::from(std::env::var_os("HM_TEST_HARMONT")?);
    packages.join("harmont").is_dir().then(|| ("python3".into(), packages))
}

#[test]
fn what_harmont_renders_runs() {
    let Some((python, packages)) = harmont() else {
        skipped("HM_TEST_HARMONT names no folder with harmont 0.0.1 (cargo xtask test installs it with pip)");
        return;
    };
    let project = Project::new();
    project.write(".hm/pipelines.py", PIPELINE);
    let render =
        "import runpy, harmont; runpy.run_path('.hm/pipelines.py'); print(harmont.dump_registry_json())";
    let rendered = Command::new(python)
        .args(["-c", render])
        .env("PYTHONPATH", packages)
        .current_dir(project.path())
        .output()
        .expect("python");
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));

    let ran = project
        .run_with_input(&["build", "--format", "json", "--file", "-"], &rendered.stdout)
        .expect_code(0);
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
    let image = project.run(&["build", "--file", "p.json"]).expect_code(5);
    assert!(image.stderr.contains("step `apk` wants image `alpine:3.20`"), "{}", image.stderr);
    // `apk` is not a program of this machine, but `report` comes after a wait that continues.
    let ran =
        project.run(&["build", "--format", "json", "--file", "p.json", "--runner", "local"]).expect_code(1);
    let events: Vec<_> = ran.stdout.lines().map(|l| serde_json::from_str(l).expect("an event")).collect();
    assert_eq!(exits(&events).get("report"), Some(&0), "{:?}", exits(&events));
    let graph = {
        project.write("g.json", &data("graph_0.0.9.json").to_string());
        project.run(&["build", "--file", "g.json"]).expect_code(7)
    };
    assert!(graph.stderr.contains("`graph` form"), "{}", graph.stderr);
}

#[test]
fn hm_builds_hm() {
    let project = Project::new();
    let mut command = project.hm(&["build", "--format", "json", "--dir"]);
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
    let output = command.arg(repository()).output().expect("hm");
    let text = String::from_utf8(output.stdout).expect("text");
    let events: Vec<_> = text.lines().map(|l| serde_json::from_str(l).expect("an event")).collect();
    let expected = json!({"format": 0, "protocol": 0, "sdk": 0});
    assert_eq!(json!(exits(&events)), expected, "{text}\n{}", String::from_utf8_lossy(&output.stderr));
}
