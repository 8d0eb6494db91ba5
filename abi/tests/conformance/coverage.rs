//! That every rule of the ABI has a guest: the names of rules in `src/spec.md` and those that tests carry are the same.
//! That a guest shows what its rule says is for its reader to judge.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The names of rules in a text: `[chapter.words-in-lower-case]`.
fn names(text: &str) -> Vec<&str> {
    text.split('[')
        .skip(1)
        .filter_map(|rest| rest.split_once(']').map(|(name, _)| name))
        .filter(is_name)
        .collect()
}

fn is_name(text: &&str) -> bool {
    let word = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_lowercase())
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !part.ends_with('-')
    };
    text.split_once('.').is_some_and(|(chapter, rule)| word(chapter) && word(rule))
}

/// The names that open a text or a comment of a test, one or more.
fn marks(test: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in test.lines() {
        for opening in ["\"[", "/// ["] {
            for (at, _) in line.match_indices(opening) {
                let mut rest = &line[at + opening.len() - 1..];
                while let Some((name, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                    if !is_name(&name) {
                        break;
                    }
                    found.push(name);
                    rest = after.trim_start();
                }
            }
        }
    }
    found
}

/// Mismatches between a specification and named tests.
fn problems(spec: &str, tests: &[(String, String)]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut rules = BTreeSet::new();
    for name in names(spec) {
        if !rules.insert(name) {
            problems.push(format!("[{name}] is stated twice"));
        }
    }
    let mut shown = BTreeSet::new();
    for (file, test) in tests {
        for mark in marks(test) {
            if rules.contains(mark) {
                shown.insert(mark);
            } else {
                problems.push(format!("{file} shows [{mark}], which is no rule"));
            }
        }
    }
    problems.extend(rules.difference(&shown).map(|rule| format!("[{rule}] has no guest")));
    problems
}

#[test]
fn every_rule_has_a_guest() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let spec = std::fs::read_to_string(package.join("src/spec.md")).unwrap();
    let files =
        ["tests/conformance", "tests/http"].map(|folder| std::fs::read_dir(package.join(folder)).unwrap());
    let files = files.into_iter().flatten().map(|entry| entry.unwrap().path());
    // The names below are none of tests.
    let this = Path::new(file!()).file_name();
    let tests: Vec<_> = files
        .filter(|path: &PathBuf| path.extension().is_some_and(|end| end == "rs") && path.file_name() != this)
        .map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap()))
        .collect();
    assert!(tests.len() > 10 && names(&spec).len() > 100, "these are not the right files");
    let problems = problems(&spec, &tests);
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn what_is_missing_is_found() {
    let spec = "# A\n- [a.one] One. [a.two-words] *Strict:* two.\n| [b.u64] | `[i]`, [1.5], [A.b], [a-.b], [a.b c] |\n";
    let tests = |tests: &[&str]| -> Vec<_> {
        tests.iter().zip(["x.rs", "y.rs"]).map(|(text, file)| (file.to_owned(), (*text).to_owned())).collect()
    };
    let all =
        tests(&["case(\"[a.one] [b.u64] text\", &[(\"f\", \"[3]\")])", "    /// [a.two-words] Text.\n"]);
    assert_eq!(problems(spec, &all), [""; 0]);
    assert_eq!(problems(spec, &all[..1]), ["[a.two-words] has no guest"]);
    assert_eq!(problems("[a.one] [b.u64]", &all), ["y.rs shows [a.two-words], which is no rule"]);
    assert_eq!(
        problems(&spec.replace("[b.u64]", "[a.one]"), &all[1..]),
        ["[a.one] is stated twice", "[a.one] has no guest"]
    );
    // A name in the middle of something is no mark.
    let inside = tests(&["\"no [a.one]\" // [a.one]\nlet x = [a.one];", "//! [a.one]"]);
    assert_eq!(problems("[a.one]", &inside), ["[a.one] has no guest"]);
}
