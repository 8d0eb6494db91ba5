//! Snapshots of projects that change while, before and after they are taken.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

fn project() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let scratch = tempfile::tempdir().unwrap();
    let (project, store) = (scratch.path().join("project"), scratch.path().join("store"));
    fs::create_dir_all(project.join("src")).unwrap();
    fs::write(project.join("src/a"), "aaaa").unwrap();
    fs::write(project.join("src/b"), "bbbb").unwrap();
    (scratch, project, store)
}

#[test]
fn the_store_may_lie_in_the_project() {
    let (_scratch, project, _) = project();
    let store = project.join("cache/store");
    for _ in 0..3 {
        let snapshot = take(&project, &store, &store).unwrap();
        assert!(snapshot.tree.join("cache").exists());
        assert!(!snapshot.tree.join("cache/store").exists());
        fs::write(project.join("src/a"), Uuid::new_v4().as_bytes()).unwrap();
    }
}

fn wait_for_the_clock() {
    thread::sleep(CLOCK_TICK * 2);
}

fn inode(snapshot: &Snapshot, path: &str) -> u64 {
    fs::metadata(snapshot.tree.join(path)).unwrap().ino()
}

#[test]
fn what_did_not_change_is_linked_and_what_did_is_copied() {
    let (_scratch, project, store) = project();
    wait_for_the_clock();
    let first = take(&project, &store, &store).unwrap();
    assert_ne!(inode(&first, "src/a"), fs::metadata(project.join("src/a")).unwrap().ino());
    // In place, same length, and with the time put back: the worst case.
    let before = fs::metadata(project.join("src/b")).unwrap().modified().unwrap();
    fs::write(project.join("src/b"), "BBBB").unwrap();
    File::options().append(true).open(project.join("src/b")).unwrap().set_modified(before).unwrap();
    wait_for_the_clock();
    let second = take(&project, &store, &store).unwrap();
    assert_eq!(inode(&first, "src/a"), inode(&second, "src/a"));
    assert_ne!(inode(&first, "src/b"), inode(&second, "src/b"));
    assert_eq!(fs::read_to_string(first.tree.join("src/b")).unwrap(), "bbbb");
    assert_eq!(fs::read_to_string(second.tree.join("src/b")).unwrap(), "BBBB");
    let third = take(&project, &store, &store).unwrap();
    assert_eq!(second.tree, third.tree, "nothing changed, so there is nothing to make");
}

#[test]
fn what_has_become_different_is_as_new_as_the_snapshot() {
    let (_scratch, project, store) = project();
    let modified = |tree: &Path, name: &str| fs::metadata(tree.join(name)).unwrap().modified().unwrap();
    let written = |name: &str, content: &str, mode: u32| {
        let path = project.join(name);
        let _ = fs::remove_file(&path);
        fs::write(&path, content).unwrap();
        File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    written("src/a", "aaaa", 0o644);
    let first = take(&project, &store, &store).unwrap();
    assert_eq!(modified(&first.tree, "src/a"), SystemTime::UNIX_EPOCH, "the first has the file's own");
    let before = SystemTime::now();
    written("src/a", "AAAA", 0o444);
    written("src/new", "", 0o600);
    let second = take(&project, &store, &store).unwrap();
    let then = modified(&second.tree, "src/a");
    assert!(then >= before && modified(&second.tree, "src/new") >= before);
    assert_eq!(modified(&second.tree, "src/b"), modified(&first.tree, "src/b"));
    written("src/a", "AAAA", 0o600);
    // Also after the machine has been off.
    let current = fs::read_to_string(store.join("current")).unwrap();
    fs::write(store.join("current"), current.replace(Boot::current().as_str(), "another")).unwrap();
    let third = take(&project, &store, &store).unwrap();
    assert_eq!(modified(&third.tree, "src/a"), then, "it holds the same");
    symlink("b", project.join("src/was-link")).unwrap();
    let _fourth = take(&project, &store, &store).unwrap();
    fs::remove_file(project.join("src/was-link")).unwrap();
    written("src/was-link", "bbbb", 0o600);
    let fifth = take(&project, &store, &store).unwrap();
    assert!(modified(&fifth.tree, "src/was-link") > then, "a link is not what it leads to");
}

#[test]
fn files_that_hold_the_same_are_told_from_others() {
    let scratch = tempfile::tempdir().unwrap();
    let (one, other) = (scratch.path().join("one"), scratch.path().join("other"));
    let long = vec![7; 100_000];
    let almost = [&long[..99_999], &[8]].concat();
    for (left, right, same) in
        [(&b""[..], &b""[..], true), (b"a", b"", false), (&long, &long, true), (&long, &almost, false)]
    {
        fs::write(&one, left).unwrap();
        fs::write(&other, right).unwrap();
        assert_eq!(is_same(&File::open(&one).unwrap(), &File::open(&other).unwrap()).unwrap(), same);
    }
}

#[test]
fn a_file_changed_just_now_is_not_trusted() {
    let (_scratch, project, store) = project();
    let future = SystemTime::now() + Duration::from_secs(60);
    File::open(project.join("src/a")).unwrap().set_modified(future).unwrap();
    wait_for_the_clock();
    let (first, second) = (take(&project, &store, &store).unwrap(), take(&project, &store, &store).unwrap());
    assert_ne!(inode(&first, "src/a"), inode(&second, "src/a"));
    assert_eq!(inode(&first, "src/b"), inode(&second, "src/b"));
}

#[test]
fn deleted_files_go_and_modes_and_links_come_along() {
    let (_scratch, project, store) = project();
    take(&project, &store, &store).unwrap();
    fs::remove_file(project.join("src/a")).unwrap();
    fs::set_permissions(project.join("src/b"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("b", project.join("src/link")).unwrap();
    let snapshot = take(&project, &store, &store).unwrap();
    assert!(!snapshot.tree.join("src/a").exists());
    assert_eq!(fs::metadata(snapshot.tree.join("src/b")).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read_link(snapshot.tree.join("src/link")).unwrap(), Path::new("b"));
}

fn source(path: &Path) -> Source {
    Source::open_directory(path, |_| true).unwrap()
}

#[test]
fn what_is_swapped_while_we_look_leads_nowhere() {
    let (scratch, project, _store) = project();
    let outside = scratch.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("a"), "canary").unwrap();
    let found =
        |path: &str| Entry::new(Path::new(path), &fs::symlink_metadata(project.join(path)).unwrap()).unwrap();
    let (a, b) = (found("src/a"), found("src/b"));
    let source = source(&project);
    assert!(source.open(&a).unwrap().is_some());
    fs::remove_file(project.join("src/a")).unwrap();
    assert!(source.open(&a).unwrap().is_none(), "gone");
    symlink(outside.join("a"), project.join("src/a")).unwrap();
    assert!(source.open(&a).unwrap().is_none(), "a link by now");
    let link = found("src/a");
    fs::remove_file(project.join("src/a")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, project.join("src/a"), Mode::from_raw_mode(0o644)).unwrap();
    assert!(source.open(&a).unwrap().is_none(), "a pipe by now");
    assert!(source.open(&link).unwrap().is_none(), "no link any more");
    fs::write(project.join("src/new"), "new").unwrap();
    fs::rename(project.join("src/new"), project.join("src/b")).unwrap();
    assert!(source.open(&b).unwrap().is_some(), "saved by an editor");
    fs::remove_dir_all(project.join("src")).unwrap();
    symlink(&outside, project.join("src")).unwrap();
    assert!(source.open(&a).unwrap().is_none(), "in a link by now");
}

#[test]
fn of_a_public_snapshot_everybody_may_read_everything() {
    let (_scratch, etc, store) = project();
    fs::create_dir(etc.join("private")).unwrap();
    fs::write(etc.join("private/key"), "secret").unwrap();
    symlink("src/a", etc.join("link")).unwrap();
    for (path, mode) in [("private", 0o750), ("src/b", 0o640), ("src/a", 0o644), ("src", 0o755)] {
        fs::set_permissions(etc.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let snapshot = take_public(&etc, &store).unwrap();
    assert_eq!(fs::read_to_string(snapshot.tree.join("link")).unwrap(), "aaaa");
    assert!(!snapshot.tree.join("private").exists());
    assert!(!snapshot.tree.join("src/b").exists());
    let a = Entry::new(Path::new("src/a"), &fs::metadata(etc.join("src/a")).unwrap()).unwrap();
    fs::set_permissions(etc.join("src/a"), fs::Permissions::from_mode(0o600)).unwrap();
    let source = Source { admit: walk::is_public, ..source(&etc) };
    assert!(source.open(&a).unwrap().is_none(), "closed since we looked");
}

#[test]
fn a_snapshot_lasts_while_somebody_uses_it() {
    let (_scratch, project, store) = project();
    let first = take(&project, &store, &store).unwrap();
    fs::write(project.join("src/new"), "").unwrap();
    let second = take(&project, &store, &store).unwrap();
    assert!(first.tree.join("src/a").exists());
    let gone = first.tree.clone();
    drop(first);
    fs::write(project.join("src/newer"), "").unwrap();
    let _third = take(&project, &store, &store).unwrap();
    assert!(!gone.exists());
    assert!(second.tree.exists());
}

#[test]
fn a_broken_manifest_means_a_full_copy() {
    let (_scratch, project, store) = project();
    wait_for_the_clock();
    let first = take(&project, &store, &store).unwrap();
    fs::write(first.tree.parent().unwrap().join("manifest"), b"\xff nonsense").unwrap();
    let second = take(&project, &store, &store).unwrap();
    assert_ne!(inode(&first, "src/a"), inode(&second, "src/a"));
    fs::write(store.join("current"), "../../elsewhere").unwrap();
    assert_eq!(
        fs::read_to_string(take(&project, &store, &store).unwrap().tree.join("src/b")).unwrap(),
        "bbbb"
    );
}
