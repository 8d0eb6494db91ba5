//! Follows a path in the tree that steps start from, as the system does it for a step: from link to link, and `..` from
//! where a link has led. What is at its end, and what counts of it, is not known here.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use hm_disk::cannot;

use super::super::CacheError;

/// The system, too, gives up after so many links.
const LINKS_MAX: usize = 40;

/// No file can have a name of more bytes.
const NAME_MAX: usize = 255;

/// A directory, and where steps find it.
pub(super) struct Tree<'a> {
    /// Path of the tree here.
    pub(super) root: &'a Path,
    /// Path of the tree in steps, so that a link of theirs may lead to it.
    pub(super) mount: &'a Path,
}

/// Links that a path goes by, and its end.
#[derive(Debug)]
pub(super) struct Walk {
    /// The links, each with its text. Paths are relative to the tree.
    pub(super) links: Vec<(PathBuf, PathBuf)>,
    /// End of the path.
    pub(super) end: End,
}

/// The end of a path.
#[derive(Debug)]
pub(super) enum End {
    /// Something in the tree, at a path that has no links in it.
    There(PathBuf, Metadata),
    /// Nothing is there, which counts as an input too.
    Nothing,
    /// It is not in the tree.
    Outside,
}

impl Tree<'_> {
    /// Follows a path from a directory of the tree, whose own path has no links in it.
    ///
    /// # Errors
    /// Something cannot be looked at.
    pub(super) fn walk(&self, folder: &Path, path: &Path) -> Result<Walk, CacheError> {
        let mut links = Vec::new();
        let ends = |links, end| Ok(Walk { links, end });
        // As steps see it.
        let mut at = self.mount.join(folder);
        let mut rest = parts(path);
        loop {
            if let Ok(path) = at.strip_prefix(self.mount) {
                let Some(about) = self.about(path)? else { return ends(links, End::Nothing) };
                if about.is_symlink() {
                    if links.len() == LINKS_MAX {
                        return ends(links, End::Nothing);
                    }
                    let full = self.root.join(path);
                    let text = fs::read_link(&full).map_err(cannot("read the link", &full))?;
                    rest.extend(parts(&text));
                    links.push((path.to_owned(), text));
                    at.pop();
                } else if rest.is_empty() {
                    return ends(links, End::There(path.to_owned(), about));
                } else if !about.is_dir() {
                    return ends(links, End::Nothing);
                }
            } else if rest.is_empty() || !self.mount.starts_with(&at) {
                return ends(links, End::Outside);
            }
            match rest.pop() {
                Some(part) if part == ".." => {
                    at.pop();
                }
                Some(part) if part == "." => {}
                // A `/` takes the place of all before it.
                Some(part) => at.push(part),
                None => {}
            }
        }
    }

    /// Metadata of what is at a path; nothing if nothing is.
    fn about(&self, path: &Path) -> Result<Option<Metadata>, CacheError> {
        let full = self.root.join(path);
        let impossible = path.file_name().is_some_and(|name| name.len() > NAME_MAX);
        match fs::symlink_metadata(&full) {
            Ok(about) => Ok(Some(about)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidFilename && impossible => Ok(None),
            Err(error) => Err(cannot("look at", &full)(error).into()),
        }
    }
}

/// The parts of a path, the first one last.
fn parts(path: &Path) -> Vec<OsString> {
    path.components().rev().map(|part| part.as_os_str().to_owned()).collect()
}
