//! The files that a cache policy names, each with a digest, in the tree that steps start from. What the tree is, is not
//! known here; it does not change while it is looked at.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{CacheError, hex, io_error};
use crate::globs::Pattern;

/// The system, too, gives up after so many links.
const LINKS_MAX: usize = 40;

/// Holds what changes without the project's files changing, so it has to be named to count.
const GIT: &str = ".git";

/// Without any of these a pattern is a path.
const SPECIAL: [char; 5] = ['*', '?', '[', '{', '\\'];

/// What the patterns of a policy found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// By path, a text that is another one for another file. Backslashes, and bytes that are not UTF-8, are escaped in paths.
    pub files: BTreeMap<String, String>,
    /// The patterns that found nothing.
    pub unmatched: Vec<String>,
}

/// Finds files below `tree`, by their paths or by patterns; a folder means all below it. Links count by their text, and so does
/// what they lead to in the tree.
///
/// # Errors
/// Something cannot be read.
pub fn inputs(tree: &Path, patterns: &BTreeSet<String>) -> Result<Inputs, CacheError> {
    let mut search = Search { tree, files: BTreeMap::new(), seen: HashSet::new() };
    let mut unmatched = Vec::new();
    for pattern in patterns {
        // A file may have a name that looks like a pattern.
        let mut found = search.path(Path::new(pattern))?;
        if pattern.contains(SPECIAL)
            && let Ok(pattern) = Pattern::new(pattern)
        {
            found |= search.pattern(&pattern)?;
        }
        if !found {
            unmatched.push(pattern.clone());
        }
    }
    Ok(Inputs { files: search.files, unmatched })
}

struct Search<'a> {
    tree: &'a Path,
    files: BTreeMap<String, String>,
    /// What was looked at already, whole. Paths are relative to the tree.
    seen: HashSet<PathBuf>,
}

impl Search<'_> {
    /// Takes in what is at a path, with all below it. False if nothing is there.
    fn path(&mut self, path: &Path) -> Result<bool, CacheError> {
        let mut found = false;
        // With the number of links that led there.
        let mut open = vec![(path.to_owned(), 0)];
        let mut first = true;
        while let Some((path, links)) = open.pop() {
            let there = self.walk_to(&path, links, &mut open)?;
            found |= first && there;
            first = false;
        }
        Ok(found)
    }

    /// Goes to a path, part by part up to the first link.
    fn walk_to(
        &mut self,
        path: &Path,
        links: usize,
        open: &mut Vec<(PathBuf, usize)>,
    ) -> Result<bool, CacheError> {
        if links > LINKS_MAX {
            return Ok(false);
        }
        let mut at = PathBuf::new();
        let mut rest = path.components();
        loop {
            let Some(about) = self.about(&at)? else { return Ok(false) };
            if about.is_symlink() {
                if let Some(target) = self.link(&at)? {
                    open.push((target.join(rest.as_path()), links + 1));
                }
                return Ok(true);
            }
            match rest.next() {
                None if about.is_dir() => return self.folder(at, links, open).map(|()| true),
                None => return self.file(&at, &about).map(|()| true),
                Some(Component::Normal(part)) => at.push(part),
                Some(Component::CurDir) => {}
                // It would lead out of the tree.
                Some(_) => return Ok(false),
            }
        }
    }

    /// Takes in all that is in a folder.
    fn folder(
        &mut self,
        folder: PathBuf,
        links: usize,
        open: &mut Vec<(PathBuf, usize)>,
    ) -> Result<(), CacheError> {
        let mut folders = vec![folder];
        while let Some(folder) = folders.pop() {
            if !self.seen.insert(folder.clone()) {
                continue;
            }
            for (path, about) in self.list(&folder)? {
                if about.is_dir() {
                    folders.push(path);
                } else if about.is_symlink() {
                    open.extend(self.link(&path)?.map(|target| (target, links + 1)));
                } else {
                    self.file(&path, &about)?;
                }
            }
        }
        Ok(())
    }

    /// Takes in what a pattern names. False if it names nothing.
    fn pattern(&mut self, pattern: &Pattern) -> Result<bool, CacheError> {
        let mut found = false;
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            for (path, about) in self.list(&folder)? {
                if pattern.names(&path) {
                    found = true;
                    if about.is_dir() || about.is_symlink() {
                        self.path(&path)?;
                    } else {
                        self.file(&path, &about)?;
                    }
                } else if pattern.may_name_below(&path) {
                    if about.is_dir() {
                        folders.push(path);
                    } else if about.is_symlink() && self.tree.join(&path).is_dir() {
                        // Names are not looked for behind links, so all that is behind this one counts.
                        self.path(&path)?;
                    }
                }
            }
        }
        Ok(found)
    }

    /// Takes in a link, and says where it leads in the tree, if anywhere there.
    fn link(&mut self, path: &Path) -> Result<Option<PathBuf>, CacheError> {
        let full = self.tree.join(path);
        let target = fs::read_link(&full).map_err(io_error("read the link", &full))?;
        let mut hash = Sha256::new();
        hash.update(target.as_os_str().as_bytes());
        self.files.insert(name(path), format!("link {}", hex(hash)));
        let mut to = path.parent().unwrap_or(Path::new("")).to_owned();
        for part in target.components() {
            match part {
                Component::Normal(part) => to.push(part),
                Component::CurDir => {}
                Component::ParentDir if to.pop() => {}
                _ => return Ok(None),
            }
        }
        Ok((!self.seen.contains(&to)).then_some(to))
    }

    /// Takes in a file.
    fn file(&mut self, path: &Path, about: &Metadata) -> Result<(), CacheError> {
        let name = name(path);
        if self.files.contains_key(&name) {
            return Ok(());
        }
        let digest = if about.is_file() {
            let full = self.tree.join(path);
            let kind = if about.mode() & 0o111 == 0 { "file" } else { "program" };
            format!("{kind} {}", digest(&full).map_err(io_error("read", &full))?)
        } else {
            "neither a file nor a folder".to_owned()
        };
        self.files.insert(name, digest);
        Ok(())
    }

    /// What is at a path; nothing if nothing is.
    fn about(&self, path: &Path) -> Result<Option<Metadata>, CacheError> {
        let full = self.tree.join(path);
        match fs::symlink_metadata(&full) {
            Ok(about) => Ok(Some(about)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            // There can be no file of such a name.
            Err(error) if error.kind() == io::ErrorKind::InvalidFilename => Ok(None),
            Err(error) => Err(io_error("look at", &full)(error)),
        }
    }

    /// What is in a folder.
    fn list(&self, folder: &Path) -> Result<Vec<(PathBuf, Metadata)>, CacheError> {
        let full = self.tree.join(folder);
        let failed = || io_error("list", &full);
        let mut list = Vec::new();
        for entry in fs::read_dir(&full).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            if entry.file_name() != GIT {
                list.push((folder.join(entry.file_name()), entry.metadata().map_err(failed())?));
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
            0 => return Ok(hex(hash)),
            length => hash.update(&buffer[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new(files: &[&str]) -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            files.iter().for_each(|file| tree.write(file, file));
            tree
        }

        fn path(&self, name: impl AsRef<Path>) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: impl AsRef<Path>, text: &str) {
            let path = self.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn inputs(&self, patterns: &[&str]) -> Inputs {
            inputs(self.0.path(), &patterns.iter().map(|pattern| (*pattern).to_owned()).collect()).unwrap()
        }

        /// The names that patterns find, all of which find something.
        fn names(&self, patterns: &[&str]) -> Vec<String> {
            let found = self.inputs(patterns);
            assert_eq!(found.unmatched, [""; 0], "{patterns:?}");
            found.files.into_keys().collect()
        }
    }

    #[test]
    fn patterns_find_files_and_folders() {
        let tree = Tree::new(&[
            "a",
            "src/main.c",
            "src/main.h",
            "src/lib/x.c",
            "src/lib/.y.c",
            "docs/src/z.c",
            "[x]",
        ]);
        fs::create_dir(tree.path("empty")).unwrap();
        for (pattern, expected) in [
            ("a", &["a"][..]),
            ("./a", &["a"]),
            ("src", &["src/lib/.y.c", "src/lib/x.c", "src/main.c", "src/main.h"]),
            ("src//lib/", &["src/lib/.y.c", "src/lib/x.c"]),
            ("src/*.c", &["src/main.c"]),
            ("src/*", &["src/lib/.y.c", "src/lib/x.c", "src/main.c", "src/main.h"]),
            ("src/main.?", &["src/main.c", "src/main.h"]),
            ("src/main.[!h]", &["src/main.c"]),
            ("**/*.c", &["docs/src/z.c", "src/lib/.y.c", "src/lib/x.c", "src/main.c"]),
            ("**/src", &["docs/src/z.c", "src/lib/.y.c", "src/lib/x.c", "src/main.c", "src/main.h"]),
            ("src/**/x.c", &["src/lib/x.c"]),
            ("[x]", &["[x]"]),
            ("[a-z]", &["a"]),
            ("empty", &[]),
        ] {
            assert_eq!(tree.names(&[pattern]), expected, "{pattern}");
        }
        assert_eq!(tree.names(&["."]).len(), 7);
        assert_eq!(tree.names(&["**"]).len(), 7);
        assert_eq!(tree.names(&["src/*.h", "a", "src/main.h"]), ["a", "src/main.h"]);
        let unmatched = ["b", "a/b", "src/*.rs", "../x", "/etc/passwd", "x[", "{x"];
        let mut sorted = unmatched.to_vec();
        sorted.sort_unstable();
        assert_eq!(
            tree.inputs(&unmatched),
            Inputs { files: BTreeMap::new(), unmatched: sorted.iter().map(|p| (*p).into()).collect() }
        );
    }

    #[test]
    fn what_a_file_is_counts_and_what_it_is_not_does_not() {
        let tree = Tree::new(&["a", "b"]);
        let digest = |name: &str| tree.inputs(&[name]).files[name].clone();
        let (before, other) = (digest("a"), digest("b"));
        assert_ne!(before, other);
        tree.write("b", "a");
        assert_eq!(digest("b"), before);
        let set_mode = |mode| fs::set_permissions(tree.path("a"), fs::Permissions::from_mode(mode)).unwrap();
        set_mode(0o600);
        assert_eq!(digest("a"), before, "who may read it does not matter");
        set_mode(0o744);
        assert_ne!(digest("a"), before, "whether it is a program does");
        fs::remove_file(tree.path("a")).unwrap();
        symlink("b", tree.path("a")).unwrap();
        assert_ne!(digest("a"), before);
    }

    #[test]
    fn links_count_and_so_does_what_they_lead_to_in_the_tree() {
        let tree = Tree::new(&["real/x", "real/deep/y", "src/a"]);
        for (link, target) in [
            ("file", "real/x"),
            ("folder", "./real"),
            ("src/up", "../real/deep/y"),
            ("out", "../../canary"),
            ("absolute", "/etc/hostname"),
            ("nothing", "none"),
            ("round", "round"),
            ("longer", "longer/a"),
            ("src/all", ".."),
        ] {
            symlink(target, tree.path(link)).unwrap();
        }
        assert_eq!(tree.names(&["file"]), ["file", "real/x"]);
        assert_eq!(tree.names(&["folder"]), ["folder", "real/deep/y", "real/x"]);
        assert_eq!(tree.names(&["folder/deep"]), ["folder", "real/deep/y"]);
        assert_eq!(tree.names(&["folder/*p/y"]), ["folder", "real/deep/y", "real/x"]);
        assert_eq!(tree.names(&["src/up"]), ["real/deep/y", "src/up"]);
        for alone in ["out", "absolute", "nothing", "round", "longer", "out/x"] {
            assert_eq!(tree.names(&[alone]), [alone.trim_end_matches("/x")]);
        }
        assert_eq!(tree.names(&["src"]).len(), 12, "all, since src/all leads to it");
        let before = tree.inputs(&["folder/x"]);
        tree.write("real/x", "new");
        assert_ne!(tree.inputs(&["folder/x"]), before);
    }

    #[test]
    fn the_history_counts_only_by_name() {
        let tree = Tree::new(&[".git/HEAD", "a", "sub/.git", ".github/ci"]);
        for pattern in [".", "**", "*", "**/*"] {
            assert_eq!(tree.names(&[pattern]), [".github/ci", "a"], "{pattern}");
        }
        assert_eq!(tree.names(&[".git/HEAD", ".git"]), [".git/HEAD"]);
    }

    #[test]
    fn names_are_told_apart_whatever_is_in_them() {
        let tree = Tree::new(&[]);
        for name in [&b"x\xff"[..], b"x\xfe", b"x\\xff", b"x\xff\xff", "xä\n".as_bytes()] {
            tree.write(OsStr::from_bytes(name), "same");
        }
        let names = tree.names(&["x*"]);
        assert_eq!(names, ["x\\\\xff", "x\\xfe", "x\\xff", "x\\xff\\xff", "xä\n"]);
    }

    #[test]
    fn what_is_no_file_counts_without_being_read() {
        let tree = Tree::new(&["a"]);
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        rustix::fs::mkfifoat(rustix::fs::CWD, tree.path("pipe"), mode).unwrap();
        assert_eq!(tree.inputs(&["."]).files["pipe"], "neither a file nor a folder");
    }

    #[test]
    fn patterns_that_are_long_or_odd_do_no_harm() {
        let tree = Tree::new(&["a"]);
        for pattern in [
            "?".repeat(4000),
            "**/".repeat(1300),
            "[!a]".repeat(1000),
            "{a,b}".repeat(800),
            "{a,".repeat(1300),
            "*a".repeat(2000),
            "a/".repeat(2000),
            "[".repeat(4000),
            "x".repeat(300),
            "x/".repeat(5000),
        ] {
            tree.inputs(&[&pattern]);
        }
    }

    #[test]
    fn ten_thousand_files_are_found_and_told_apart() {
        // In memory, where there is such a place: a disk may take half a minute to remove them all.
        let memory = tempfile::tempdir_in("/dev/shm");
        let tree = Tree(memory.or_else(|_| tempfile::tempdir()).unwrap());
        for at in 0..10_000 {
            tree.write(format!("d{}/e{}/f{at}", at % 10, at % 100), &format!("{at}"));
        }
        let started = std::time::Instant::now();
        let all = tree.inputs(&["**/f*", "d1"]);
        println!("10,000 files: {:?}", started.elapsed());
        assert_eq!(all.files.len(), 10_000);
        assert_eq!(all.files.values().collect::<BTreeSet<_>>().len(), 10_000);
        assert_eq!(tree.inputs(&["d1"]).files.len(), 1000);
        tree.write("d7/e77/f77", "other");
        let changed = tree.inputs(&["."]);
        let differ = |(a, b): &((&String, &String), (&String, &String))| a != b;
        assert_eq!(all.files.iter().zip(&changed.files).filter(differ).count(), 1);
    }
}
