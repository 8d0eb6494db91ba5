//! Builds the root directory of a sandbox out of mounts and moves into it. Runs in a mount namespace of its own, with
//! all capabilities there; what of the host is shown was decided elsewhere.

use std::{
    ffi::CString,
    fs,
    io::Write,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{StatVfsMountFlags, statvfs},
    mount::{
        MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive,
        mount_change, mount_remount, unmount,
    },
    process::{chdir, pivot_root},
};

use hm_workspace::WORKSPACE;

use crate::{
    config::HOME,
    wire::{Overlay, Root},
};

/// Devices that most programs expect, shared with the host.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// A directory that nobody reads, to cover other directories with. It is gone before the command starts.
const NOTHING: &str = ".nothing";

/// Makes the new root and moves into it.
///
/// # Errors
/// A sentence: which mount failed, and the system's answer.
pub(crate) fn enter(place: &Root) -> Result<(), String> {
    let root = &place.mount_point;
    let harmless = MountFlags::NOSUID | MountFlags::NODEV;
    // First of all, or what we mount would show on the host, and what is unmounted there would go from here.
    at(
        "make mounts private",
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE),
    )?;
    // A file system of its own: `pivot_root` takes only a mount, and what is made in here reaches no disk of the host.
    at("mount the root", mount("tmpfs", root, "tmpfs", harmless, options(b"size=4m,mode=755")?.as_c_str()))?;
    // Places for the mounts below. Once the root is read-only, there can be no more of them.
    for directory in ["proc", "dev/pts", "dev/shm", "run", "tmp", "var", HOME, WORKSPACE, NOTHING] {
        let path = inside(root, Path::new(directory));
        at("make a directory", fs::create_dir_all(&path))
            .map_err(|error| format!("{error} ({directory})"))?;
    }
    // Mounts of their own, which stay writable when the root becomes read-only. `/tmp` is on the disk, for large files.
    at(
        "mount /run",
        mount("tmpfs", root.join("run"), "tmpfs", harmless, options(b"size=16m,mode=755")?.as_c_str()),
    )?;
    at("mount /tmp", bind_with(&place.tmp, &root.join("tmp"), harmless))?;
    // Relative, as every link that we may follow before we have moved in: others lead out of the new root.
    at("link /var/tmp", symlink("../tmp", root.join("var/tmp")))?;
    at("link /var/run", symlink("../run", root.join("var/run")))?;
    at("mount the home directory", bind_with(&place.home, &inside(root, Path::new(HOME)), harmless))?;
    devices(root)?;
    // A new one, of our namespace of processes: the host's would show what runs there, and have links into its files.
    // Read-only: much in there acts on the whole machine, and the real root may write it without any capability.
    let unchanging = harmless | MountFlags::NOEXEC | MountFlags::RDONLY;
    at("mount /proc", mount("proc", root.join("proc"), "proc", unchanging, None))?;
    let etc = inside(root, Path::new("/etc"));
    at("show /etc", bind_with(&place.etc, &etc, harmless | MountFlags::RDONLY))?;
    for (link, target) in &place.links {
        let link = inside(root, link);
        match make_parent(&link).and_then(|()| symlink(target, &link)) {
            Ok(()) => {}
            // Of ours there may be one already, which does as well.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(format!("link {}: {error}", link.display())),
        }
    }
    // After the links, and before anything is hidden in them.
    for path in &place.binds {
        bind(path, &inside(root, path)).map_err(|error| format!("show {}: {error}", path.display()))?;
    }
    for path in &place.hidden {
        hide(path, root).map_err(|error| format!("hide {}: {error}", path.display()))?;
    }
    // When all of them are there: making the upper one read-only says nothing of what is mounted below it.
    read_only(root, &place.binds)?;
    // After the paths of the host, which may have the project among them: the workspace has to lie on top.
    let workspace = inside(root, Path::new(WORKSPACE));
    overlay(&place.workspace, &workspace)?;
    if place.workspace.read_only {
        let unchanging = MountFlags::BIND | MountFlags::RDONLY | harmless;
        at("make the workspace read-only", mount_remount(&workspace, unchanging, c""))?;
    }
    // What it covers stays covered: those mounts hold the directory itself. Its name has to go while the root can be
    // written.
    at("tidy up", fs::remove_dir(root.join(NOTHING)))?;
    at(
        "make the root read-only",
        mount_remount(root, MountFlags::BIND | MountFlags::RDONLY | harmless, c""),
    )?;
    at("enter the root", chdir(root))?;
    // The old root ends up on top of the new one, and so needs no directory in there. Detached, since this very process
    // still has files open in it.
    at("enter the root", pivot_root(".", "."))?;
    at("leave the old root", unmount(".", UnmountFlags::DETACH))?;
    // Or our working directory would still lead into the old root, which lives as long as somebody is in it.
    at("enter the root", chdir("/"))
}

fn at<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error}"))
}

fn options(text: &[u8]) -> Result<CString, String> {
    CString::new(text).map_err(|_| "a mount option contains a NUL byte".to_owned())
}

/// Place of an absolute path of the sandbox before we have moved in.
fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn make_parent(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn devices(root: &Path) -> Result<(), String> {
    let dev = root.join("dev");
    let unchanging = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::RDONLY;
    for name in DEVICES {
        let host = Path::new("/dev").join(name);
        // Writing to a device is no writing to the file system, so this does not prevent it.
        bind_with(&host, &dev.join(name), unchanging)
            .map_err(|error| format!("show {}: {error}", host.display()))?;
    }
    let quiet = MountFlags::NOSUID | MountFlags::NOEXEC;
    // An instance of its own, or the host's terminals would show.
    let terminals = options(b"newinstance,ptmxmode=0666,mode=0620")?;
    at("mount /dev/pts", mount("devpts", dev.join("pts"), "devpts", quiet, terminals.as_c_str()))?;
    let shared = options(b"mode=1777")?;
    at(
        "mount /dev/shm",
        mount("tmpfs", dev.join("shm"), "tmpfs", quiet | MountFlags::NODEV, shared.as_c_str()),
    )?;
    for (name, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        at("fill /dev", symlink(target, dev.join(name)))?;
    }
    Ok(())
}

/// Makes something to mount `source` on.
fn make_mount_point(source: &Path, target: &Path) -> std::io::Result<()> {
    if fs::metadata(source)?.is_dir() {
        fs::create_dir_all(target)
    } else {
        make_parent(target)?;
        fs::OpenOptions::new().create(true).append(true).open(target).map(drop)
    }
}

/// Shows `source`, without what may be mounted below it, with these flags at the least.
fn bind_with(source: &Path, target: &Path, mut flags: MountFlags) -> std::io::Result<()> {
    make_mount_point(source, target)?;
    // Flags come in a second call: the kernel ignores those of a bind mount.
    mount_bind(source, target)?;
    // What the host's mount forbids, we cannot allow: in a user namespace, a remount without those flags is refused.
    let host = statvfs(target)?.f_flag;
    for (forbidden, flag) in [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    ] {
        if host.contains(forbidden) {
            flags |= flag;
        }
    }
    Ok(mount_remount(target, MountFlags::BIND | flags, c"")?)
}

/// Shows `source`, and what is mounted below it, at `target`.
fn bind(source: &Path, target: &Path) -> std::io::Result<()> {
    make_mount_point(source, target)?;
    // The mounts below come along: without privileges the kernel will not have them cut off.
    Ok(mount_bind_recursive(source, target)?)
}

/// Covers what is there with nothing. It may be gone by now.
fn hide(path: &Path, root: &Path) -> std::io::Result<()> {
    let target = inside(root, path);
    let cover = match fs::symlink_metadata(&target) {
        Ok(about) if about.is_dir() => root.join(NOTHING),
        // A mount would follow it, and cover what it leads to.
        Ok(about) if about.is_symlink() => return Ok(()),
        Ok(_) => root.join("dev/null"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    Ok(mount_bind(cover, target)?)
}

/// Makes every mount in the given places read-only; one that hangs below another has to be told by itself.
fn read_only(root: &Path, places: &[PathBuf]) -> Result<(), String> {
    let places: Vec<_> = places.iter().map(|path| inside(root, path)).collect();
    let table = at("read the mount table", fs::read("/proc/self/mountinfo"))?;
    for (point, noexec) in table.split(|&byte| byte == b'\n').filter_map(mount_point) {
        if !places.iter().any(|place| point.starts_with(place)) {
            continue;
        }
        let mut flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
        // As above: a remount has to repeat what the host's mount forbids.
        if noexec {
            flags |= MountFlags::NOEXEC;
        }
        match mount_remount(&point, flags, c"") {
            Ok(()) => {}
            // We cannot even get there, so the command cannot either.
            Err(rustix::io::Errno::ACCESS | rustix::io::Errno::NOENT) if !places.contains(&point) => {}
            Err(error) => return Err(format!("make {} read-only: {error}", point.display())),
        }
    }
    Ok(())
}

/// Reads one line of the mount table: where, and whether nothing there may be executed.
fn mount_point(line: &[u8]) -> Option<(PathBuf, bool)> {
    let mut fields = line.split(|&byte| byte == b' ').skip(4);
    let (point, options) = (fields.next()?, fields.next()?);
    let mut path = Vec::with_capacity(point.len());
    let mut rest = point.iter().copied();
    while let Some(byte) = rest.next() {
        // Blanks and the like are written as a backslash and three octal digits.
        let digits = (byte == b'\\')
            .then(|| rest.by_ref().take(3).fold(0_u8, |sum, digit| sum.wrapping_mul(8) | (digit & 7)));
        path.push(digits.unwrap_or(byte));
    }
    let noexec = options.split(|&byte| byte == b',').any(|option| option == b"noexec");
    Some((PathBuf::from(std::ffi::OsStr::from_bytes(&path)), noexec))
}

fn overlay(layers: &Overlay, target: &Path) -> Result<(), String> {
    // The kernel counts relative paths from here, and gives all options one page: so more layers fit in.
    at("go to the layers", chdir(&layers.directory))?;
    // `userxattr`: without privileges an overlay may not write its marks where root's overlays have theirs. `volatile`:
    // layers do not outlive a crash of the machine, so no step has to wait for the disk.
    let mut text = b"userxattr,volatile".to_vec();
    for (name, paths) in [
        ("lowerdir", layers.lower.as_slice()),
        ("upperdir", std::slice::from_ref(&layers.upper)),
        ("workdir", std::slice::from_ref(&layers.work)),
    ] {
        let _ = write!(text, ",{name}=");
        for (number, path) in paths.iter().enumerate() {
            if number > 0 {
                text.push(b':');
            }
            for &byte in path.as_os_str().as_bytes() {
                if matches!(byte, b':' | b',' | b'\\') {
                    text.push(b'\\');
                }
                text.push(byte);
            }
        }
    }
    at(
        "mount the workspace",
        mount(
            "overlay",
            target,
            "overlay",
            MountFlags::NOSUID | MountFlags::NODEV,
            options(&text)?.as_c_str(),
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_mount_table_is_understood() {
        let line = br"36 35 98:0 /mnt1 /a\040b/c\134d rw,noexec,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(mount_point(line), Some((PathBuf::from(r"/a b/c\d"), true)));
        let line = b"36 35 98:0 / /usr ro,nosuid - ext4 /dev/root rw";
        assert_eq!(mount_point(line), Some((PathBuf::from("/usr"), false)));
        assert_eq!(mount_point(b""), None);
    }
}
