//! Changes of steps in a workspace, as an engine tells them, and whether something that is different in the project now
//! lies below that. An engine tells names in JSON, so those that are not UTF-8 are only known by what they look like.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::ops::Bound;

use bollard::models::{ChangeType, FilesystemChange};

use crate::manifest::{Difference, MARK, Manifest, seal, unseal};

/// First bytes of written changes.
const FIRST: &[u8] = b"hm changes 1\n";

/// Character for bytes that are no text.
const NO_TEXT: char = char::REPLACEMENT_CHARACTER;

/// Changes by path, as an engine tells them.
type Told = BTreeMap<Vec<u8>, ChangeType>;

/// The paths in the workspace at which steps have put, replaced or removed something, as [`looks`] has them; the empty
/// one stands for the workspace itself. A directory in which something has changed is not among them for that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes(BTreeSet<Vec<u8>>);

impl Changes {
    /// Changes that an engine tells of a container whose workspace is there.
    pub(crate) fn of(told: &[FilesystemChange], workdir: &str) -> Self {
        let (told, workdir) = as_they_look(told, workdir);
        let mut changes = Self::default();
        for (path, kind) in &told {
            if is_passed_through(&told, path, *kind) {
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

    /// Directories with something in them that will hide others there, being a mark in a layer of an image.
    pub(crate) fn marked(told: &[FilesystemChange], workdir: &str) -> Vec<Vec<u8>> {
        let (told, workdir) = as_they_look(told, workdir);
        let here = told.keys().filter_map(|path| relative(path, &workdir)).map(split);
        here.filter(|(_, name)| name.starts_with(MARK)).map(|(directory, _)| directory.to_vec()).collect()
    }

    /// Something else has become of this directory, and of all that was in it.
    pub(crate) fn add(&mut self, directory: Vec<u8>) {
        self.0.insert(directory);
    }

    /// Those that are at one of these paths.
    pub(crate) fn only(mut self, paths: &BTreeSet<Vec<u8>>) -> Self {
        let paths: BTreeSet<_> = paths.iter().map(|path| looks(path)).collect();
        self.0.retain(|path| paths.contains(path.as_slice()));
        self
    }

    /// Changes of both, one after the other.
    pub(crate) fn followed_by(&self, mut next: Self) -> Self {
        next.0.extend(self.0.iter().cloned());
        next
    }

    /// The directories of which an engine has not told whether they still are directories: only that something about
    /// them has changed, such as the time.
    pub(crate) fn unclear(&self, told: &[FilesystemChange], workdir: &str, then: &Manifest) -> Vec<String> {
        let (told, workdir) = as_they_look(told, workdir);
        let changed = told.iter().filter(|(_, kind)| **kind == ChangeType::_0);
        let changed =
            changed.filter_map(|(path, _)| relative(path, &workdir)).filter(|path| self.0.contains(*path));
        let texts = changed.filter_map(|path| std::str::from_utf8(path).ok());
        let texts = texts.filter(|path| !path.contains(NO_TEXT) && then.has_directory(path.as_bytes()));
        texts.map(ToOwned::to_owned).collect()
    }

    /// Nothing was changed at this path: what is there is still a directory.
    pub(crate) fn forget(&mut self, path: &str) {
        self.0.remove(path.as_bytes());
    }

    /// Writes them so that [`read`](Self::read) knows them again.
    ///
    /// # Errors
    /// The system says no.
    pub(crate) fn write(&self, to: impl Write) -> io::Result<()> {
        let mut bytes = FIRST.to_vec();
        for path in &self.0 {
            bytes.extend(path);
            bytes.push(0);
        }
        seal(bytes, to)
    }

    /// None if these are not the bytes that were written, all of them.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self(unseal(bytes, FIRST)?.map(<[u8]>::to_vec).collect()))
    }
}

impl Difference {
    /// The first path at which steps have changed something and this would change something: the outcome would depend
    /// on what comes last. A directory in which steps have put things can go from the project; it stays in the
    /// workspace.
    pub(crate) fn covered_by(&self, changes: &Changes) -> Option<&[u8]> {
        let changed = &changes.0;
        let holds = |path: &[u8]| below(path, |from| changed.range::<[u8], _>(from).next());
        let at_or_above = |path: &[u8]| {
            let above =
                path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| &path[..end]);
            above.chain([&b""[..], path]).any(|path| changed.contains(path))
        };
        let gone = self.gone.iter().find(|(path, was_directory)| {
            let path = looks(path);
            at_or_above(&path) || !**was_directory && holds(&path)
        });
        let put = || {
            self.put.iter().find(|path| {
                let path = looks(path);
                at_or_above(&path) || holds(&path)
            })
        };
        gone.map(first).or_else(put).map(Vec::as_slice)
    }
}

/// Changes that an engine tells, by path, and the workspace's path.
fn as_they_look(told: &[FilesystemChange], workdir: &str) -> (Told, Vec<u8>) {
    let workdir: Vec<_> = workdir.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let workdir = looks(workdir.join("/").as_bytes()).into_owned();
    let told = told.iter().map(|change| {
        let path = change.path.trim_start_matches('/').as_bytes();
        (looks(path).into_owned(), change.kind)
    });
    (told.collect(), workdir)
}

/// True if something has changed in what is at a path, so that it is a directory; and it was one, or else something
/// other than this would be told.
fn is_passed_through(told: &Told, path: &[u8], kind: ChangeType) -> bool {
    kind == ChangeType::_0 && below(path, |from| told.range::<[u8], _>(from).next().map(first))
}

/// A path as it looks in JSON: what is no text has become one sign. Two paths that look different are different, and
/// what is below a path looks as if it were.
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

/// The directory that something is in, and its name there.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(end) => (&path[..end], &path[end + 1..]),
        None => (b"", path),
    }
}

/// A path as it is seen from one that it is at or below.
fn relative<'a>(path: &'a [u8], from: &[u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(from)?;
    if from.is_empty() || rest.is_empty() { Some(rest) } else { rest.strip_prefix(b"/") }
}

/// True if the first of some sorted paths from a bound on is below this one.
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
