//! `.hmignore`: what of a project neither sandboxes nor archives get, although git would have it. The form and the
//! rules are those of `.gitignore`; it takes out and never adds. What git ignores is not known here.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};
use parking_lot::Mutex;

use crate::WorkspaceError;
use hm_disk::read_regular;

/// Name of the files.
const NAME: &str = ".hmignore";

/// Bytes in one, at the most.
const MAX: usize = 1 << 20;

/// The files of one project, each read when it is first asked for.
pub(crate) struct HmIgnore {
    project: PathBuf,
    read: Mutex<HashMap<PathBuf, Arc<Gitignore>>>,
}

impl HmIgnore {
    pub(crate) fn new(project: &Path) -> Self {
        Self { project: project.to_owned(), read: Mutex::default() }
    }

    /// True if a path of the project is named to be left out. The directories that it is in are not looked at.
    ///
    /// # Errors
    /// A file that would have to be asked cannot be read or makes no sense.
    pub(crate) fn names(&self, path: &Path, is_directory: bool) -> Result<bool, WorkspaceError> {
        // The nearest file that says anything has the last word.
        for directory in path.ancestors().skip(1).take_while(|above| above.starts_with(&self.project)) {
            match self.of(directory)?.matched(path, is_directory) {
                Match::Ignore(_) => return Ok(true),
                Match::Whitelist(_) => return Ok(false),
                Match::None => {}
            }
        }
        Ok(false)
    }

    /// True if a file or link of the project is left out, by its own name or with a directory that it is in.
    ///
    /// # Errors
    /// As [`names`](Self::names).
    pub(crate) fn excludes(&self, path: &Path) -> Result<bool, WorkspaceError> {
        let mut is_directory = false;
        for part in path.ancestors().take_while(|part| *part != self.project) {
            if self.names(part, is_directory)? {
                return Ok(true);
            }
            is_directory = true;
        }
        Ok(false)
    }

    fn of(&self, directory: &Path) -> Result<Arc<Gitignore>, WorkspaceError> {
        let mut read = self.read.lock();
        if let Some(known) = read.get(directory) {
            return Ok(known.clone());
        }
        let parsed = Arc::new(parse(directory)?);
        read.insert(directory.to_owned(), parsed.clone());
        Ok(parsed)
    }
}

fn parse(directory: &Path) -> Result<Gitignore, WorkspaceError> {
    let path = directory.join(NAME);
    let bytes = match read_regular(&path, MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Gitignore::empty()),
        // No regular file, or too large: the reason has no number of the system's.
        Err(error) if error.raw_os_error().is_none() => return Err(WorkspaceError::IgnoreFile(path)),
        Err(error) => return Err(WorkspaceError::io("read", path)(error)),
    };
    let text = String::from_utf8(bytes).map_err(|_| WorkspaceError::IgnoreLine {
        path: path.clone(),
        line: 1,
        reason: "the file is not UTF-8".into(),
    })?;
    let wrong = |line: usize, error: &ignore::Error| WorkspaceError::IgnoreLine {
        path: path.clone(),
        line,
        reason: error.to_string(),
    };
    let mut builder = GitignoreBuilder::new(directory);
    for (index, line) in text.lines().enumerate() {
        builder.add_line(None, line).map_err(|error| wrong(index + 1, &error))?;
    }
    builder.build().map_err(|error| wrong(text.lines().count(), &error))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_nearest_file_has_the_last_word() {
        let scratch = tempfile::tempdir().unwrap();
        let project = scratch.path().join("project");
        fs::create_dir_all(project.join("sub")).unwrap();
        fs::write(scratch.path().join(NAME), "*\n").unwrap();
        fs::write(project.join(NAME), "*.key\n/top\nout/\n# all\n").unwrap();
        fs::write(project.join("sub").join(NAME), "!public.key\n").unwrap();
        let ignore = HmIgnore::new(&project);
        let names = |path: &str, is_directory| ignore.names(&project.join(path), is_directory).unwrap();
        for (path, is_directory, expected) in [
            ("a.key", false, true),
            ("sub/a.key", false, true),
            ("sub/public.key", false, false),
            ("top", false, true),
            ("sub/top", false, false),
            ("out", true, true),
            ("out", false, false),
            ("src/main.rs", false, false),
        ] {
            assert_eq!(names(path, is_directory), expected, "{path}");
        }
        assert!(ignore.excludes(&project.join("out/deep/file")).unwrap());
        assert!(ignore.excludes(&project.join("sub/out/file")).unwrap());
        assert!(!ignore.excludes(&project.join("sub/public.key")).unwrap());
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join(NAME);
        let asked = || HmIgnore::new(scratch.path()).names(&scratch.path().join("file"), false);
        fs::write(&path, "fine\n[z-a]\n").unwrap();
        let error = asked().unwrap_err();
        assert!(matches!(&error, WorkspaceError::IgnoreLine { line: 2, .. }), "{error}");
        fs::write(&path, b"\xff\n").unwrap();
        assert!(matches!(asked(), Err(WorkspaceError::IgnoreLine { .. })));
        fs::File::create(&path).unwrap().set_len(MAX as u64 + 1).unwrap();
        assert!(matches!(asked(), Err(WorkspaceError::IgnoreFile(_))));
        fs::remove_file(&path).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
        assert!(matches!(asked(), Err(WorkspaceError::IgnoreFile(_))));
        fs::remove_file(&path).unwrap();
        assert!(!asked().unwrap());
    }
}
