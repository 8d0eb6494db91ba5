//! Checks of the tree itself: what CONTRIBUTING.md asks of every file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::repository;

/// The Rust files that git knows or would add.
fn rust_files() -> Vec<PathBuf> {
    let root = repository();
    let list = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(&root)
        .output();
    let list = list.expect("git");
    assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
    let files: Vec<_> = String::from_utf8(list.stdout)
        .expect("names")
        .lines()
        .map(|l| root.join(l))
        .filter(|p| p.is_file())
        .collect();
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
        // Only there for tests.
        if inside.ends_with("tests.rs") || inside.ends_with("lab.rs") {
            continue;
        }
        let module = inside
            .components()
            .next()
            .map(|c| c.as_os_str().to_string_lossy().into_owned())
            .unwrap_or_default();
        let Some((_, forbidden)) = below.iter().find(|(name, _)| *name == module) else { continue };
        let text = text(&path);
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for name in *forbidden {
            assert!(!text.contains(&format!("crate::{name}::")), "{} imports from {name}", path.display());
        }
        if !["cli", "sys"].contains(&module.as_str()) {
            for word in ["env::var", "env::vars", "println!(", "eprintln!("] {
                assert!(!text.contains(word), "{} uses {word}", path.display());
            }
        }
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
