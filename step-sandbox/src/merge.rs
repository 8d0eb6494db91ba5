//! Flattens a stack of overlay layers into one tree, as the kernel would show it. Its files are hard links to those
//! of the layers: layers are never written, so nobody can tell.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, Metadata},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use hm_disk::{ModeGuard, make_directory};
use hm_workspace::tree;

use crate::error::SandboxError;

/// Merges `layers`, topmost first, into the directory `target`, which is made.
///
/// # Errors
/// The first thing that cannot be read or made.
pub(crate) fn merge(layers: &[PathBuf], target: &Path) -> Result<(), SandboxError> {
    let mut finish = Vec::new();
    let mut open = vec![(layers.to_vec(), target.to_owned())];
    let mut opened = ModeGuard::default();
    while let Some((layers, target)) = open.pop() {
        let Some(top) = layers.first() else { continue };
        let about = fs::symlink_metadata(top).map_err(SandboxError::io("read", top))?;
        make_directory(&target)?;
        for layer in &layers {
            let about = fs::symlink_metadata(layer).map_err(SandboxError::io("read", layer))?;
            opened.open(layer, &about)?;
        }
        for (name, sources) in entries(&layers)? {
            let target = target.join(name);
            match sources {
                Sources::File(path) => link(&path, &target)?,
                Sources::Directories(paths) => open.push((paths, target)),
            }
        }
        finish.push((target, about));
    }
    Ok(finish.into_iter().rev().try_for_each(|(path, about)| tree::finish_directory(&path, &about))?)
}

/// Origin of what is visible under some name.
pub(crate) enum Sources {
    /// Anything but a directory.
    File(PathBuf),
    /// A directory, merged from these, topmost first.
    Directories(Vec<PathBuf>),
}

/// Visible names of a directory that is merged from `directories`, topmost first.
///
/// # Errors
/// The first thing that cannot be read.
pub(crate) fn entries(directories: &[PathBuf]) -> Result<BTreeMap<OsString, Sources>, SandboxError> {
    let mut seen = BTreeMap::<OsString, Sources>::new();
    // Names that something above hides from the layers below.
    let mut settled = BTreeSet::new();
    for directory in directories {
        for entry in fs::read_dir(directory).map_err(SandboxError::io("read", directory))? {
            let entry = entry.map_err(SandboxError::io("read", directory))?;
            let name = entry.file_name();
            if settled.contains(&name) {
                continue;
            }
            let path = entry.path();
            let about = fs::symlink_metadata(&path).map_err(SandboxError::io("read", &path))?;
            match seen.get_mut(&name) {
                Some(Sources::Directories(paths)) if about.is_dir() => paths.push(path.clone()),
                Some(_) => {}
                None if is_whiteout(&about) => {}
                None if about.is_dir() => {
                    seen.insert(name.clone(), Sources::Directories(vec![path.clone()]));
                }
                None => {
                    seen.insert(name.clone(), Sources::File(path.clone()));
                }
            }
            if !about.is_dir() || is_opaque(&path) {
                settled.insert(name);
            }
        }
    }
    Ok(seen)
}

/// True for an overlay's mark that something is deleted here.
pub(crate) fn is_whiteout(about: &Metadata) -> bool {
    about.file_type().is_char_device() && about.rdev() == 0
}

/// True for an overlay's mark that nothing of this directory comes from below.
fn is_opaque(path: &Path) -> bool {
    let mut value = [0; 1];
    rustix::fs::lgetxattr(path, "user.overlay.opaque", &mut value)
        .is_ok_and(|length| value[..length] == *b"y")
}

fn link(source: &Path, target: &Path) -> Result<(), SandboxError> {
    let Err(error) = fs::hard_link(source, target) else { return Ok(()) };
    // Too many links, or a file system without any.
    let about = fs::symlink_metadata(source).map_err(SandboxError::io("read", source))?;
    if about.is_symlink() {
        Ok(tree::copy_link(source, target)?)
    } else if about.is_file() {
        Ok(tree::copy_file(source, target)?)
    } else {
        Err(SandboxError::io("link", source)(error))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn upper_layers_win_and_hide() {
        let scratch = tempfile::tempdir().unwrap();
        let (top, middle, base) =
            (scratch.path().join("top"), scratch.path().join("middle"), scratch.path().join("base"));
        for (layer, file) in [
            (&base, "kept/a"),
            (&base, "opaque/old"),
            (&base, "replaced/by-file/x"),
            (&base, "shared/base"),
            (&middle, "shared/middle"),
            (&middle, "opaque/new"),
            (&top, "shared/top"),
        ] {
            let path = layer.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        fs::write(base.join("over"), "base").unwrap();
        fs::write(middle.join("over"), "middle").unwrap();
        fs::write(middle.join("replaced"), "a file now").unwrap();
        let options = rustix::fs::XattrFlags::empty();
        if rustix::fs::setxattr(middle.join("opaque"), "user.overlay.opaque", b"y", options).is_err() {
            println!("SKIPPED: no user attributes on this file system");
            return;
        }
        fs::set_permissions(base.join("kept"), PermissionsExt::from_mode(0o000)).unwrap();
        let target = scratch.path().join("merged");
        merge(&[top, middle.clone(), base.clone()], &target).unwrap();
        let closed = base.join("kept");
        assert_eq!(fs::metadata(&closed).unwrap().mode() & 0o777, 0, "its mode is back");
        assert_eq!(fs::metadata(target.join("kept")).unwrap().mode() & 0o777, 0);
        for path in [closed, target.join("kept")] {
            fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let names = |path: &str| {
            let mut names: Vec<_> =
                fs::read_dir(target.join(path)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(""), ["kept", "opaque", "over", "replaced", "shared"]);
        assert_eq!(names("shared"), ["base", "middle", "top"]);
        assert_eq!(names("opaque"), ["new"]);
        assert_eq!(fs::read_to_string(target.join("over")).unwrap(), "middle");
        assert_eq!(fs::read_to_string(target.join("replaced")).unwrap(), "a file now");
        let (link, file) =
            (fs::metadata(target.join("over")).unwrap(), fs::metadata(middle.join("over")).unwrap());
        assert_eq!(link.ino(), file.ino());
    }
}
