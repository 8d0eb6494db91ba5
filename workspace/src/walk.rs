//! Files of a project that make up its snapshot: all that git would not ignore, and git's own directories whole,
//! since steps use git, but for what `.hmignore` names. What becomes of them is decided elsewhere.

use std::{
    collections::{BTreeSet, HashSet},
    fs::{self, Metadata},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use ignore::WalkBuilder;

use crate::{WorkspaceError, git_index, hmignore::HmIgnore, stat_manifest::Entry};

/// Bytes in a file that says what git ignores, at the most.
const IGNORE_MAX: u64 = 1 << 20;

/// Bytes in a file of [`public`], at the most.
const PUBLIC_MAX: u64 = 32 << 20;

/// Lists the project, sorted, without what is at `except`; the project's own directory is not among the entries.
///
/// # Errors
/// The first directory that cannot be read, or ignore file that makes no sense to us.
pub(crate) fn walk(project: &Path, except: &Path) -> Result<Vec<Entry>, WorkspaceError> {
    // Where there is a repository, ignore files count up to its top and no further; without one, those of the project.
    let top = project.ancestors().find(|directory| directory.join(".git").exists());
    let in_repository = top.is_some();
    for directory in project.ancestors() {
        check_ignore_files(directory)?;
        if top.is_none_or(|top| top == directory) {
            break;
        }
    }
    let refused = Arc::new(OnceLock::new());
    let refuse = Arc::clone(&refused);
    let skipped = except.to_owned();
    let ours = Arc::new(HmIgnore::new(project));
    let ignore = Arc::clone(&ours);
    // Git's rules, without those of other tools (`.ignore`) and of one user (the global file).
    let walker = WalkBuilder::new(project)
        .hidden(false)
        .ignore(false)
        .git_global(false)
        .require_git(in_repository)
        .parents(in_repository)
        .filter_entry(move |entry| {
            // `.git` comes below, whole, whatever git's ignore files say of what is in it.
            if entry.file_name() == ".git" || entry.path() == skipped {
                return false;
            }
            let is_directory = entry.file_type().is_some_and(|kind| kind.is_dir());
            let wanted = ignore.names(entry.path(), is_directory).and_then(|left_out| {
                // Before the walker reads them, which it does next.
                if is_directory && !left_out {
                    check_ignore_files(entry.path())?;
                }
                Ok(!left_out)
            });
            wanted.unwrap_or_else(|error| {
                // The first is the one to tell of.
                let _ = refuse.set(error);
                false
            })
        })
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
            let git = found.path().join(".git");
            if !ours.names(&git, git.is_dir())? {
                whole(project, git, &mut entries)?;
            }
        }
    }
    // The walker and what it holds have gone by now.
    if let Some(error) = Arc::into_inner(refused).and_then(OnceLock::into_inner) {
        return Err(error);
    }
    if let Some(top) = top {
        add_tracked(project, top, except, &ours, &mut entries)?;
    }
    entries.sort();
    Ok(entries)
}

/// Adds what git tracks although an ignore file names it: git's own rule is that such files are not ignored.
fn add_tracked(
    project: &Path,
    top: &Path,
    except: &Path,
    ours: &HmIgnore,
    entries: &mut Vec<Entry>,
) -> Result<(), WorkspaceError> {
    let known: HashSet<&Path> = entries.iter().map(|entry| entry.path.as_path()).collect();
    let mut missing = BTreeSet::new();
    for path in git_index::tracked(top) {
        let path = top.join(path);
        let Ok(inside) = path.strip_prefix(project) else { continue };
        if known.contains(inside) || path.starts_with(except) || ours.excludes(&path)? {
            continue;
        }
        // What was a directory when it was tracked may be a link by now, and lead anywhere.
        let is_directory = |part: &Path| fs::symlink_metadata(part).is_ok_and(|about| about.is_dir());
        if path.ancestors().skip(1).take_while(|part| *part != project).all(is_directory) {
            let parts = inside.ancestors().take_while(|part| !part.as_os_str().is_empty());
            missing.extend(parts.filter(|part| !known.contains(part)).map(Path::to_owned));
        }
    }
    for path in missing {
        add(project, &project.join(path), entries)?;
    }
    Ok(())
}

/// Checks that the walker may read what says which files of a directory git ignores: no pipe, which would hang it, and
/// nothing that never ends.
fn check_ignore_files(directory: &Path) -> Result<(), WorkspaceError> {
    for name in [".gitignore", ".git/info/exclude"] {
        let path = directory.join(name);
        // Missing or in a place that is closed to us: so it is for the walker.
        let Ok(about) = fs::metadata(&path) else { continue };
        // Reading a directory fails at once.
        if !about.is_dir() && (!about.is_file() || about.len() > IGNORE_MAX) {
            return Err(WorkspaceError::IgnoreFile(path));
        }
    }
    Ok(())
}

/// Lists what everybody may read in a directory, sorted, without files that are too large to be anybody's settings.
pub(crate) fn public(directory: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let (path, Ok(about)) = (entry.path(), entry.metadata()) else { continue };
            let readable = about.is_symlink()
                || is_public(&about) && rustix::fs::access(&path, rustix::fs::Access::READ_OK).is_ok();
            if readable {
                entries.extend(path.strip_prefix(directory).ok().and_then(|path| Entry::new(path, &about)));
                if about.is_dir() {
                    open.push(path);
                }
            }
        }
    }
    entries.sort();
    entries
}

/// True if everybody may read a file or directory, and it is not too large to be anybody's settings.
pub fn is_public(about: &Metadata) -> bool {
    let needed = if about.is_dir() { 0o005 } else { 0o004 };
    about.permissions().mode() & needed == needed && (about.is_dir() || about.len() <= PUBLIC_MAX)
}

/// None for a file that was deleted while we looked.
fn read_error(error: ignore::Error, project: &Path) -> Option<WorkspaceError> {
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
    (source.kind() != io::ErrorKind::NotFound).then(|| WorkspaceError::io("read", path)(source))
}

/// Adds a path, if there is something of the kinds that we take.
fn add(project: &Path, path: &Path, entries: &mut Vec<Entry>) -> Result<bool, WorkspaceError> {
    let about = match fs::symlink_metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(WorkspaceError::io("read", path)(error)),
    };
    entries.extend(path.strip_prefix(project).ok().and_then(|path| Entry::new(path, &about)));
    Ok(about.is_dir())
}

/// Adds a path with all that is below.
fn whole(project: &Path, path: PathBuf, entries: &mut Vec<Entry>) -> Result<(), WorkspaceError> {
    let mut open = vec![path];
    while let Some(path) = open.pop() {
        if add(project, &path, entries)? {
            for entry in fs::read_dir(&path).map_err(WorkspaceError::io("read", &path))? {
                open.push(entry.map_err(WorkspaceError::io("read", &path))?.path());
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

    /// True if git did it.
    fn git(project: &Path, arguments: &[&str]) -> bool {
        let ran = std::process::Command::new("git").args(arguments).current_dir(project).output();
        ran.is_ok_and(|ran| ran.status.success())
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
    fn what_hmignore_names_stays_out_although_git_tracks_it() {
        let scratch = tempfile::tempdir().unwrap();
        fill(
            scratch.path(),
            &[
                (".gitignore", "*.log\n"),
                (".hmignore", "*.key\n/.git\nlarge/\n!a.log\n"),
                ("a.key", ""),
                ("a.log", ""),
                ("large/file", ""),
                ("sub/.hmignore", "!public.key\nb\n"),
                ("sub/b", ""),
                ("sub/public.key", ""),
                ("sub/secret.key", ""),
            ],
        );
        let expected = [".gitignore", ".hmignore", "sub", "sub/.hmignore", "sub/public.key"];
        assert_eq!(listing(scratch.path()), expected);
        if !hm_test_lab::installed(&["git"]) {
            return;
        }
        assert!(git(scratch.path(), &["init", "--quiet"]));
        assert!(git(scratch.path(), &["add", "--force", "."]));
        let with_tracked = [".gitignore", ".hmignore", "a.log", "sub", "sub/.hmignore", "sub/public.key"];
        assert_eq!(listing(scratch.path()), with_tracked);
    }

    #[test]
    fn what_git_tracks_comes_although_it_is_ignored() {
        let scratch = tempfile::tempdir().unwrap();
        let files = [
            (".gitignore", "*.log\nout/\n"),
            ("a.log", ""),
            ("b.log", ""),
            ("sub/out/c", ""),
            ("sub/out/d", ""),
        ];
        fill(scratch.path(), &files);
        if !hm_test_lab::installed(&["git"]) {
            return;
        }
        assert!(git(scratch.path(), &["init", "--quiet"]));
        assert!(git(scratch.path(), &["add", "--force", "a.log", "sub/out/c"]));
        let without_git = |project: &Path| -> Vec<String> {
            listing(project).into_iter().filter(|path| !path.starts_with(".git/") && path != ".git").collect()
        };
        assert_eq!(without_git(scratch.path()), [".gitignore", "a.log", "sub", "sub/out", "sub/out/c"]);
        assert_eq!(without_git(&scratch.path().join("sub")), ["out", "out/c"]);
        // The directory became a link to something that is none of git's business.
        fs::rename(scratch.path().join("sub/out"), scratch.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("../elsewhere", scratch.path().join("sub/out")).unwrap();
        let links = without_git(scratch.path());
        assert!(!links.contains(&"sub/out/c".to_owned()), "{links:?}");
    }

    #[test]
    fn what_is_no_ignore_file_is_named_and_not_read() {
        for file in [".gitignore", "sub/.gitignore", ".git/info/exclude", "sub/.git/info/exclude"] {
            let scratch = tempfile::tempdir().unwrap();
            fill(scratch.path(), &[(".git/HEAD", ""), ("sub/file", "")]);
            let path = scratch.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let refused = || {
                let error = walk(&scratch.path().join("sub"), Path::new("/nowhere"))
                    .and_then(|_| walk(scratch.path(), Path::new("/nowhere")));
                assert!(
                    matches!(&error, Err(WorkspaceError::IgnoreFile(at)) if *at == path),
                    "{file}: {error:?}"
                );
                fs::remove_file(&path).unwrap();
            };
            rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
            refused();
            std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
            refused();
            fs::File::create(&path).unwrap().set_len(IGNORE_MAX + 1).unwrap();
            refused();
            std::os::unix::fs::symlink("nowhere", &path).unwrap();
            listing(scratch.path());
        }
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
