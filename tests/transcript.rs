//! Snapshots of what `hm` tells a person: runs one after the other, with everything that they said, in one file of
//! `tests/snapshots`. What differs from run to run or from machine to machine is replaced by a word in brackets.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::support::{Project, Ran, repository};

/// Parts that differ from run to run, wherever they stand.
const FILTERS: &[(&str, &str)] = &[
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "[uuid]"),
    (r"\b[0-9a-f]{64}\b", "[sha256]"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*", "[time]"),
    // How long something took, and how long ago it was.
    (r"(\(|\bin )\d[0-9.]*(ms|s|m)( \d+s)?", "$1[duration]"),
    (r" *\b\d+ (s|min|h)\b", " [duration]"),
];

/// Runs of `hm`, and what each said.
#[derive(Default)]
pub(crate) struct Transcript(String);

impl Transcript {
    /// Runs `hm` in a project, and takes down what it says, under a word about what is shown by it.
    pub(crate) fn run(&mut self, about: &str, project: &Project, args: &[&str]) -> Ran {
        let ran = project.run(args);
        self.add(about, project, args, &ran);
        ran
    }

    /// Takes down what a run has said.
    pub(crate) fn add(&mut self, about: &str, project: &Project, args: &[&str], ran: &Ran) {
        let text = &mut self.0;
        let _ = writeln!(text, "# {about}\n$ hm {}", args.join(" ").replace('\n', "\\n"));
        text.push_str(&ran.stdout);
        if !ran.stderr.is_empty() {
            let _ = write!(text, "[stderr]\n{}", ran.stderr);
        }
        if ran.code != Some(0) {
            let code = ran.code.map_or_else(|| "none".to_owned(), |code| code.to_string());
            let _ = writeln!(text, "[exit code {code}]");
        }
        text.push('\n');
        // A path within another one stands first.
        for (path, word) in [
            (project.path(), "[project]"),
            (project.home(), "[home]"),
            (project.config(), "[config]"),
            (project.cache(), "[cache]"),
            (project.state(), "[state]"),
        ] {
            *text = text.replace(&*path.to_string_lossy(), word);
        }
    }

    /// Compares everything with the snapshot of this name.
    #[track_caller]
    pub(crate) fn expect(self, name: &str) {
        let mut settings = insta::Settings::new();
        settings.set_snapshot_path("snapshots");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.set_filters(FILTERS.to_vec());
        // Of `hm` and of the plugins that are built in; with the blanks after it, which fill a column.
        let version = env!("CARGO_PKG_VERSION").replace('.', r"\.");
        settings.add_filter(&format!("{version} +"), "[version] ");
        settings.add_filter(&version, "[version]");
        settings.bind(|| insta::assert_snapshot!(name, self.0));
    }
}

/// All text of the tests in a directory.
fn text_of(folder: &Path) -> String {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut text = String::new();
    for path in entries {
        if path.is_dir() {
            text += &text_of(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &fs::read_to_string(path).expect("text");
        }
    }
    text
}

#[test]
fn every_snapshot_is_of_a_test() {
    let tests = repository().join("tests");
    let entries = fs::read_dir(tests.join("snapshots")).expect("snapshots");
    let names: BTreeSet<String> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .filter(|name| !name.ends_with(".snap.new"))
        .collect();
    let text = text_of(&tests);
    for name in names {
        let stem = name.strip_suffix(".snap").unwrap_or_else(|| panic!("{name} is no snapshot"));
        assert!(text.contains(&format!(".expect(\"{stem}\")")), "no test has the snapshot {name}: delete it");
    }
}
