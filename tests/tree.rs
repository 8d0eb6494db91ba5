//! Checks of the tree itself: what CONTRIBUTING.md asks of every file.

mod documents;
mod imports;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::repository;
use imports::{Sources, circles, imports, module_of};

/// Crates in which files are checked for circles of imports, with the largest circle allowed; 1 is none.
const CHECKED_FOR_CIRCLES: [(&str, usize); 14] = [
    ("abi/src", 1),
    ("disk/src", 1),
    ("docker/src", 1),
    ("fuzz/src", 1),
    ("host/src", 1),
    ("plugins/docker/src", 1),
    ("plugins/human/src", 1),
    ("plugins/local/src", 1),
    ("plugins/runner-args/src", 1),
    ("protocol/src", 1),
    ("sdk/src", 1),
    ("step-sandbox/src", 1),
    ("workspace/src", 1),
    ("xtask/src", 1),
];

/// True for files that are there for tests only.
fn is_for_tests(file: &Path) -> bool {
    file.ends_with("tests.rs") || file.ends_with("lab.rs")
}

/// Files that git knows or would add, of those that a pattern of git's names.
fn files(pattern: &str) -> Vec<PathBuf> {
    let root = repository();
    let list = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", pattern])
        .current_dir(&root)
        .output();
    let list = list.expect("git");
    assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
    String::from_utf8(list.stdout)
        .expect("names")
        .lines()
        .map(|l| root.join(l))
        .filter(|p| p.is_file())
        .collect()
}

/// The Rust files among them.
fn rust_files() -> Vec<PathBuf> {
    let files = files("*.rs");
    assert!(files.len() > 50, "{files:?}");
    files
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn every_file_says_what_it_is_for_and_fits_in_a_head() {
    for path in rust_files() {
        let text = text(&path);
        assert!(text.starts_with("//!"), "{} does not open by saying what it is for", path.display());
        assert!(text.lines().count() <= 600, "{} is longer than 600 lines", path.display());
    }
}

#[test]
fn imports_point_down() {
    // Each module of the host, with the modules that it must not know.
    let below: [(&str, &[&str]); 11] = [
        ("orchestrator", &["cli", "attack", "sys"]),
        ("plugin", &["cli", "attack", "orchestrator", "sys", "cache", "render"]),
        ("host_functions", &["cli", "attack", "orchestrator", "plugin", "pipeline", "cache"]),
        (
            "pipeline",
            &[
                "cli",
                "attack",
                "orchestrator",
                "plugin",
                "host_functions",
                "backend",
                "sys",
                "cache",
                "record",
            ],
        ),
        (
            "backend",
            &[
                "cli",
                "attack",
                "orchestrator",
                "plugin",
                "host_functions",
                "pipeline",
                "sys",
                "cache",
                "record",
            ],
        ),
        (
            "sys",
            &[
                "cli",
                "attack",
                "orchestrator",
                "plugin",
                "host_functions",
                "pipeline",
                "backend",
                "cache",
                "record",
            ],
        ),
        (
            "cache",
            &[
                "cli",
                "attack",
                "orchestrator",
                "plugin",
                "host_functions",
                "pipeline",
                "backend",
                "sys",
                "record",
            ],
        ),
        (
            "record",
            &["cli", "attack", "orchestrator", "plugin", "host_functions", "pipeline", "backend", "sys"],
        ),
        ("render", &["cli", "attack", "orchestrator", "plugin", "host_functions", "sys", "cache", "record"]),
        ("attack", &["cli", "orchestrator", "pipeline", "backend", "host_functions", "sys"]),
        ("cli", &[]),
    ];
    let host = repository().join("host/src");
    for path in rust_files() {
        let Ok(inside) = path.strip_prefix(&host) else { continue };
        if is_for_tests(inside) {
            continue;
        }
        let module = inside
            .components()
            .next()
            .map(|c| c.as_os_str().to_string_lossy().into_owned())
            .unwrap_or_default();
        let Some((_, forbidden)) = below.iter().find(|(name, _)| *name == module) else { continue };
        let text = text(&path);
        for import in imports(&text, &module_of(inside)) {
            let upwards = import.first().is_some_and(|name| forbidden.contains(&name.as_str()));
            assert!(!upwards, "{} imports {}", path.display(), import.join("::"));
        }
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        if !["cli", "sys"].contains(&module.as_str()) {
            for word in ["env::var", "env::vars", "println!(", "eprintln!("] {
                assert!(!text.contains(word), "{} uses {word}", path.display());
            }
        }
    }
}

#[test]
fn imports_run_in_no_circle() {
    let files = rust_files();
    for (folder, allowed) in CHECKED_FOR_CIRCLES {
        let root = repository().join(folder);
        let inside = files.iter().filter_map(|path| Some((path.strip_prefix(&root).ok()?, path)));
        let sources: Sources = inside
            .filter(|(file, _)| !is_for_tests(file))
            .map(|(file, path)| (module_of(file), text(path)))
            .collect();
        assert!(!sources.is_empty(), "{folder} has no Rust files");
        let circles = circles(&sources);
        assert!(circles.iter().all(|circle| circle.len() <= allowed), "{folder}: {circles:#?}");
    }
}

#[test]
fn unsafe_code_is_alone_in_small_files() {
    for path in rust_files() {
        let text = text(&path);
        let opens_a_block =
            text.lines().any(|l| !l.trim_start().starts_with("//") && l.contains(concat!("unsafe", " {")));
        if opens_a_block && !path.starts_with(repository().join("sdk")) {
            assert!(
                text.lines().count() < 60 && text.contains("SAFETY"),
                "{} has too much around its unsafe code",
                path.display()
            );
        }
    }
}
