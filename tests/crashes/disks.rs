//! Disks that are full or cannot be written to: the build goes on or says in one line why it cannot, and nothing wrong
//! is kept.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde_json::json;

use crate::caching::{Built, forever};
use crate::support::{Mounted, Project, child, exits, logs, step};

/// Takes all room of a disk but this many bytes, which are rounded up to pages.
fn leave(filler: &Path, bytes: u64) {
    let _ = fs::remove_file(filler);
    let mut file = File::create(filler).expect("a file");
    let chunk = [0; 4096];
    while file.write_all(&chunk).is_ok() {}
    let length = file.metadata().expect("a length").len();
    file.set_len(length.saturating_sub(bytes)).expect("room");
}

fn project() -> Project {
    let project = Project::with_steps(&json!([
        forever(step(
            "a",
            "set -e; cat in > a; seq 2000; head -c 60000 /dev/zero | tr '\\0' a >> a; echo end a"
        )),
        forever(child("b", "a", "set -e; cat a in > b; seq 2000 >&2; echo end b")),
        child("c", "b", "cut -c 1-3 b; wc -c < b; echo end c"),
    ]))
    .alone();
    project.write("in", "0\n");
    project
}

/// Lines that step `c` prints when this is in `in`.
fn last_words(content: &str) -> Vec<String> {
    // As far as a line is shown.
    let shown = &content[..content.len().min(3)];
    [shown, "aaa", &(2 * content.len() + 2 + 60_000).to_string(), "end c"].map(str::to_owned).to_vec()
}

/// The lines of an error or warning that are not continued from the one before.
fn told(stderr: &str) -> Vec<&str> {
    stderr.lines().filter(|line| line.starts_with("error: ") || line.starts_with("warning: ")).collect()
}

#[test]
fn without_room_a_build_passes_or_says_so_and_keeps_nothing_wrong() {
    let project = project();
    let Some(_mounted) = Mounted::in_memory(&project.cache(), "128m") else { return };
    let filler = project.cache().join("filler");
    Built::of(&project, &[]).expect("", "a b c");
    let (mut passed, mut failed) = (0, 0);
    for (round, kib) in [0, 4, 16, 48, 64, 96, 128, 160, 192, 224, 256, 320, 512].into_iter().enumerate() {
        let content = (round + 1).to_string();
        project.write("in", &format!("{content}\n"));
        leave(&filler, kib * 1024);
        // Not what the round before has kept, but what this one makes.
        let built = Built::of(&project, &["--env", &format!("ROUND={round}")]);
        let stderr = &built.ran.stderr;
        match built.ran.code {
            Some(0) => {
                passed += 1;
                assert_eq!(logs(&built.events)["c"], last_words(&content));
                assert!(told(stderr).len() <= 1, "{kib} KiB: {stderr}");
            }
            // A step has no room for its own files.
            Some(1) => {
                failed += 1;
                assert!(exits(&built.events).values().any(|code| *code != 0), "{kib} KiB: {stderr}");
            }
            code => {
                failed += 1;
                assert!(matches!(code, Some(2 | 4 | 6)), "{kib} KiB: {code:?} {stderr}");
                assert!(told(stderr).len() <= 1, "{kib} KiB: {stderr}");
                let full = "No space left on device";
                assert!(stderr.contains(full) || built.ran.stdout.contains(full), "{kib} KiB: {stderr}");
            }
        }
        fs::remove_file(&filler).expect("gone");
        let built = Built::of(&project, &["--env", &format!("ROUND={round}")]);
        assert_eq!((built.ran.code, &*built.ran.stderr), (Some(0), ""), "{kib} KiB");
        assert_eq!(logs(&built.events)["c"], last_words(&content), "{kib} KiB");
        assert_eq!(logs(&built.events)["a"].len(), 2001, "{kib} KiB");
        assert_eq!(logs(&built.events)["b"].len(), 2001, "{kib} KiB");
        Built::of(&project, &["--env", &format!("ROUND={round}")]).expect("a b", "c");
    }
    assert!(passed > 0 && failed > 0, "the sizes are no good: {passed} passed, {failed} failed");
}

#[test]
fn a_cache_that_cannot_be_written_is_told_in_one_line() {
    let project = project();
    Built::of(&project, &[]).expect("", "a b c");
    {
        let Some(_mounted) = Mounted::for_reading(&project.cache()) else { return };
        let built = Built::of(&project, &[]);
        assert_eq!((built.ran.code, &*built.ran.stdout), (Some(2), ""), "{}", built.ran.stderr);
        assert_eq!(told(&built.ran.stderr).len(), 1, "{}", built.ran.stderr);
        assert!(built.ran.stderr.contains("Read-only file system"), "{}", built.ran.stderr);
    }
    Built::of(&project, &[]).expect("a b", "c");
    // Results and layers can be read, and no more can be made.
    for place in ["results", "kept"] {
        let Some(_mounted) = Mounted::for_reading(&project.cache().join(place)) else { return };
        let built = Built::of(&project, &[]).expect("a b", "c");
        assert!(told(&built.ran.stderr).len() <= 1, "{place}: {}", built.ran.stderr);
        project.write("in", &format!("{place}\n"));
        let built = Built::of(&project, &["--env", &format!("PLACE={place}")]).expect("", "a b c");
        assert_eq!(logs(&built.events)["c"], last_words(place));
        assert_eq!(told(&built.ran.stderr).len(), 1, "{place}: {}", built.ran.stderr);
        project.write("in", "0\n");
    }
    let built = Built::of(&project, &["--env", "PLACE=kept"]).expect("", "a b c");
    assert_eq!((logs(&built.events)["c"].clone(), &*built.ran.stderr), (last_words("0"), ""));
}

#[test]
fn without_a_record_a_build_goes_on() {
    let project = project();
    Built::of(&project, &[]).expect("", "a b c");
    let state = project.state();
    {
        let Some(_mounted) = Mounted::for_reading(&state) else { return };
        let built = Built::of(&project, &[]);
        assert_eq!((built.ran.code, logs(&built.events)["c"].clone()), (Some(0), last_words("0")));
        assert_eq!(told(&built.ran.stderr).len(), 1, "{}", built.ran.stderr);
    }
    let Some(_mounted) = Mounted::in_memory(&state, "16m") else { return };
    for (round, kib) in [0, 4, 16, 28, 36, 64, 128].into_iter().enumerate() {
        leave(&state.join("filler"), kib * 1024);
        let round = format!("ROUND={round}");
        let built = Built::of(&project, &["--env", &round]);
        assert_eq!((built.ran.code, logs(&built.events)["c"].clone()), (Some(0), last_words("0")), "{kib}");
        assert_eq!(told(&built.ran.stderr).len(), 1, "{kib} KiB: {}", built.ran.stderr);
        // What is kept without a log would be wrong.
        fs::remove_file(state.join("filler")).expect("gone");
        let built = Built::of(&project, &["--env", &round]);
        assert_eq!((built.ran.code, &*built.ran.stderr), (Some(0), ""));
        assert_eq!(
            (logs(&built.events)["a"].len(), logs(&built.events)["b"].len()),
            (2001, 2001),
            "{kib} KiB"
        );
    }
}
