//! That a difference is put on top of what steps have changed only where the outcome is what it would have been the
//! other way round.

use std::collections::BTreeMap;

use super::*;

/// Thing at a path of a tree that is only thought of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Directory,
    /// A file with that content.
    File(u8),
    Link,
}

type Tree = BTreeMap<Vec<u8>, Node>;

/// A small generator (xorshift64*): good enough to choose with, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % sides
    }

    fn path(&mut self) -> Vec<u8> {
        // Some look the same in JSON; some sort between a directory and what is in it.
        const NAMES: [&[u8]; 7] =
            [b"a", b"b", b"a.b", b"a\xff", b"a\xfe\xfe", "a\u{fffd}".as_bytes(), "ä".as_bytes()];
        let depth = 1 + self.roll(3);
        let parts: Vec<_> = (0..depth).map(|_| NAMES[self.roll(if depth > 1 { 4 } else { 7 })]).collect();
        parts.join(&b'/')
    }

    /// Changes a tree as a step or a user would, and says which directories have had anything done in them.
    fn change(&mut self, tree: &mut Tree) -> BTreeSet<Vec<u8>> {
        let mut touched = BTreeSet::new();
        for _ in 0..=self.roll(3) {
            let path = self.path();
            match self.roll(10) {
                0..=3 => put(tree, &path, Node::File(u8::try_from(self.roll(3)).unwrap())),
                4 => put(tree, &path, Node::Link),
                5 => put(tree, &path, Node::Directory),
                6 => {}
                _ => remove(tree, &path),
            }
            touched.extend(above(&path).map(<[u8]>::to_vec));
        }
        touched
    }
}

fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| &path[..end])
}

/// Unpacks an entry as the engine does: what is in the way goes, and what is missing above is made.
fn put(tree: &mut Tree, path: &[u8], node: Node) {
    for above in above(path) {
        if tree.get(above) != Some(&Node::Directory) {
            remove(tree, above);
            tree.insert(above.to_vec(), Node::Directory);
        }
    }
    if node != Node::Directory || tree.get(path) != Some(&Node::Directory) {
        remove(tree, path);
        tree.insert(path.to_vec(), node);
    }
}

fn remove(tree: &mut Tree, path: &[u8]) {
    let inside = [path, b"/"].concat();
    tree.retain(|other, _| other != path && !other.starts_with(&inside));
}

/// A tree as a manifest has it.
fn manifest(tree: &Tree) -> Manifest {
    let mut bytes = b"hm tree 2\n".to_vec();
    for (path, node) in tree {
        match node {
            Node::Directory => bytes.extend(b"d755"),
            Node::File(content) => bytes.extend(format!("f644{content:064}").bytes()),
            Node::Link => bytes.extend(b"lto\0"),
        }
        bytes.extend(path);
        bytes.push(0);
    }
    let mut sealed = Vec::new();
    seal(bytes, &mut sealed).unwrap();
    Manifest::read(&sealed).unwrap()
}

/// Answer of an engine about a workspace that was `before` and is `after`: it compares, looks into what are directories
/// now, and tells of directories that something has changed in, or whose time is another.
fn told(before: &Tree, after: &Tree, touched: &BTreeSet<Vec<u8>>) -> Vec<FilesystemChange> {
    let mut told = BTreeMap::new();
    for (path, node) in after {
        let was = before.get(path);
        let kind = if was.is_none() {
            ChangeType::_1
        } else if was == Some(node) && !(*node == Node::Directory && touched.contains(path)) {
            continue;
        } else {
            ChangeType::_0
        };
        told.insert(path.clone(), kind);
    }
    for path in before.keys().filter(|path| !after.contains_key(*path)) {
        let parent = above(path).last().unwrap_or_default();
        if parent.is_empty() || after.get(parent) == Some(&Node::Directory) {
            told.insert(path.clone(), ChangeType::_2);
        }
    }
    for path in told.keys().cloned().collect::<Vec<_>>() {
        for above in above(&path) {
            told.entry(above.to_vec()).or_insert(ChangeType::_0);
        }
    }
    // As Go does it: a sign for each byte.
    let text = |path: &[u8]| match std::str::from_utf8(path) {
        Ok(text) => text.to_owned(),
        Err(_) => path.iter().map(|&byte| if byte < 0xf0 { char::from(byte) } else { NO_TEXT }).collect(),
    };
    let changes =
        told.into_iter().map(|(path, kind)| FilesystemChange { path: format!("/w/{}", text(&path)), kind });
    let outside = [
        ("/w", ChangeType::_0),
        ("/wide", ChangeType::_2),
        ("/w.x/a", ChangeType::_1),
        ("/", ChangeType::_0),
    ];
    let outside = outside.map(|(path, kind)| FilesystemChange { path: path.to_owned(), kind });
    changes.chain(outside).collect()
}

/// Another tree with the changes that a step has made to `before`.
fn redone(before: &Tree, after: &Tree, on: &Tree) -> Tree {
    let mut tree = on.clone();
    for path in before.keys().filter(|path| !after.contains_key(*path)) {
        remove(&mut tree, path);
    }
    for (path, node) in after.iter().filter(|(path, node)| before.get(*path) != Some(node)) {
        put(&mut tree, path, node.clone());
    }
    tree
}

/// A workspace, brought up to date.
fn updated(workspace: &Tree, now: &Tree, difference: &Difference) -> Tree {
    let mut tree = workspace.clone();
    for (path, _) in difference.gone.iter().filter(|(_, was_directory)| !**was_directory) {
        // That is not done to directories.
        if tree.get(path) != Some(&Node::Directory) {
            tree.remove(path);
        }
    }
    for (path, _) in difference.gone.iter().rev().filter(|(_, was_directory)| **was_directory) {
        let inside = [path, &b"/"[..]].concat();
        if tree.get(path) == Some(&Node::Directory) && !tree.keys().any(|other| other.starts_with(&inside)) {
            tree.remove(path);
        }
    }
    for path in &difference.put {
        put(&mut tree, path, now[path].clone());
    }
    tree
}

#[test]
fn what_is_not_covered_comes_out_the_same_in_either_order() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut free, mut covered, mut wrong_if_not_seen) = (0, 0, 0);
    for case in 0..5_000 {
        let mut before = Tree::new();
        for _ in 0..2 + dice.roll(6) {
            dice.change(&mut before);
        }
        let (mut now, mut workspace) = (before.clone(), before.clone());
        dice.change(&mut now);
        let touched = dice.change(&mut workspace);
        let (then, told) = (manifest(&before), told(&before, &workspace, &touched));
        let mut changes = Changes::of(&told, "/w/");
        for path in changes.unclear(&told, "/w/", &then) {
            if path.is_empty() || workspace.get(path.as_bytes()) == Some(&Node::Directory) {
                changes.forget(&path);
            }
        }
        let difference = then.difference(&manifest(&now));
        let (expected, found) = (redone(&before, &workspace, &now), updated(&workspace, &now, &difference));
        let is_covered = difference.covered_by(&changes).is_some();
        wrong_if_not_seen += usize::from(expected != found);
        if !is_covered {
            assert_eq!(
                found, expected,
                "case {case}: {before:?} became {now:?}\nand a step made {workspace:?} of it\n{changes:?} {told:?}"
            );
        }
        if !difference.is_empty() && before != workspace {
            *(if is_covered { &mut covered } else { &mut free }) += 1;
        }
    }
    assert!(wrong_if_not_seen > 250, "{wrong_if_not_seen}: nothing is shown by this");
    assert!(free > 1000 && covered > 250, "{free} free, {covered} covered");
}

fn changes(told: &[(&str, ChangeType)]) -> Changes {
    let told = told.iter().map(|(path, kind)| FilesystemChange { path: (*path).to_owned(), kind: *kind });
    Changes::of(&told.collect::<Vec<_>>(), "/w")
}

fn puts(path: &[u8]) -> Difference {
    Difference { put: [path.to_vec()].into(), ..Difference::default() }
}

fn gone(path: &[u8], was_directory: bool) -> Difference {
    Difference { gone: [(path.to_vec(), was_directory)].into(), ..Difference::default() }
}

#[test]
fn what_steps_do_elsewhere_is_in_nobodys_way() {
    use ChangeType::{_0 as MODIFIED, _1 as ADDED, _2 as DELETED};
    let told = changes(&[
        ("/w", MODIFIED),
        ("/w/src", MODIFIED),
        ("/w/src/lib.rs", MODIFIED),
        ("/w/target", ADDED),
        ("/w/target/debug", ADDED),
        ("/w/old", DELETED),
        ("/w/touched", MODIFIED),
        ("/tmp/x", ADDED),
    ]);
    let free = [
        puts(b"src/main.rs"),
        puts(b"src/lib.rs.orig"),
        puts(b"new/dir"),
        gone(b"src", true),
        gone(b"a", false),
    ];
    for difference in &free {
        assert_eq!(difference.covered_by(&told), None, "{difference:?}");
    }
    let covered = [
        puts(b"src/lib.rs"),
        gone(b"src/lib.rs", false),
        puts(b"src"),
        puts(b"target"),
        puts(b"target/x"),
        puts(b"target/debug/x/y"),
        puts(b"old/file"),
        gone(b"old", true),
        puts(b"touched"),
        puts(b"touched/x"),
    ];
    for difference in &covered {
        let path = difference.gone.keys().chain(&difference.put).next().map(Vec::as_slice);
        assert_eq!(difference.covered_by(&told), path);
        assert_eq!(difference.covered_by(&Changes::default()), None);
        assert_eq!(difference.covered_by(&Changes::default().followed_by(told.clone())), path);
        let more = changes(&[("/w", MODIFIED), ("/w/z", ADDED)]);
        assert_eq!(difference.covered_by(&told.followed_by(more)), path);
    }
}

#[test]
fn a_workspace_that_is_not_where_it_was_is_covered_whole() {
    use ChangeType::{_0 as MODIFIED, _1 as ADDED, _2 as DELETED};
    let as_told = |told: &[(&str, ChangeType)]| -> Vec<_> {
        let change = |(path, kind): &(&str, _)| FilesystemChange { path: (*path).to_owned(), kind: *kind };
        told.iter().map(change).collect()
    };
    let told = |told: &[(&str, ChangeType)]| Changes::of(&as_told(told), "/srv/./w/");
    for covered in [
        &[("/srv", DELETED), ("/srv/x", ADDED)][..],
        &[("/srv", MODIFIED)],
        &[("/srv/w", DELETED)],
        // It may be a link now.
        &[("/srv", MODIFIED), ("/srv/w", MODIFIED)],
    ] {
        assert!(puts(b"anything").covered_by(&told(covered)).is_some(), "{covered:?}");
    }
    for free in [
        &[("/", MODIFIED), ("/srv", ADDED), ("/srv/w", ADDED)][..],
        &[("/srv", MODIFIED), ("/srv/w", MODIFIED), ("/srv/w/a", ADDED)],
        &[("/srv", MODIFIED), ("/srv/z", DELETED)],
        &[("/s", DELETED), ("/srv/w.x", DELETED)],
    ] {
        assert_eq!(puts(b"anything").covered_by(&told(free)), None, "{free:?}");
    }
    let modified = [("/srv", MODIFIED), ("/srv/w", MODIFIED)];
    let mut unclear = told(&modified);
    assert_eq!(unclear.unclear(&as_told(&modified), "/srv/w", &Manifest::default()), [""]);
    unclear.forget("");
    assert_eq!(unclear, Changes::default());
    // As Podman tells that there is another directory in its place.
    let replaced = [("/srv/w", DELETED), ("/srv/w/x", ADDED)];
    assert!(told(&replaced).unclear(&as_told(&replaced), "/srv/w", &Manifest::default()).is_empty());
    let marks = as_told(&[("/srv/w/a/.wh.b", ADDED), ("/srv/w/.wh..wh..opq", ADDED), ("/srv/.wh.x", ADDED)]);
    assert_eq!(Changes::marked(&marks, "/srv/w"), [&b""[..], b"a"]);
}

#[test]
fn changes_survive_writing_and_show_any_damage() {
    let all = changes(&[("/w/a", ChangeType::_1), ("/w/ \n\u{fffd}\u{fffd}x", ChangeType::_2)]);
    assert!(puts(b" \n\xff\xfe\xfdx").covered_by(&all).is_some());
    assert_eq!(puts(b" \nx").covered_by(&all), None);
    for all in [all, Changes::default(), changes(&[("/w", ChangeType::_2)])] {
        let mut bytes = Vec::new();
        all.write(&mut bytes).unwrap();
        assert_eq!(Changes::read(&bytes).as_ref(), Some(&all));
        for end in 0..bytes.len() {
            assert_eq!(Changes::read(&bytes[..end]), None, "cut at {end}");
        }
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert_eq!(Changes::read(&bytes), None, "damaged at {at}");
            bytes[at] ^= 1;
        }
        assert_eq!(Manifest::read(&bytes), None, "it is no tree");
    }
}

#[test]
fn a_hundred_thousand_on_both_sides_are_no_matter() {
    let all = (0..100_000)
        .map(|number| FilesystemChange { path: format!("/w/out/{number}/x"), kind: ChangeType::_1 });
    let all = Changes::of(&all.collect::<Vec<_>>(), "/w");
    let put = (0..100_000).map(|number| format!("src/{}/{number}", number % 100).into_bytes()).collect();
    let began = std::time::Instant::now();
    assert_eq!(Difference { put, ..Difference::default() }.covered_by(&all), None);
    // A look at each of one for each of the other takes minutes.
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
}

/// The engine tells of a workspace what the tests above make it tell.
#[tokio::test]
async fn an_engine_tells_what_was_changed() {
    use bollard::models::{ContainerConfig, ContainerCreateBody, HostConfig};
    use bollard::query_parameters::{
        CommitContainerOptionsBuilder, CreateContainerOptionsBuilder, UploadToContainerOptionsBuilder,
        WaitContainerOptions,
    };
    use futures_util::StreamExt;

    use super::super::{artifacts, lab, tar};

    let Some(engine) = lab::engine() else { return };
    let docker = lab::client(engine).await;
    let tree = tempfile::tempdir().unwrap();
    for directory in ["src", "touched", "mode", "gone", "to-file", "to-link", "again", "emptied"] {
        std::fs::create_dir(tree.path().join(directory)).unwrap();
        std::fs::write(tree.path().join(directory).join("file"), "1").unwrap();
    }
    for file in ["a", "read", "same", "to-directory"] {
        std::fs::write(tree.path().join(file), "1").unwrap();
    }
    let create = async |name: &str, image: &str, script: &str| {
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            cmd: Some(["sh", "-euc", script].map(ToOwned::to_owned).into()),
            working_dir: Some("/srv/w".to_owned()),
            host_config: Some(HostConfig { network_mode: Some("none".to_owned()), ..HostConfig::default() }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        docker.create_container(Some(options), body).await.unwrap();
    };
    create("ground", lab::IMAGE, "").await;
    let upload = UploadToContainerOptionsBuilder::default().path("/srv/w").build();
    let stream = bollard::body_try_stream(tar::stream(
        tree.path().to_owned(),
        None,
        "".into(),
        std::time::Duration::MAX,
    ));
    docker.upload_to_container("ground", Some(upload), stream).await.unwrap();
    let commit = CommitContainerOptionsBuilder::default().container("ground").repo("ground").tag("1").build();
    docker.commit_container(commit, ContainerConfig::default()).await.unwrap();
    let script = r#"echo 2 > a; cat read; echo > src/new; echo > touched/x; rm touched/x; chmod 700 mode; rm -r gone
        printf 1 > same; rm -r to-file; echo > to-file; rm -r to-link; ln -s src to-link; rm -r again; mkdir again
        printf 1 > again/file; rm emptied/file; rm to-directory; mkdir to-directory; echo > to-directory/x
        mkdir -p target/debug; echo > target/debug/hm; echo > "$(printf '\377\376')"; echo > /etc/x"#;
    create("changed", "ground:1", script).await;
    docker.start_container("changed", None).await.unwrap();
    let ended = docker.wait_container("changed", None::<WaitContainerOptions>).next().await.unwrap();
    assert_eq!(ended.unwrap().status_code, 0);
    let told = docker.container_changes("changed").await.unwrap().unwrap();
    let mut changes = Changes::of(&told, "/srv/w");
    let then = Manifest::of(tree.path()).unwrap();
    let unclear = changes.unclear(&told, "/srv/w", &then);
    assert_eq!(unclear, ["mode", "to-file", "to-link"]);
    for path in &unclear {
        if artifacts::is_directory(&docker, "changed", &format!("/srv/w/{path}")).await.unwrap() {
            changes.forget(path);
        }
    }
    let found: Vec<_> = changes.0.iter().map(|path| String::from_utf8_lossy(path)).collect();
    assert_eq!(
        found,
        [
            "a",
            "again/file",
            "emptied/file",
            "gone",
            "same",
            "src/new",
            "target",
            "target/debug",
            "target/debug/hm",
            "to-directory/x",
            "to-file",
            "to-link",
            "\u{fffd}"
        ]
    );
}
