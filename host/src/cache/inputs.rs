//! The files that a cache policy names, each with a digest, in the tree that steps start from. What the tree is, is not
//! known here; it does not change while it is looked at.

#[cfg(test)]
mod tests;
mod walk;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hm_disk::{cannot, hex, sha256_hex};
use hm_workspace::globs::Pattern;
use sha2::{Digest, Sha256};

use self::walk::{End, Tree, Walk};
use super::CacheError;

/// Holds what changes without the project's files changing, so it has to be named to count.
const GIT: &str = ".git";

/// Without any of these a pattern is a path.
const SPECIAL: [char; 5] = ['*', '?', '[', '{', '\\'];

/// Files that the patterns of a policy found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputFiles {
    /// By path, a text that is another one for another file. Backslashes, and bytes that are not UTF-8, are escaped in
    /// paths.
    pub files: BTreeMap<String, String>,
    /// Places where a policy may not say what was meant.
    pub warnings: BTreeSet<PathWarning>,
}

/// Warning that a policy may not say what was meant. Its text is a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathWarning {
    /// This pattern found nothing.
    NoSuchFile(String),
    /// This path leads out of the tree, so that of what it leads to only the path itself counts.
    LeadsOutside(String),
}

impl fmt::Display for PathWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchFile(pattern) => {
                write!(f, "a cache policy names `{pattern}`, and there is no such file")
            }
            Self::LeadsOutside(path) => write!(
                f,
                "a cache policy covers `{path}`, a link that leads out of the project: what changes there is not noticed"
            ),
        }
    }
}

/// Finds files below `tree`, by their paths or by patterns; a folder means itself and all below it. Links count by
/// their text, and so does what they lead to in the tree, which steps have at `mount`.
///
/// # Errors
/// Something cannot be read.
pub fn find_inputs(tree: &Path, mount: &Path, patterns: &BTreeSet<String>) -> Result<InputFiles, CacheError> {
    let mut search = Search {
        tree: Tree { root: tree, mount },
        found: InputFiles::default(),
        seen: HashSet::new(),
        open: Vec::new(),
    };
    let mut special = Vec::new();
    for text in patterns {
        // A file may have a name that looks like a pattern.
        let walk = search.tree.walk(Path::new(""), Path::new(text))?;
        let found = search.take(Path::new(text), walk)?;
        match Pattern::new(text) {
            Ok(pattern) if text.contains(SPECIAL) => special.push(Wanted { text, pattern, found }),
            _ if !found => search.warning(PathWarning::NoSuchFile(text.clone())),
            _ => {}
        }
    }
    if !special.is_empty() {
        search.patterns(&mut special)?;
    }
    for Wanted { text, .. } in special.iter().filter(|wanted| !wanted.found) {
        search.warning(PathWarning::NoSuchFile((*text).clone()));
    }
    while let Some((folder, link)) = search.open.pop() {
        let walk = search.tree.walk(&folder, Path::new(&link))?;
        search.take(&folder.join(link), walk)?;
    }
    Ok(search.found)
}

/// Pattern that is looked for.
struct Wanted<'a> {
    text: &'a String,
    pattern: Pattern,
    found: bool,
}

struct Search<'a> {
    tree: Tree<'a>,
    found: InputFiles,
    /// The directories that were taken in. All paths are relative to the tree.
    seen: HashSet<PathBuf>,
    /// The links in these, which are still to be followed: directory and name.
    open: Vec<(PathBuf, OsString)>,
}

impl Search<'_> {
    /// Takes in what is at the end of a path, with all below it, and the links on the way. False if there is nothing of
    /// that.
    fn take(&mut self, path: &Path, walk: Walk) -> Result<bool, CacheError> {
        let linked = !walk.links.is_empty();
        for (link, text) in walk.links {
            let text = sha256_hex(text.as_os_str().as_bytes());
            self.found.files.insert(name(&link), format!("link {text}"));
        }
        match walk.end {
            End::There(folder, about) if about.is_dir() => self.folder(folder)?,
            End::There(file, about) => self.file(&file, &about)?,
            End::Outside if linked => self.warning(PathWarning::LeadsOutside(name(path))),
            End::Nothing | End::Outside => return Ok(linked),
        }
        Ok(true)
    }

    /// Takes in a directory and all that is in it.
    fn folder(&mut self, folder: PathBuf) -> Result<(), CacheError> {
        let mut folders = vec![folder];
        while let Some(folder) = folders.pop() {
            if !self.seen.insert(folder.clone()) {
                continue;
            }
            // The tree itself is always there.
            if folder != Path::new("") {
                self.found.files.insert(name(&folder), "folder".to_owned());
            }
            for (entry, about) in self.list(&folder)? {
                if about.is_symlink() {
                    self.open.push((folder.clone(), entry));
                } else if about.is_dir() {
                    folders.push(folder.join(entry));
                } else {
                    self.file(&folder.join(entry), &about)?;
                }
            }
        }
        Ok(())
    }

    /// Takes in what patterns name.
    fn patterns(&mut self, wanted: &mut [Wanted<'_>]) -> Result<(), CacheError> {
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            for (entry, about) in self.list(&folder)? {
                let path = folder.join(&entry);
                let mut named = false;
                let mut below = Vec::new();
                for Wanted { pattern, found, .. } in &mut *wanted {
                    if pattern.names(&path) {
                        (named, *found) = (true, true);
                    } else if pattern.may_name_below(&path) {
                        below.push(found);
                    }
                }
                if about.is_symlink() && (named || !below.is_empty()) {
                    let walk = self.tree.walk(&folder, Path::new(&entry))?;
                    // Names are not looked for behind links, so all that is behind this one counts.
                    let leads_on = match &walk.end {
                        End::There(_, about) => about.is_dir(),
                        End::Outside => true,
                        End::Nothing => false,
                    };
                    if leads_on {
                        below.into_iter().for_each(|found| *found = true);
                    }
                    if named || leads_on {
                        self.take(&path, walk)?;
                    }
                } else if about.is_dir() {
                    if named {
                        self.folder(path.clone())?;
                    }
                    if !below.is_empty() {
                        folders.push(path);
                    }
                } else if named {
                    self.file(&path, &about)?;
                }
            }
        }
        Ok(())
    }

    /// Takes in a file.
    fn file(&mut self, path: &Path, about: &Metadata) -> Result<(), CacheError> {
        let name = name(path);
        if self.found.files.contains_key(&name) {
            return Ok(());
        }
        let digest = if about.is_file() {
            let full = self.tree.root.join(path);
            let kind = if about.mode() & 0o111 == 0 { "file" } else { "program" };
            format!("{kind} {}", digest(&full).map_err(cannot("read", &full))?)
        } else {
            "neither a file nor a folder".to_owned()
        };
        self.found.files.insert(name, digest);
        Ok(())
    }

    fn warning(&mut self, warning: PathWarning) {
        self.found.warnings.insert(warning);
    }

    /// Entries of a directory.
    fn list(&self, folder: &Path) -> Result<Vec<(OsString, Metadata)>, CacheError> {
        let full = self.tree.root.join(folder);
        let failed = || cannot("list", &full);
        let mut list = Vec::new();
        for entry in fs::read_dir(&full).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            if entry.file_name() != GIT {
                list.push((entry.file_name(), entry.metadata().map_err(failed())?));
            }
        }
        Ok(list)
    }
}

/// A path as text, another one for each path.
fn name(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        text.push_str(&chunk.valid().replace('\\', "\\\\"));
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(hash.finalize())),
            length => hash.update(&buffer[..length]),
        }
    }
}
