//! Paths named by patterns, relative to some directory, as shells have them; a directory that is named means all that
//! is below it. Nothing here looks at a disk, so whoever does is told where looking is of use.

use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

/// Characters that make a pattern special.
const SPECIAL: [char; 6] = ['*', '?', '[', '{', '\\', '}'];

/// Bytes in a pattern, at the most: as many as a path may have.
const LONGEST: usize = 4096;

/// Failure to read a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It counts from the root.
    #[error("it is absolute")]
    Absolute,
    /// It has a component `..`.
    #[error("it has `..` in it")]
    Upwards,
    /// It is longer than any path.
    #[error("it is longer than 4096 bytes")]
    TooLong,
    /// The path syntax cannot be made a matcher.
    #[error("it is too complicated")]
    TooComplicated,
}

/// A pattern: `*`, `?` and `[…]` within a component, `**` for any number of components, `{a,b}` for either.
#[derive(Debug, Clone)]
pub struct Pattern {
    matcher: GlobMatcher,
    /// The components before the first that is special.
    literal: Vec<String>,
    /// Most components of what it names; none: any number.
    deepest: Option<usize>,
}

impl Pattern {
    /// Reads a pattern. One that only looks special, such as an unclosed `[`, means itself.
    ///
    /// # Errors
    /// [`PatternError`]
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > LONGEST {
            return Err(PatternError::TooLong);
        }
        let mut parts = Vec::new();
        for component in Path::new(text).components() {
            match component {
                Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
                Component::CurDir => {}
                Component::ParentDir => return Err(PatternError::Upwards),
                Component::RootDir | Component::Prefix(_) => return Err(PatternError::Absolute),
            }
        }
        let clean = parts.join("/");
        let glob = |text: &str, escapes| {
            GlobBuilder::new(text).literal_separator(true).backslash_escape(escapes).build()
        };
        let Ok(special) = glob(&clean, true) else {
            // Its special characters, each as a class of one. A backslash needs none where it escapes nothing.
            let plain = glob(&globset::escape(&clean), false).map_err(|_| PatternError::TooComplicated)?;
            let deepest = Some(parts.len());
            return Ok(Self { matcher: plain.compile_matcher(), deepest, literal: parts });
        };
        let matcher = special.compile_matcher();
        let deepest = (!clean.contains("**")).then_some(parts.len());
        let plain = parts.iter().position(|part| part.contains(SPECIAL)).unwrap_or(parts.len());
        parts.truncate(plain);
        Ok(Self { matcher, literal: parts, deepest })
    }

    /// True if it names this path itself. What is below a directory that it names is not asked for here.
    #[must_use]
    pub fn names(&self, path: &Path) -> bool {
        // Without this, a class such as `[!x]` would take a `/`.
        let shallow_enough = self.deepest.is_none_or(|deepest| path.components().count() <= deepest);
        shallow_enough && self.matcher.is_match(path)
    }

    /// Directory that all it names is at or below, as far as that can be said without looking.
    #[must_use]
    pub fn start(&self) -> PathBuf {
        self.literal.iter().collect()
    }

    /// True if it may name something below this directory.
    #[must_use]
    pub fn may_name_below(&self, directory: &Path) -> bool {
        let mut depth = 0;
        for part in directory.components() {
            if self.literal.get(depth).is_some_and(|literal| part.as_os_str() != literal.as_str()) {
                return false;
            }
            depth += 1;
        }
        self.deepest.is_none_or(|deepest| depth < deepest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pattern: &str, path: &str) -> bool {
        Pattern::new(pattern).expect("a pattern").names(Path::new(path))
    }

    #[test]
    fn patterns_name_what_they_do_in_shells() {
        for (pattern, path) in [
            ("a/b", "a/b"),
            ("a[b\\*?{/x", "a[b\\*?{/x"),
            ("./a//b/", "a/b"),
            ("dist/*.whl", "dist/x-1.whl"),
            ("dist/*.whl", "dist/.whl"),
            ("**/*.log", "a.log"),
            ("**/*.log", "a/b/c.log"),
            ("a/**/z", "a/z"),
            ("a/**/z", "a/b/c/z"),
            ("a/**", "a/b/c"),
            ("?.[ch]", "x.c"),
            ("{a,b/c}", "b/c"),
            (r"\*", "*"),
            ("a[b", "a[b"),
            ("{x", "{x"),
            ("dir\\", "dir\\"),
            ("ä*", "äöü"),
        ] {
            assert!(names(pattern, path), "{pattern} does not name {path}");
            let path = Path::new(path);
            let pattern = Pattern::new(pattern).expect("a pattern");
            for above in path.ancestors().skip(1) {
                assert!(pattern.may_name_below(above), "{pattern:?} is not looked for in {above:?}");
            }
        }
        for (pattern, path) in [
            ("a", "a/b"),
            ("*", "a/b"),
            ("dist/*.whl", "dist/a/x.whl"),
            ("a?b", "a/b"),
            ("a[!x]b", "a/b"),
            ("A", "a"),
        ] {
            assert!(!names(pattern, path), "{pattern} names {path}");
        }
    }

    #[test]
    fn nothing_is_looked_for_where_it_cannot_be() {
        let may = |pattern: &str, directory: &str| {
            Pattern::new(pattern).expect("a pattern").may_name_below(Path::new(directory))
        };
        assert!(may("dist/*.whl", "") && may("dist/*.whl", "dist"));
        assert!(!may("dist/*.whl", "node_modules") && !may("dist/*.whl", "dist/x"));
        assert!(may("a/**", "a/b/c/d") && !may("a/**", "b"));
        assert!(may("*/x", "a") && !may("*/x", "a/b"));
        assert!(!may("a[b", "a[b") && may("a[b/c", "a[b"));
        assert!(may("{a,b/c}", "b"));
    }

    #[test]
    fn a_pattern_says_where_to_start() {
        for (pattern, expected) in [
            ("./dist//*.whl", "dist"),
            ("a/b", "a/b"),
            ("a/**", "a"),
            ("**", ""),
            (".", ""),
            ("a/{b,c}/d", "a"),
            ("a[b/c", "a[b/c"),
        ] {
            assert_eq!(Pattern::new(pattern).expect("a pattern").start(), Path::new(expected), "{pattern}");
        }
    }

    #[test]
    fn what_leads_out_is_refused() {
        for (pattern, expected) in [
            ("", PatternError::Empty),
            ("/etc/passwd", PatternError::Absolute),
            ("../x", PatternError::Upwards),
            ("a/../../x", PatternError::Upwards),
            ("a/..", PatternError::Upwards),
        ] {
            assert_eq!(Pattern::new(pattern).expect_err(pattern), expected);
        }
        assert_eq!(Pattern::new(&"x".repeat(5000)).expect_err("long"), PatternError::TooLong);
        assert!(Pattern::new("..a/b..").is_ok());
    }

    #[test]
    fn a_dot_names_the_directory_itself() {
        assert!(names(".", ""));
    }
}
