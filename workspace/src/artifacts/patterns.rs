//! Patterns that name a step's artifacts, and notes about those for which nothing was brought out. Who looks for the
//! files, and where, is decided elsewhere.

use std::path::{Path, PathBuf};

use super::{ArtifactError, MAX_PATTERNS};
use crate::globs::Pattern;

/// Some of a step's patterns, a bit each.
pub type Which = u128;

/// The patterns of a step.
pub struct Patterns {
    /// With the text that each was made of.
    patterns: Vec<(String, Pattern)>,
    /// Those that something was found for.
    used: Which,
}

/// Counts of things whose names are wanted, and that are not brought out all the same.
#[derive(Debug, Default)]
pub struct LeftOut {
    /// Number of symbolic links.
    pub links: usize,
    /// Number of devices, sockets and pipes.
    pub others: usize,
    /// Files and directories that cannot be read.
    pub closed: usize,
    /// Files whose names are not UTF-8.
    pub odd_names: usize,
}

impl Patterns {
    /// Reads them.
    ///
    /// # Errors
    /// One says nothing that can be, or there are too many.
    pub fn new(texts: &[String]) -> Result<Self, ArtifactError> {
        if texts.len() > MAX_PATTERNS {
            return Err(ArtifactError::TooManyPatterns);
        }
        let read = |text: &String| match Pattern::new(text) {
            Ok(pattern) => Ok((text.clone(), pattern)),
            Err(reason) => Err(ArtifactError::Pattern { pattern: text.clone(), reason }),
        };
        Ok(Self { patterns: texts.iter().map(read).collect::<Result<_, _>>()?, used: 0 })
    }

    /// Those that name this path itself.
    pub fn naming(&self, path: &Path) -> Which {
        let named = self.patterns.iter().enumerate().filter(|(_, (_, pattern))| pattern.names(path));
        named.fold(0, |which, (index, _)| which | 1 << index)
    }

    /// True if any may name something below this directory.
    pub fn may_name_below(&self, directory: &Path) -> bool {
        self.patterns.iter().any(|(_, pattern)| pattern.may_name_below(directory))
    }

    /// The paths that all that is named is at or below; none of them is below another.
    pub fn starts(&self) -> Vec<PathBuf> {
        let mut starts: Vec<_> = self.patterns.iter().map(|(_, pattern)| pattern.start()).collect();
        starts.sort();
        starts.dedup_by(|next, kept| next.starts_with(kept));
        starts
    }

    /// Something was found for these.
    pub fn found(&mut self, which: Which) {
        self.used |= which;
    }

    /// A sentence for each that found nothing, and one about what was left out.
    pub fn notes(&self, left_out: &LeftOut) -> Vec<String> {
        let unused = self.patterns.iter().enumerate().filter(|(index, _)| self.used & 1 << index == 0);
        let unused = unused.map(|(_, (text, _))| format!("no file matches the artifacts `{text}`"));
        unused.chain(left_out.note()).collect()
    }
}

impl LeftOut {
    /// Sentence about what was left out, if anything was.
    fn note(&self) -> Option<String> {
        let counts = [
            (self.links, "symbolic links"),
            (self.others, "devices, sockets or pipes"),
            (self.closed, "that cannot be read"),
            (self.odd_names, "with names that are not UTF-8"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let said: Vec<String> = counts.map(|(count, what)| format!("{count} {what}")).collect();
        (!said.is_empty()).then(|| format!("left out of the artifacts: {}", said.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_place_is_looked_at_twice() {
        let starts = |texts: &[&str]| {
            let texts: Vec<_> = texts.iter().map(ToString::to_string).collect();
            Patterns::new(&texts).unwrap().starts()
        };
        let expected: Vec<_> = ["a", "a.b", "c/d"].map(PathBuf::from).into();
        assert_eq!(starts(&["c/d/*", "a/b", "a.b/*", "a/*.x", "a/c/d/**", "c/d"]), expected);
        assert_eq!(starts(&["a/b", "*.x"]), [PathBuf::new()]);
        assert!(starts(&[]).is_empty());
    }
}
