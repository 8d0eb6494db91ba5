//! Runs the fuzz targets' checks over their checked-in corpora, so that a crash once found stays fixed.

use std::fs;
use std::io::Read;

use flate2::read::GzDecoder;

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

/// The names and contents of the inputs of a target: the seeds, a file each, and those that the fuzzer has generated,
/// in an archive.
fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let corpora = repository().join("fuzz/corpus");
    let seeds = fs::read_dir(corpora.join(target)).expect("the seeds").map(|entry| {
        let path = entry.expect("an entry").path();
        (path.display().to_string(), fs::read(path).expect("a seed"))
    });
    let mut inputs: Vec<_> = seeds.collect();
    let archive = corpora.join(format!("{target}.tar.gz"));
    let file = fs::File::open(&archive).expect("the archive");
    for entry in tar::Archive::new(GzDecoder::new(file)).entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let name = format!("{}: {}", archive.display(), entry.path().expect("a name").display());
        let mut input = Vec::new();
        entry.read_to_end(&mut input).expect("an input");
        inputs.push((name, input));
    }
    inputs
}

#[test]
fn all_inputs_of_all_targets() {
    for (target, check) in TARGETS {
        let inputs = inputs(target);
        for (name, input) in &inputs {
            println!("{name}");
            check(input);
        }
        let bytes: usize = inputs.iter().map(|(_, input)| input.len()).sum();
        let small = (1..=MAX_INPUTS).contains(&inputs.len()) && bytes <= MAX_BYTES;
        assert!(small, "{target} has {} inputs of {bytes} bytes", inputs.len());
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
