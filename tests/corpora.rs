//! Runs the fuzz targets' checks over their checked-in corpora, so that a crash once found stays fixed.

use std::fs;

use crate::support::repository;

#[allow(unreachable_pub, reason = "it is a library for the fuzz targets")]
#[path = "../fuzz/src/lib.rs"]
mod checks;

type Check = fn(&[u8]);

/// Each target with its check.
const TARGETS: &[(&str, Check)] = &[
    ("allowed_hosts", checks::allowed_hosts),
    ("args_schema", checks::args_schema),
    ("engine_tar", checks::engine_tar),
    ("event", checks::event),
    ("guest", checks::guest),
    ("host_calls", checks::host_calls),
    ("http_request", checks::http_request),
    ("manifest", checks::manifest),
    ("pipeline", checks::pipeline),
    ("terminal", checks::terminal),
];

/// So that a checkout stays small, and this test short.
const MAX_INPUTS: usize = 300;
const MAX_BYTES: usize = 1024 * 1024;

#[test]
fn all_inputs_of_all_targets() {
    for (target, check) in TARGETS {
        let folder = repository().join("fuzz/corpus").join(target);
        let (mut inputs, mut bytes) = (0, 0);
        for entry in fs::read_dir(&folder).expect("a corpus") {
            let path = entry.expect("an entry").path();
            let input = fs::read(&path).expect("an input");
            println!("{}", path.display());
            check(&input);
            (inputs, bytes) = (inputs + 1, bytes + input.len());
        }
        let small = (1..=MAX_INPUTS).contains(&inputs) && bytes <= MAX_BYTES;
        assert!(small, "{} has {inputs} inputs of {bytes} bytes", folder.display());
    }
}

#[test]
fn every_target_has_a_check_here() {
    let folder = repository().join("fuzz/fuzz_targets");
    let mut targets: Vec<String> = fs::read_dir(folder)
        .expect("the targets")
        .map(|entry| {
            entry.expect("an entry").path().file_stem().expect("a name").to_string_lossy().into_owned()
        })
        .collect();
    targets.sort();
    let checked: Vec<&str> = TARGETS.iter().map(|(target, _)| *target).collect();
    assert_eq!(targets, checked);
}
