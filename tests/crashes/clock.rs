//! A clock that goes wrong: what is older than now must not be taken for younger.

use std::process::Command;

use serde_json::json;

use crate::caching::{forever, kept};
use crate::support::{Project, ran, skipped, step};

/// `hm build` at another time, as the program sees it.
fn build_at(project: &Project, when: &str) -> (bool, String) {
    let hm = project.hm(&["build", "--format", "json"]);
    let mut command = Command::new("faketime");
    command
        .args(["-f", when])
        .arg(hm.get_program())
        .args(hm.get_args())
        .current_dir(project.path())
        .env_clear();
    command.envs(hm.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // What waits for a span of time is not to be troubled, and files have the times that they have.
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
    let ran = ran(command.output().expect("faketime starts")).expect_code(0);
    (ran.stdout.contains(r#""kind":"step_cache_hit""#), ran.stderr)
}

#[test]
fn a_clock_that_was_set_back_makes_no_result_younger() {
    if Command::new("faketime").arg("--version").output().is_err() {
        return skipped("faketime is not installed");
    }
    let ttl = json!({"policy": "ttl", "duration_seconds": 3600});
    let project = Project::with_steps(&json!([kept(step("k", "true"), ttl)])).alone();
    assert_eq!(build_at(&project, "+2h"), (false, String::new()));
    assert!(build_at(&project, "+2h").0, "at the same time it counts");
    assert!(!build_at(&project, "+0h").0, "two hours before it was made");
    assert!(build_at(&project, "+0h").0);
    assert!(build_at(&project, "+50m").0);
    assert!(!build_at(&project, "+70m").0, "too old");
    // What never becomes too old is none the less of a time that has not been yet.
    let project = Project::with_steps(&json!([forever(step("k", "true"))])).alone();
    assert!(!build_at(&project, "+2d").0);
    assert!(!build_at(&project, "-2d").0);
    assert!(build_at(&project, "+9000d").0);
}
