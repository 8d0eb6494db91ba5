//! `hm plugin attack`: the sandbox holds against everything that it attacks itself with, and says so.

use std::collections::BTreeSet;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Project, Running, wait_until};

#[test]
fn every_attack_is_held() {
    let ran = Project::new().run(&["plugin", "attack", "--json"]);
    let rows: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}")))
        .collect();
    for row in &rows {
        assert_eq!(row["held"], true, "{row:#}");
        assert_eq!(row["problems"], Value::Array(Vec::new()), "{row:#}");
        assert_eq!(row["expected"], row["got"], "{row:#}");
        let memory = row["memory_bytes"].as_u64().expect("a number");
        assert!(memory > 1 << 20, "a process that has had no memory: {row:#}");
    }
    let texts = |field: &str| -> BTreeSet<String> {
        rows.iter().filter_map(|row| Some(row[field].as_str()?.to_owned())).collect()
    };
    assert_eq!(texts("attack").len(), rows.len(), "names are there once");
    let classes = [
        "ends",
        "function names",
        "growth",
        "host calls",
        "http",
        "links",
        "log",
        "loops",
        "module bytes",
        "offsets and lengths",
        "stack",
        "wasi",
    ];
    assert_eq!(texts("class"), BTreeSet::from(classes.map(str::to_owned)));
    assert!(rows.len() > 100, "{} rows", rows.len());
    ran.expect_code(0);
}

#[test]
fn a_person_gets_a_table_that_fits() {
    let ran = Project::new().run(&["plugin", "attack", "state/spin", "bytes/text"]).expect_code(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{}", ran.stdout);
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{}", ran.stdout);
    assert!(lines[0].starts_with("attack ") && lines[0].ends_with(" memory"), "{}", ran.stdout);
    // In the order of the table, not of the arguments.
    assert!(
        lines[1].starts_with("state/spin                  guest, timed-o… guest, timed-o… "),
        "{}",
        ran.stdout
    );
    assert!(lines[1].ends_with("M ok"), "{}", ran.stdout);
    assert!(lines[2].starts_with("bytes/text                  load            load "), "{}", ran.stdout);
    assert_eq!(lines[3], "the sandbox has held: 2 of 2 attacks");
}

#[test]
fn an_unknown_attack_is_wrong_usage() {
    let ran = Project::new().run(&["plugin", "attack", "no-such"]).expect_code(2);
    let hint = "error: there is no attack `no-such`\nhint: the groups of attacks: ";
    assert!(ran.stderr.starts_with(hint), "{}", ran.stderr);
}

#[test]
fn ctrl_c_ends_it_and_the_attack_that_runs() {
    let project = Project::new();
    let mut command = project.hm(&["plugin", "attack", "blocks/error", "bytes/bomb"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut attack = Running::start(command);
    let children = format!("/proc/{0}/task/{0}/children", attack.0.id());
    let child = || std::fs::read_to_string(&children).unwrap_or_default().trim().to_owned();
    wait_until("an attack runs", || !child().is_empty());
    let child = child();
    attack.signal(Signal::INT);
    assert_eq!(attack.ended(), Some(130));
    wait_until("the attack is gone", || !std::path::Path::new(&format!("/proc/{child}")).exists());
}
