//! Archives of trees with names that nobody wants, as real `tar` unpacks them.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::time::SystemTime;

use super::*;

fn bytes(archive: &Archive) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() as u64 != archive.size() {
        let next = archive.read(all.len() as u64, 1000).unwrap();
        assert!((1..=1000).contains(&next.len()));
        all.extend(next);
    }
    all
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Names as they come, and names as nobody wants them.
fn fill(tree: &Path) {
    let long = "l".repeat(250);
    fs::create_dir_all(tree.join("sub/empty")).unwrap();
    fs::create_dir_all(tree.join(&long).join(&long)).unwrap();
    for (name, content) in [
        ("a", &b"a"[..]),
        ("sub/run", b"#!"),
        (" - *\n\t'\"\\", b"odd"),
        ("sub.txt", b""),
        ("ä", &[7; 5000]),
        (&"x".repeat(99), b"99"),
        (&"x".repeat(100), b"100"),
        (&"x".repeat(101), b"101"),
    ] {
        fs::write(tree.join(name), content).unwrap();
    }
    fs::write(tree.join(&long).join(&long).join("deep"), "deep").unwrap();
    let no_text = [&[0xff_u8; 120][..], b"\xfe"].concat();
    fs::write(tree.join(std::ffi::OsStr::from_bytes(&no_text)), "no text").unwrap();
    set_mode(&tree.join("sub/run"), 0o4711);
    for (name, to) in [
        ("sub/loop", "loop"),
        ("up", "../.././x//y"),
        ("absolute", "/etc/passwd"),
        ("far", &"t/".repeat(200)),
    ] {
        symlink(to, tree.join(name)).unwrap();
    }
    symlink(".", tree.join("sub/round")).unwrap();
}

/// Content of a tree, as the archive has it: kind, mode, bytes.
fn content(tree: &Path) -> BTreeMap<PathBuf, (char, u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut open = vec![tree.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let about = fs::symlink_metadata(&path).unwrap();
            let described = if about.is_symlink() {
                ('l', 0, fs::read_link(&path).unwrap().into_os_string().as_encoded_bytes().to_vec())
            } else if about.is_dir() {
                open.push(path.clone());
                ('d', 0o755, Vec::new())
            } else {
                let run = about.permissions().mode() & 0o111 != 0;
                ('f', if run { 0o755 } else { 0o644 }, fs::read(&path).unwrap())
            };
            all.insert(path.strip_prefix(tree).unwrap().to_owned(), described);
        }
    }
    all
}

#[test]
fn tar_unpacks_what_was_packed() {
    let scratch = tempfile::tempdir().unwrap();
    let (tree, unpacked) = (scratch.path().join("tree"), scratch.path().join("unpacked"));
    fs::create_dir(&tree).unwrap();
    fs::create_dir(&unpacked).unwrap();
    fill(&tree);
    let expected = content(&tree);
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, tree.join("pipe"), rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
    let archive = Archive::pack(&tree, scratch.path()).unwrap();
    let file = scratch.path().join("archive.tar.gz");
    fs::write(&file, bytes(&archive)).unwrap();
    let ran = Command::new("tar").arg("-xzf").arg(&file).arg("-C").arg(&unpacked).output().unwrap();
    assert!(ran.status.success() && ran.stderr.is_empty(), "{}", String::from_utf8_lossy(&ran.stderr));
    let found = content(&unpacked);
    assert_eq!(found, expected);
    for (path, (kind, mode, _)) in &found {
        let about = fs::symlink_metadata(unpacked.join(path)).unwrap();
        if *kind != 'l' {
            assert_eq!(about.permissions().mode() & 0o7777, *mode, "{}", path.display());
        }
    }
    let listed = Command::new("tar").arg("-tvzf").arg(&file).output().unwrap().stdout;
    assert!(String::from_utf8_lossy(&listed).lines().all(|line| line.contains(" 0/0 ")));
}

#[test]
fn the_same_files_make_the_same_archive() {
    let scratch = tempfile::tempdir().unwrap();
    let trees = ["one", "two"].map(|name| scratch.path().join(name));
    for tree in &trees {
        fs::create_dir(tree).unwrap();
    }
    fill(&trees[0]);
    // In another order, with other times and modes that mean the same.
    for (path, (kind, _, content)) in content(&trees[0]).into_iter().rev() {
        let at = trees[1].join(&path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        match kind {
            'd' => fs::create_dir_all(&at).unwrap(),
            'l' => symlink(Path::new(std::ffi::OsStr::from_bytes(&content)), &at).unwrap(),
            _ => {
                fs::write(&at, content).unwrap();
                set_mode(&at, if path.ends_with("run") { 0o700 } else { 0o600 });
                File::open(&at).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
            }
        }
    }
    let [one, two] = trees.map(|tree| bytes(&Archive::pack(&tree, scratch.path()).unwrap()));
    assert_eq!(one[..2], [0x1f, 0x8b], "as hm 0.0.1 made them");
    assert!(one == two);
}

#[test]
fn reading_ends_at_the_end() {
    let scratch = tempfile::tempdir().unwrap();
    let tree = scratch.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let archive = Archive::pack(&tree, scratch.path()).unwrap();
    let size = archive.size();
    assert!(size > 0, "even of nothing");
    assert_eq!(archive.read(0, u64::MAX).unwrap().len() as u64, size);
    assert_eq!(archive.read(size - 1, 5).unwrap().len(), 1);
    for (offset, max) in [(size, 1), (u64::MAX, u64::MAX), (0, 0)] {
        assert!(archive.read(offset, max).unwrap().is_empty());
    }
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1, "nobody else sees the file");
}

#[test]
fn an_answer_has_a_limit() {
    let scratch = tempfile::tempdir().unwrap();
    let tree = scratch.path().join("tree");
    fs::create_dir(&tree).unwrap();
    // Nothing that could be packed smaller.
    let mut noise = 1_u64;
    let mut content = Vec::new();
    while content.len() as u64 <= READ_MAX {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        content.extend(noise.to_le_bytes());
    }
    fs::write(tree.join("noise"), content).unwrap();
    let archive = Archive::pack(&tree, scratch.path()).unwrap();
    assert_eq!(archive.read(0, u64::MAX).unwrap().len() as u64, READ_MAX);
}

#[test]
fn what_cannot_be_read_or_written_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    let missing = scratch.path().join("missing");
    let error = Archive::pack(&missing, scratch.path()).unwrap_err();
    assert!(
        error.to_string().starts_with("cannot read ") && error.to_string().contains("missing"),
        "{error}"
    );
    let error = Archive::pack(scratch.path(), &missing).unwrap_err();
    assert!(error.to_string().starts_with("cannot write "), "{error}");
}
