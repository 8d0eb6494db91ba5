//! Failed file operations, in words for people: "cannot open /x/y".

use std::io;
use std::path::{Path, PathBuf};

/// Of a longer path, this many characters at either end are shown.
const SHOWN: usize = 100;

/// A file operation that failed. Its text is `cannot WHAT PATH`; the system's answer is its cause.
///
/// Errors of larger things embed it with `#[error(transparent)]` and `#[from]`.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}", shortened(path))]
pub struct PathError {
    /// Operation, as a verb: `open`, `write`.
    pub what: &'static str,
    /// File or directory that the operation was about.
    pub path: PathBuf,
    /// Answer of the system.
    pub source: io::Error,
}

impl PathError {
    /// Kind of the system's answer.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// The same error in the words of a caller, for whom this was a part of another operation.
    #[must_use]
    pub fn during(self, what: &'static str) -> Self {
        Self { what, ..self }
    }
}

/// Conversion for `map_err`: `File::open(&path).map_err(cannot("open", &path))`.
pub fn cannot(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> PathError {
    let path = path.into();
    move |source| PathError { what, path, source }
}

/// Path for people: of a very long one, both ends. Programs make some that fill screens.
#[must_use]
pub fn shortened(path: &Path) -> String {
    let path = path.display().to_string();
    let count = path.chars().count();
    if count <= 2 * SHOWN {
        return path;
    }
    path.chars().take(SHOWN).chain(['…']).chain(path.chars().skip(count - SHOWN)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_said_in_short() {
        let path = format!("/first{}/last", "/ä".repeat(2000));
        let text = cannot("read", path)(io::ErrorKind::NotFound.into()).to_string();
        assert!(text.starts_with("cannot read /first/ä/ä"), "{text}");
        assert!(text.contains('…') && text.ends_with("/ä/last") && text.chars().count() < 250, "{text}");
        assert_eq!(shortened(Path::new("/short")), "/short");
    }

    #[test]
    fn a_caller_has_its_own_words() {
        let error = cannot("open", "/x")(io::ErrorKind::NotFound.into()).during("write");
        assert_eq!((error.to_string().as_str(), error.kind()), ("cannot write /x", io::ErrorKind::NotFound));
    }
}
