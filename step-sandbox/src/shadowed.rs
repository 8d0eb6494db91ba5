//! Files of the project that a kept layer shadows, and what they were: a layer holds whole files, so one that its step
//! has merely touched hides whatever the project has there later. Where layers are, and what follows, is not known
//! here.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    io::ErrorKind,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use hm_disk::{ModeGuard, open_regular};
use hm_workspace::{SnapshotProblem, content::Content};
use parking_lot::{Mutex, MutexGuard};

use crate::{error::SandboxError, merge};

/// End of a list, which one that was not written in full has not.
const END: &[u8] = b"end";

/// Word for a path where nothing is.
const NOTHING: &str = "-";

/// Word for a directory.
const DIRECTORY: &str = "d";

/// Contents at paths of a snapshot, as texts that differ if the contents do. Snapshots do not change, so
/// no file is read twice.
#[derive(Debug, Default)]
pub(crate) struct Contents(Mutex<HashMap<PathBuf, String>>);

impl Contents {
    /// Lists the paths that a layer has something at, down to the first that `base`, the snapshot below it, has no
    /// directory at, with what that has there. What the layer has merely removed is not among them. Nobody else may be
    /// in the layer.
    ///
    /// # Errors
    /// Something cannot be read.
    pub(crate) fn list(&self, layer: &Path, base: &Path) -> Result<Vec<u8>, SandboxError> {
        let mut list = Vec::new();
        let mut opened = ModeGuard::default();
        let mut open = vec![PathBuf::new()];
        while let Some(directory) = open.pop() {
            let full = layer.join(&directory);
            let about = fs::symlink_metadata(&full).map_err(SandboxError::io("read", &full))?;
            opened.open(&full, &about)?;
            for entry in fs::read_dir(&full).map_err(SandboxError::io("read", &full))? {
                let entry = entry.map_err(SandboxError::io("read", &full))?;
                let about = entry.metadata().map_err(SandboxError::io("read", entry.path()))?;
                if merge::is_whiteout(&about) {
                    continue;
                }
                let path = directory.join(entry.file_name());
                let there = self.at(&base.join(&path))?;
                // A directory before what is in it.
                list.extend(there.as_bytes());
                list.push(b' ');
                list.extend(path.as_os_str().as_bytes());
                list.push(0);
                if about.is_dir() && there == DIRECTORY {
                    open.push(path);
                }
            }
        }
        list.extend(END);
        Ok(list)
    }

    /// Problem of a layer with this list on a snapshot: there is a path at which that has not what is said there.
    ///
    /// # Errors
    /// Something cannot be read.
    pub(crate) fn snapshot_problem(
        &self,
        list: &[u8],
        base: &Path,
    ) -> Result<Option<SnapshotProblem>, SandboxError> {
        let Some(records) = list.strip_suffix(END) else { return Ok(Some(SnapshotProblem::Damaged)) };
        for record in records.split_inclusive(|&byte| byte == 0) {
            let mut parts = record.strip_suffix(b"\0").unwrap_or_default().splitn(2, |&byte| byte == b' ');
            let (Some(there), Some(path)) = (parts.next(), parts.next()) else {
                return Ok(Some(SnapshotProblem::Damaged));
            };
            // The directory that it is in came before it, so no link leads elsewhere.
            if self.at(&base.join(OsStr::from_bytes(path)))?.as_bytes() != there {
                return Ok(Some(SnapshotProblem::Covered(String::from_utf8_lossy(path).into_owned())));
            }
        }
        Ok(None)
    }

    fn at(&self, path: &Path) -> Result<String, SandboxError> {
        let about = match fs::symlink_metadata(path) {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename
                ) =>
            {
                return Ok(NOTHING.to_owned());
            }
            about => about.map_err(SandboxError::io("read", path))?,
        };
        if about.is_dir() {
            return Ok(DIRECTORY.to_owned());
        }
        if let Some(known) = self.known().get(path) {
            return Ok(known.clone());
        }
        let (kind, content) = if about.is_symlink() {
            let text = fs::read_link(path).map_err(SandboxError::io("read the link", path))?;
            ('l', Content::of(text.as_os_str().as_bytes()))
        } else {
            let kind = if about.mode() & 0o111 == 0 { 'f' } else { 'x' };
            (kind, open_regular(path).and_then(Content::of))
        };
        let content = content.map_err(SandboxError::io("read", path))?;
        let text = format!("{kind}{}", content.sha256);
        self.known().insert(path.to_owned(), text.clone());
        Ok(text)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<PathBuf, String>> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::Permissions,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use hm_disk::remove_tree;

    use super::*;

    fn fill(tree: &Path, files: &[&str]) {
        for file in files {
            let path = tree.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
    }

    #[test]
    fn what_a_layer_lies_on_has_to_stay_and_all_else_may_change() {
        let scratch = tempfile::tempdir().unwrap();
        let [layer, base] = ["layer", "base"].map(|name| scratch.path().join(name));
        let odd = Path::new(OsStr::from_bytes(b"odd \n\xff"));
        fill(&base, &["file", "src/touched", "src/other", "was/dir", "link/not", "elsewhere/x"]);
        fs::remove_dir_all(base.join("link")).unwrap();
        symlink("elsewhere", base.join("link")).unwrap();
        fs::write(base.join(odd), "odd").unwrap();
        fill(&layer, &["file", "src/touched", "src/own", "was", "link/x", "new/deep/own", "closed/x"]);
        fs::write(layer.join(odd), "").unwrap();
        fs::set_permissions(layer.join("src"), Permissions::from_mode(0o000)).unwrap();
        let unfit = |list: &[u8]| Contents::default().snapshot_problem(list, &base).unwrap();
        let covered = |path: &str| Some(SnapshotProblem::Covered(path.into()));
        let list = Contents::default().list(&layer, &base).unwrap();
        assert_eq!(fs::metadata(layer.join("src")).unwrap().mode() & 0o777, 0, "as it was");
        fs::set_permissions(layer.join("src"), Permissions::from_mode(0o755)).unwrap();
        let mut paths: Vec<_> = list.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect();
        paths.sort();
        let text = |path: &[u8]| paths.iter().filter(|record| record.ends_with(path)).count();
        assert_eq!(paths.len(), 10, "{paths:?}");
        let all: [&[u8]; 5] = [b"- new", b"- closed", b"- src/own", b"d src", b"d was"];
        assert!(all.iter().all(|record| text(record) == 1), "{paths:?}");
        assert_eq!(unfit(&list), None);
        for end in 0..list.len() {
            assert_eq!(unfit(&list[..end]), Some(SnapshotProblem::Damaged), "cut at {end}");
        }

        fill(&base, &["src/more", "elsewhere/y", "was/more"]);
        fs::write(base.join("src/other"), "changed").unwrap();
        assert_eq!(unfit(&list), None, "nothing of that is covered");
        type Change<'a> = (&'a str, &'a dyn Fn(&Path), &'a dyn Fn(&Path));
        let write = |text: &'static str| move |path: &Path| fs::write(path, text).unwrap();
        let mode =
            |mode: u32| move |path: &Path| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let remove = |path: &Path| remove_tree(path).unwrap();
        let relink = |to: &'static str| {
            move |path: &Path| {
                remove_tree(path).unwrap();
                symlink(to, path).unwrap();
            }
        };
        let changes: [Change<'_>; 8] = [
            ("file", &write("changed"), &write("file")),
            ("file", &mode(0o755), &mode(0o644)),
            ("src/touched", &remove, &write("src/touched")),
            ("src/own", &write("now the project has one"), &remove),
            ("new", &write(""), &remove),
            ("closed", &|path: &Path| fs::create_dir(path).unwrap(), &remove),
            ("link", &relink("src"), &relink("elsewhere")),
            ("odd \n", &|_| fs::write(base.join(odd), "").unwrap(), &|_| {
                fs::write(base.join(odd), "odd").unwrap();
            }),
        ];
        for (path, change, back) in changes {
            change(&base.join(path));
            let told = if path.starts_with("odd") { "odd \n\u{fffd}" } else { path };
            assert_eq!(unfit(&list), covered(told));
            back(&base.join(path));
            assert_eq!(unfit(&list), None, "{path}");
        }
        remove_tree(&base.join("src")).unwrap();
        symlink("elsewhere", base.join("src")).unwrap();
        assert_eq!(unfit(&list), covered("src"), "no link is followed");
        assert_eq!(unfit(END), None);
    }
}
