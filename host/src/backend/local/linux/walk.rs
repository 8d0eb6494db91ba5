//! Which files of a project make up its snapshot: all that git would not ignore, and git's own directories whole,
//! since steps use git. What becomes of them is decided elsewhere.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use ignore::WalkBuilder;

use super::{SandboxError, manifest::Entry};

/// Lists the project, sorted, without what is at `except`; the project's own directory is not among the entries.
///
/// # Errors
/// The first directory that cannot be read, or ignore file that makes no sense to us.
pub(super) fn walk(project: &Path, except: &Path) -> Result<Vec<Entry>, SandboxError> {
    // Where there is a repository, ignore files count up to its top and no further; without one, those of the project.
    let in_repository = project.ancestors().any(|directory| directory.join(".git").exists());
    let except = except.to_owned();
    let walker = WalkBuilder::new(project)
        .hidden(false)
        .ignore(false)
        .git_global(false)
        .require_git(in_repository)
        .parents(in_repository)
        .filter_entry(move |entry| entry.file_name() != ".git" && entry.path() != except)
        .build();
    let mut entries = Vec::new();
    for found in walker {
        let found = match found {
            Ok(found) => found,
            Err(error) => match read_error(error, project) {
                Some(error) => return Err(error),
                None => continue,
            },
        };
        if found.depth() > 0 {
            add(project, found.path(), &mut entries)?;
        }
        if found.file_type().is_some_and(|kind| kind.is_dir()) {
            whole(project, found.path().join(".git"), &mut entries)?;
        }
    }
    entries.sort();
    Ok(entries)
}

/// None for a file that was deleted while we looked.
fn read_error(error: ignore::Error, project: &Path) -> Option<SandboxError> {
    let mut path = project.to_owned();
    let mut rest = &error;
    loop {
        rest = match rest {
            ignore::Error::WithPath { path: at, err } => {
                path.clone_from(at);
                err
            }
            ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => err,
            _ => break,
        };
    }
    let source = error.into_io_error().unwrap_or_else(|| io::ErrorKind::InvalidData.into());
    (source.kind() != io::ErrorKind::NotFound).then_some(SandboxError::Io { what: "read", path, source })
}

/// Adds a path, if there is something of the kinds that we take.
fn add(project: &Path, path: &Path, entries: &mut Vec<Entry>) -> Result<bool, SandboxError> {
    let about = match fs::symlink_metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(SandboxError::io("read", path)(error)),
    };
    entries.extend(path.strip_prefix(project).ok().and_then(|path| Entry::new(path, &about)));
    Ok(about.is_dir())
}

/// Adds a path with all that is below.
fn whole(project: &Path, path: PathBuf, entries: &mut Vec<Entry>) -> Result<(), SandboxError> {
    let mut open = vec![path];
    while let Some(path) = open.pop() {
        if add(project, &path, entries)? {
            for entry in fs::read_dir(&path).map_err(SandboxError::io("read", &path))? {
                open.push(entry.map_err(SandboxError::io("read", &path))?.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(project: &Path) -> Vec<String> {
        walk(project, Path::new("/nowhere"))
            .unwrap()
            .into_iter()
            .map(|entry| entry.path.display().to_string())
            .collect()
    }

    fn fill(project: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = project.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn ignored_files_stay_out_and_git_and_hidden_directories_come() {
        let scratch = tempfile::tempdir().unwrap();
        fill(
            scratch.path(),
            &[
                (".gitignore", "target/\n*.log\nHEAD\n"),
                (".git/HEAD", "ref: refs/heads/main"),
                (".git/logs/a.log", ""),
                (".hm/ci.py", ""),
                (".ignore", "kept\n"),
                ("kept", ""),
                ("a.log", ""),
                ("sub/.gitignore", "!b.log\n/only-here\n"),
                ("sub/b.log", ""),
                ("sub/only-here", ""),
                ("only-here", ""),
                ("target/debug/x", ""),
            ],
        );
        let expected = [
            ".git",
            ".git/HEAD",
            ".git/logs",
            ".git/logs/a.log",
            ".gitignore",
            ".hm",
            ".hm/ci.py",
            ".ignore",
            "kept",
            "only-here",
            "sub",
            "sub/.gitignore",
            "sub/b.log",
        ];
        assert_eq!(listing(scratch.path()), expected);
    }

    #[test]
    fn ignore_files_count_up_to_the_top_of_the_repository() {
        let scratch = tempfile::tempdir().unwrap();
        fill(
            scratch.path(),
            &[
                (".gitignore", "*.txt\n"),
                ("repo/.git/HEAD", ""),
                ("repo/.gitignore", "*.log\n"),
                ("repo/sub/a.log", ""),
            ],
        );
        fill(scratch.path(), &[("repo/sub/b.txt", ""), ("bare/b.txt", "")]);
        assert_eq!(listing(&scratch.path().join("repo/sub")), ["b.txt"]);
        assert_eq!(listing(&scratch.path().join("bare")), ["b.txt"]);
    }
}
