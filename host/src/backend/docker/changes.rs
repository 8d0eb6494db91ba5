//! What steps have changed in a workspace, as an engine tells it, and whether something that is different in the project now lies
//! below that. An engine tells names in JSON, so those that are not UTF-8 are only known by what they look like.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::ops::Bound;

use bollard::models::{ChangeType, FilesystemChange};

use super::manifest::{Difference, Manifest, seal, unseal};

/// What written changes begin with.
const FIRST: &[u8] = b"hm changes 1\n";

/// What stands for bytes that are no text.
const NO_TEXT: char = char::REPLACEMENT_CHARACTER;

/// The paths in the workspace at which steps have put, replaced or removed something, as [`looks`] has them; the empty one stands
/// for the workspace itself. A directory in which something has changed is not among them for that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Changes(BTreeSet<Vec<u8>>);

impl Changes {
    /// What an engine tells of a container whose workspace is there.
    pub(super) fn of(told: &[FilesystemChange], workdir: &str) -> Self {
        let workdir: Vec<_> = workdir.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        let workdir = looks(workdir.join("/").as_bytes()).into_owned();
        let told = told.iter().map(|change| {
            let path = change.path.trim_start_matches('/').as_bytes();
            (looks(path).into_owned(), change.kind)
        });
        let told: BTreeMap<_, _> = told.collect();
        let mut changes = Self::default();
        for (path, kind) in &told {
            // Something has changed in it, so it is a directory; and it was one, or else something other than this has changed.
            if *kind == ChangeType::_0 && below(path, |from| told.range::<[u8], _>(from).next().map(first)) {
                continue;
            }
            if let Some(path) = relative(path, &workdir) {
                if !path.is_empty() || *kind != ChangeType::_1 {
                    changes.0.insert(path.to_vec());
                }
            } else if *kind != ChangeType::_1 && !path.is_empty() && relative(&workdir, path).is_some() {
                // The workspace may be anywhere now.
                changes.0.insert(Vec::new());
            }
        }
        changes
    }

    /// What was changed in both, one after the other.
    pub(super) fn followed_by(&self, mut next: Self) -> Self {
        next.0.extend(self.0.iter().cloned());
        next
    }

    /// The directories of which an engine has not told whether they still are directories: only that something about them has
    /// changed, such as the time.
    pub(super) fn unclear(&self, then: &Manifest) -> Vec<String> {
        let texts = self.0.iter().filter_map(|path| std::str::from_utf8(path).ok());
        let texts = texts.filter(|path| !path.contains(NO_TEXT) && then.has_directory(path.as_bytes()));
        texts.map(ToOwned::to_owned).collect()
    }

    /// Nothing was changed at this path: what is there is still a directory.
    pub(super) fn forget(&mut self, path: &str) {
        self.0.remove(path.as_bytes());
    }

    /// Writes them so that [`read`](Self::read) knows them again.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn write(&self, to: impl Write) -> io::Result<()> {
        let mut bytes = FIRST.to_vec();
        for path in &self.0 {
            bytes.extend(path);
            bytes.push(0);
        }
        seal(bytes, to)
    }

    /// None if these are not the bytes that were written, all of them.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self(unseal(bytes, FIRST)?.map(<[u8]>::to_vec).collect()))
    }
}

impl Difference {
    /// Whether steps have changed something where this would change something: the outcome would depend on what comes last. A
    /// directory in which steps have put things can go from the project; it stays in the workspace.
    pub(super) fn covered_by(&self, changes: &Changes) -> bool {
        let changed = &changes.0;
        let holds = |path: &[u8]| below(path, |from| changed.range::<[u8], _>(from).next());
        let at_or_above = |path: &[u8]| {
            let above =
                path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| &path[..end]);
            above.chain([&b""[..], path]).any(|path| changed.contains(path))
        };
        let gone = self.gone.iter().any(|(path, was_directory)| {
            let path = looks(path);
            at_or_above(&path) || !was_directory && holds(&path)
        });
        gone || self.put.iter().any(|path| {
            let path = looks(path);
            at_or_above(&path) || holds(&path)
        })
    }
}

/// A path as it looks in JSON: what is no text has become one sign. Two paths that look different are different, and what is below a
/// path looks as if it were.
fn looks(path: &[u8]) -> Cow<'_, [u8]> {
    match String::from_utf8_lossy(path) {
        Cow::Borrowed(text) if !text.contains(NO_TEXT) => Cow::Borrowed(text.as_bytes()),
        // How many signs stand for how many bytes, not everybody agrees on.
        text => {
            let mut one = String::with_capacity(text.len());
            for letter in text.chars() {
                if letter != NO_TEXT || !one.ends_with(NO_TEXT) {
                    one.push(letter);
                }
            }
            Cow::Owned(one.into_bytes())
        }
    }
}

/// A path as it is seen from one that it is at or below.
fn relative<'a>(path: &'a [u8], from: &[u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(from)?;
    if from.is_empty() || rest.is_empty() { Some(rest) } else { rest.strip_prefix(b"/") }
}

/// Whether the first of some sorted paths from a bound on is below this one.
fn below<'a>(
    path: &[u8],
    first_from: impl FnOnce((Bound<&[u8]>, Bound<&[u8]>)) -> Option<&'a Vec<u8>>,
) -> bool {
    let inside = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
    first_from((Bound::Excluded(&inside), Bound::Unbounded)).is_some_and(|next| next.starts_with(&inside))
}

fn first<T>((path, _): (&Vec<u8>, T)) -> &Vec<u8> {
    path
}

#[cfg(test)]
mod tests;
