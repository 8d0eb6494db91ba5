//! A clock that goes wrong: what is older than now must not be taken for younger.

use serde_json::json;

use crate::caching::{forever, kept};
use crate::support::{Project, at_time, installed, ran, step};

/// `hm build` at another time, as the program sees it.
fn build_at(project: &Project, when: &str) -> (bool, String) {
    let hm = project.hm(&["build", "--format", "json"]);
    let ran = ran(at_time(when, &hm).output().expect("faketime starts")).expect_code(0);
    (ran.stdout.contains(r#""kind":"step_cache_hit""#), ran.stderr)
}

#[test]
fn a_clock_that_was_set_back_makes_no_result_younger() {
    if !installed(&["faketime"]) {
        return;
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
