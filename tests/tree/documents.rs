//! Checks of the documents: links lead somewhere, files that are named exist, lines fit, and each dependency has its
//! reason. Whether what they say is true is for people to see.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{files, text};
use crate::support::repository;

/// Columns of a document's widest line.
const WIDTH: usize = 120;

/// Workspaces that no default build includes. They depend on what they compare with, or on what their authors would
/// use.
const APART: [&str; 2] = ["fuzz/differential", "tests/guests"];

/// Documents for people: those at the top and in `docs`, and the read-mes of the crates.
fn documents() -> Vec<PathBuf> {
    let root = repository();
    let is_document = |path: &PathBuf| {
        let Some(directory) = path.strip_prefix(&root).ok().and_then(Path::parent) else { return false };
        let is_readme = path.ends_with("README.md") && directory.components().count() == 1;
        directory == Path::new("") || directory == Path::new("docs") || is_readme
    };
    let documents: Vec<_> = files("*.md").into_iter().filter(is_document).collect();
    assert!(documents.len() > 15, "{documents:?}");
    documents
}

/// Lines outside of fenced blocks, with their numbers. Blocks show what programs read and print, as it is.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut is_fenced = false;
    let mut prose = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if !is_fenced {
            prose.push((number, line));
        }
    }
    prose
}

/// Targets of the links in a line.
fn links(line: &str) -> Vec<&str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target).collect()
}

/// Texts between backticks in a line.
fn code(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

/// Name of a heading in links, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter(|letter| letter.is_alphanumeric() || "-_ ".contains(*letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

#[test]
fn lines_of_documents_fit() {
    for path in documents() {
        let text = text(&path);
        for (number, line) in prose(&text) {
            // Neither a row of a table nor an address can be broken.
            let is_whole = line.trim_start().starts_with('|') || line.contains("://");
            let fits = is_whole || line.chars().count() <= WIDTH;
            assert!(fits, "{}:{number} has more than {WIDTH} columns", path.display());
        }
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    for path in documents() {
        let text = text(&path);
        for (number, line) in prose(&text) {
            for link in links(line).into_iter().filter(|link| !link.contains("://")) {
                let (file, heading) = link.split_once('#').unwrap_or((link, ""));
                let target = if file.is_empty() { path.clone() } else { path.with_file_name(file) };
                assert!(target.exists(), "{}:{number}: there is no {link}", path.display());
                assert!(
                    heading.is_empty() || headings(&target).contains(heading),
                    "{}:{number}: there is no heading {link}",
                    path.display()
                );
            }
        }
    }
}

/// Headings of a document, as links name them.
fn headings(path: &Path) -> BTreeSet<String> {
    let text = text(path);
    prose(&text).into_iter().filter(|(_, line)| line.starts_with('#')).map(|(_, line)| anchor(line)).collect()
}

#[test]
fn files_that_documents_name_exist() {
    let root = repository();
    let known: Vec<PathBuf> =
        files(".").iter().filter_map(|path| Some(path.strip_prefix(&root).ok()?.to_owned())).collect();
    let tops: BTreeSet<&OsStr> = known.iter().filter_map(|path| path.iter().next()).collect();
    for path in documents() {
        let text = text(&path);
        for (number, line) in prose(&text) {
            for name in code(line).into_iter().filter(|name| is_path(name, &tops)) {
                let exists = known.iter().any(|file| file.starts_with(name) || file.ends_with(name));
                assert!(exists, "{}:{number}: there is no `{name}` in the tree", path.display());
            }
        }
    }
}

/// True for a path in this tree, which has these names at its top, or for the end of one. Paths of a user's project, of
/// what a build makes, and with a placeholder in them are none.
fn is_path(text: &str, tops: &BTreeSet<&OsStr>) -> bool {
    let is_name = text.chars().all(|letter| letter.is_ascii_alphanumeric() || "/._-".contains(letter));
    let is_inside = text.contains('/') && Path::new(text).iter().next().is_some_and(|top| tops.contains(top));
    let is_placeholder = |part: &str| part.chars().all(|letter| letter.is_ascii_uppercase());
    let is_elsewhere = |part: &str| ["target", ".hm"].contains(&part);
    is_name
        && (is_inside || text.ends_with(".rs"))
        && !text.trim_end_matches('/').split('/').any(|part| is_placeholder(part) || is_elsewhere(part))
}

#[test]
fn every_dependency_has_its_reason() {
    let root = repository();
    let mut used = BTreeSet::new();
    for path in files("*Cargo.toml") {
        if !APART.iter().any(|apart| path.starts_with(root.join(apart))) {
            used.extend(dependencies(&text(&path)));
        }
    }
    assert!(used.len() > 40, "{used:?}");
    let architecture = text(&root.join("ARCHITECTURE.md"));
    let rows = architecture.lines().skip_while(|line| *line != "## Dependencies");
    let rows = rows.filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let reasons: BTreeSet<String> = rows
        .flat_map(|row| code(&format!("`{row}")).into_iter().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let without: Vec<_> = used.difference(&reasons).collect();
    assert!(without.is_empty(), "ARCHITECTURE.md has no reason for {without:?}");
    let gone: Vec<_> = reasons.difference(&used).collect();
    assert!(gone.is_empty(), "ARCHITECTURE.md has reasons for {gone:?}, which nothing uses");
}

/// Crates of others that a `Cargo.toml` names.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut is_list = false;
    let mut found = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_list = line.ends_with("dependencies]");
        } else if is_list && !line.starts_with('#') && !line.contains("path =") && !line.contains("package =")
        {
            let name = line.split([' ', '=', '.']).next().unwrap_or_default();
            if !name.is_empty() && !name.starts_with("hm-") {
                found.push(name.to_owned());
            }
        }
    }
    found
}

#[test]
fn documents_are_read_as_they_are_meant() {
    let text = "# A `b`, c\n[x](y.md#z) and [v](w)\n```text\n[n](o)\n```\n`one` two `three`";
    assert_eq!(prose(text).iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 6]);
    assert_eq!(anchor("# A `b`, c"), "a-b-c");
    assert_eq!(links("[x](y.md#z) and [v](w)"), ["y.md#z", "w"]);
    assert_eq!(code("`one` two `three`"), ["one", "three"]);
    let manifest =
        "[package]\nname = \"x\"\n[dev-dependencies]\n# no\na = \"1\"\nb.workspace = true\nhm-c = 1\n";
    assert_eq!(dependencies(manifest), ["a", "b"]);
    let tops = ["host", "docs", ".hm"].map(OsStr::new).into();
    for text in ["hm build", "docs", "src/main.c", ".hm/ci.json", "host/target/x", "docs/NAME", "/"] {
        assert!(!is_path(text, &tops), "{text}");
    }
    for text in ["x.rs", "a/b.rs", "host/src/", "docs/x.md"] {
        assert!(is_path(text, &tops), "{text}");
    }
}
