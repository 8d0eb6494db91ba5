//! Runs the fuzz targets' checks over their checked-in corpora, so that a crash once found stays fixed.

use std::fs;

use crate::support::repository;

#[allow(unreachable_pub, reason = "it is a library for the fuzz targets")]
#[path = "../fuzz/src/lib.rs"]
mod checks;

fn corpus(target: &str, check: fn(&[u8])) {
    let folder = repository().join("fuzz/corpus").join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(&folder).expect("a corpus") {
        check(&fs::read(entry.expect("an entry").path()).expect("an input"));
        inputs += 1;
    }
    assert!(inputs > 0, "{} is empty", folder.display());
}

#[test]
fn pipelines() {
    corpus("pipeline", checks::pipeline);
}
