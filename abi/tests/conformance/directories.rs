//! Directories given to a guest: what can be done in them, what cannot, and that there is no way out.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hm_abi::{CallError, CallLimits, Directories, InstanceLimits};
use rustix::fs::{CWD, FileType, RenameFlags, mknodat, renameat_with};
use tempfile::TempDir;

use crate::files::{
    ANSWER, BADF, CALL, CREATE, EXCLUSIVE, Files, LOOP, MFILE, NOENT, NOTSUP, PERM, READ, TRUNCATE, WRITE,
    XDEV, directory, number,
};

const CANARY: &str = "not for guests";

/// A place with `in`, which guests get, and a file outside of it.
fn place() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir_all(place.path().join("in/sub")).unwrap();
    fs::write(place.path().join("in/file"), "content").unwrap();
    fs::write(place.path().join("in/sub/file"), "below").unwrap();
    fs::write(place.path().join("canary"), CANARY).unwrap();
    place
}

fn pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, 0o600.into(), 0).unwrap();
}

/// Every name below a directory with what it is, holds, and when it was changed.
fn everything(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let (kind, modified) = (metadata.file_type(), metadata.modified().unwrap());
        let content = if kind.is_file() { fs::read_to_string(&path).unwrap() } else { String::new() };
        found.push(format!("{} {kind:?} {content} {modified:?}", path.display()));
        if kind.is_dir() {
            found.extend(everything(&path));
        }
    }
    found.sort();
    found
}

/// [file.given] [file.read] Names and descriptors in the order given; what is in them can be listed and read.
#[tokio::test]
async fn they_are_there_under_their_names() {
    let place = place();
    let inside = place.path().join("in");
    let mut files =
        Files::new([directory("/docs", &inside, false), directory("/docs/sub", &inside.join("sub"), true)]);
    for (descriptor, name) in [(3, "/docs"), (4, "/docs/sub")] {
        let (answer, memory) = files.call("fd_prestat_get", &[descriptor, ANSWER], b"").await;
        assert_eq!((answer, number(&memory[4..])), (0, name.len() as u64));
        let arguments = [descriptor, ANSWER, name.len() as u64];
        let (answer, memory) = files.call("fd_prestat_dir_name", &arguments, b"").await;
        assert_eq!((answer, &memory[..name.len()]), (0, name.as_bytes()));
    }
    assert_eq!(files.call("fd_prestat_get", &[5, ANSWER], b"").await.0, BADF);
    assert_eq!(files.names(3).await, [".", "..", "file", "sub"]);
    assert_eq!(files.content(3, "file").await.unwrap(), "content");
    assert_eq!(files.content(3, "sub/../sub/file").await.unwrap(), "below");
    assert_eq!(files.content(4, "file").await.unwrap(), "below");
    assert_eq!(files.content(3, "missing").await, Err(NOENT));
}

/// [file.fresh] [file.handle] After a trap they are there again; and it is the directory that was opened, not the path.
#[tokio::test]
async fn it_is_the_directory_that_was_opened() {
    let place = place();
    let mut files = Files::new([directory("/docs", &place.path().join("in"), false)]);
    assert_eq!(files.call("fd_close", &[3], b"").await.0, 0);
    assert_eq!(files.content(3, "file").await, Err(BADF));
    fs::rename(place.path().join("in"), place.path().join("elsewhere")).unwrap();
    fs::create_dir(place.path().join("in")).unwrap();
    fs::write(place.path().join("in/file"), CANARY).unwrap();
    let error = files.instance.call("trap", b"", &CALL).await;
    assert!(matches!(error, Err(CallError::Trap { .. })), "{error:?}");
    assert_eq!(files.content(3, "file").await.unwrap(), "content");
}

/// [file.write] In a writable one files are made, written, cut, renamed, linked and removed, and so are directories.
#[tokio::test]
async fn a_writable_one_can_be_written() {
    let place = place();
    let inside = place.path().join("in");
    let mut files = Files::new([directory("/out", &inside, true)]);
    let new = files.open(3, "new", CREATE | EXCLUSIVE, WRITE).await.unwrap();
    assert_eq!(files.write(new, b"one two").await, 0);
    assert_eq!(files.call("fd_filestat_set_size", &[new, 3], b"").await.0, 0);
    assert_eq!(fs::read_to_string(inside.join("new")).unwrap(), "one");
    assert_eq!(files.rename((3, "new"), (3, "sub/moved")).await, 0);
    assert_eq!(files.link((3, "sub/moved"), (3, "again")).await, 0);
    assert_eq!(files.path("path_create_directory", &[3], "made", &[]).await, 0);
    assert_eq!(files.rename((3, "made"), (3, "made-again/")).await, 0);
    assert_eq!(files.symlink("sub/moved", (3, "link")).await, 0);
    assert_eq!(files.content(3, "link").await.unwrap(), "one");
    assert_eq!(files.rename((3, "link"), (3, "./link")).await, XDEV, "by the letters of the path");
    assert_eq!(files.rename((3, "link"), (3, "other-link")).await, 0);
    assert_eq!(files.names(3).await, [".", "..", "again", "file", "made-again", "other-link", "sub"]);
    for name in ["other-link", "again", "sub/moved"] {
        assert_eq!(files.path("path_unlink_file", &[3], name, &[]).await, 0, "{name}");
    }
    assert_eq!(files.path("path_remove_directory", &[3], "made-again", &[]).await, 0);
    assert_eq!(files.names(3).await, [".", "..", "file", "sub"]);
    let cut = files.open(3, "file", TRUNCATE, WRITE).await.unwrap();
    assert_eq!(
        (files.write(cut, b"x").await, fs::read_to_string(inside.join("file")).unwrap()),
        (0, "x".into())
    );
}

/// [file.read-only] Nothing changes, whatever is tried, also beside a writable one.
#[tokio::test]
async fn a_read_only_one_stays_as_it_is() {
    let place = place();
    let (inside, out) = (place.path().join("in"), place.path().join("out"));
    fs::create_dir(&out).unwrap();
    fs::write(out.join("own"), "own").unwrap();
    symlink("file", inside.join("link")).unwrap();
    let before = everything(&inside);
    let mut files = Files::new([directory("/in", &inside, false), directory("/out", &out, true)]);
    for how in [0, CREATE, TRUNCATE, CREATE | TRUNCATE, CREATE | EXCLUSIVE] {
        for rights in [0, READ, WRITE] {
            for path in ["file", "new", "link"] {
                let refused = files.open(3, path, how, rights).await;
                let reads = how == 0 && rights != WRITE && path != "new";
                assert_eq!(refused.is_ok(), reads, "{how} {rights} {path}: {refused:?}");
            }
        }
    }
    // With a descriptor for reading, and rights asked for later.
    let file = files.open(3, "file", 0, READ).await.unwrap();
    assert_eq!(files.call("fd_fdstat_set_rights", &[file, WRITE, WRITE], b"").await.0, NOTSUP);
    assert_eq!(
        files.call("fd_fdstat_set_flags", &[file, 1], b"").await.0,
        0,
        "append, which is the guest's own"
    );
    assert_eq!(files.write(file, b"x").await, BADF);
    assert_eq!(files.call("fd_filestat_set_size", &[file, 0], b"").await.0, PERM);
    assert_eq!(files.call("fd_filestat_set_times", &[file, 1, 1, 5], b"").await.0, PERM);
    assert_eq!(files.call("fd_allocate", &[file, 0, 100], b"").await.0, NOTSUP);
    assert_eq!(files.call("fd_filestat_set_times", &[3, 1, 1, 5], b"").await.0, PERM);
    // In a directory below, which has what its parent has.
    let sub = files.open(3, "sub", 0, READ).await.unwrap();
    assert_eq!(files.open(sub, "new", CREATE, WRITE).await, Err(PERM));
    assert_eq!(files.path("path_unlink_file", &[sub], "file", &[]).await, PERM);

    for path in ["file", "link", "sub"] {
        for flags in [0, 1] {
            assert_eq!(
                files.path("path_filestat_set_times", &[3, flags], path, &[1, 1, 5]).await,
                PERM,
                "{path}"
            );
        }
    }
    assert_eq!(files.path("path_unlink_file", &[3], "file", &[]).await, PERM);
    assert_eq!(files.path("path_remove_directory", &[3], "sub", &[]).await, PERM);
    assert_eq!(files.path("path_create_directory", &[3], "new", &[]).await, PERM);
    assert_eq!(files.symlink("file", (3, "new")).await, PERM);
    for (from, to) in [((3, "file"), (3, "new")), ((3, "file"), (4, "new")), ((4, "own"), (3, "new"))] {
        assert_eq!(files.rename(from, to).await, PERM, "{from:?} {to:?}");
        assert_eq!(files.link(from, to).await, PERM, "{from:?} {to:?}");
    }
    // A link of the writable one into it, and one that the host has put there.
    assert_eq!(files.symlink("../in/file", (4, "in")).await, PERM);
    symlink("../in/file", out.join("in")).unwrap();
    assert!(files.open(4, "in", 0, WRITE).await.is_err());
    assert_eq!(everything(&inside), before);
    assert_eq!(files.names(4).await, [".", "..", "in", "own"]);
}

/// [file.inside] Not by `..`, by absolute paths, or by links, to whatever they lead.
#[tokio::test]
async fn no_path_leads_out() {
    let place = place();
    let inside = place.path().join("in");
    let canary = place.path().join("canary");
    symlink("../canary", inside.join("up")).unwrap();
    symlink(&canary, inside.join("absolute")).unwrap();
    symlink("..", inside.join("parent")).unwrap();
    symlink("/", inside.join("root")).unwrap();
    symlink("/proc/self/root", inside.join("magic")).unwrap();
    symlink("loop", inside.join("loop")).unwrap();
    let before = everything(place.path());
    let absolute = canary.to_str().unwrap();
    let paths = [
        "../canary",
        "sub/../../canary",
        "up",
        "absolute",
        "parent/canary",
        "parent/in/../canary",
        "/canary",
        absolute,
        &format!("root{absolute}"),
        &format!("magic{absolute}"),
        &format!("../../../../../..{absolute}"),
        "loop",
    ];
    for writable in [false, true] {
        let mut files = Files::new([directory("/in", &inside, writable)]);
        for path in paths {
            assert!(files.open(3, path, 0, READ).await.is_err(), "{path}");
            assert!(files.open(3, path, CREATE | TRUNCATE, WRITE).await.is_err(), "{path}");
            let seen = files.path("path_filestat_get", &[3, 1], path, &[ANSWER]).await;
            assert!(seen != 0, "{path}");
            assert_ne!(files.link((3, path), (3, "mine")).await, 0, "{path}");
            if !["up", "absolute", "loop"].contains(&path) {
                // The others are names of links in the directory, which are its own.
                assert_ne!(files.rename((3, path), (3, "mine")).await, 0, "{path}");
                assert_ne!(files.rename((3, "file"), (3, path)).await, 0, "{path}");
                assert_ne!(files.path("path_unlink_file", &[3], path, &[]).await, 0, "{path}");
            }
        }
        for way in ["..", "/", "parent", "root", "sub/../.."] {
            assert!(files.open(3, way, 0, READ).await.is_err(), "{way}");
        }
        let sub = files.open(3, "sub", 0, READ).await.unwrap();
        assert!(files.content(sub, "../file").await.is_err(), "not even to where it came from");
    }
    assert_eq!(everything(place.path()), before);
}

/// [file.race] A thread turns a file and a directory into links that lead out, and back, 100,000 times and more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_come_and_go_do_not_lead_out() {
    let place = place();
    let inside = place.path().join("in");
    fs::write(inside.join("name"), "content").unwrap();
    symlink("../canary", inside.join("link")).unwrap();
    fs::create_dir(inside.join("way")).unwrap();
    fs::write(inside.join("way/canary"), "content").unwrap();
    symlink("..", inside.join("up")).unwrap();
    let (changes, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let swapper = {
        let (changes, stop) = (changes.clone(), stop.clone());
        let pairs = [("name", "link"), ("way", "up")].map(|(a, b)| (inside.join(a), inside.join(b)));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                for (real, link) in &pairs {
                    renameat_with(CWD, real, CWD, link, RenameFlags::EXCHANGE).unwrap();
                }
                changes.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let mut files = Files::new([directory("/in", &inside, true)]);
    let (mut seen, mut tried) = (0, 0);
    while tried < 2000 || changes.load(Ordering::Relaxed) < 100_000 {
        for path in ["name", "way/canary"] {
            tried += 1;
            if let Ok(content) = files.content(3, path).await {
                assert_eq!(content, "content", "{path}");
                seen += 1;
            }
            if let Ok(file) = files.open(3, path, 0, WRITE).await {
                files.write(file, b"content").await;
                files.call("fd_close", &[file], b"").await;
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    assert_eq!(fs::read_to_string(place.path().join("canary")).unwrap(), CANARY);
    assert!(0 < seen && seen < tried, "{seen} of {tried}: the links were not there, or nothing else");
}

/// [file.special] What is neither file nor directory is not opened, and nobody waits for it.
#[tokio::test]
async fn pipes_sockets_and_devices_are_not_opened() {
    let place = place();
    let inside = place.path().join("in");
    pipe(&inside.join("pipe"));
    symlink("pipe", inside.join("to-pipe")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(inside.join("socket")).unwrap();
    let mut special = vec!["pipe", "to-pipe", "socket"];
    // As root only: the same as /dev/zero.
    if mknodat(CWD, inside.join("device"), FileType::CharacterDevice, 0o600.into(), rustix::fs::makedev(1, 5))
        .is_ok()
    {
        special.push("device");
    }
    let mut files = Files::new([directory("/in", &inside, true)]);
    for path in special {
        for (how, rights) in [(0, READ), (0, WRITE), (CREATE, WRITE), (TRUNCATE, WRITE)] {
            assert_eq!(files.open(3, path, how, rights).await, Err(NOTSUP), "{path} {how}");
        }
        if path != "to-pipe" {
            assert_eq!(files.rename((3, path), (3, "file")).await, NOTSUP, "{path}");
            assert_eq!(files.link((3, path), (3, "new")).await, NOTSUP, "{path}");
        }
    }
    assert!(files.names(3).await.contains(&"pipe".to_owned()));
    assert_eq!(files.content(3, "file").await.unwrap(), "content");
}

/// [file.links] [file.moves] No link comes to lead out that did not before.
#[tokio::test]
async fn links_are_made_and_moved_only_so_that_they_stay_inside() {
    let place = place();
    let inside = place.path().join("in");
    fs::create_dir_all(inside.join("a/b")).unwrap();
    symlink("../../file", inside.join("a/b/link")).unwrap();
    let mut files = Files::new([directory("/in", &inside, true)]);
    for target in ["/etc/passwd", "..", "../canary", "sub/../../canary", "sub/..", "./../canary"] {
        assert_eq!(files.symlink(target, (3, "sub/new")).await, PERM, "{target}");
    }
    assert_eq!(files.symlink("..x/.y", (3, "dots")).await, 0);
    // It would lead to `../file` from where it is then.
    assert_eq!(files.rename((3, "a/b/link"), (3, "a/link")).await, XDEV);
    assert_eq!(files.rename((3, "a/b"), (3, "b")).await, XDEV);
    let sub = files.open(3, "a", 0, READ).await.unwrap();
    assert_eq!(files.rename((sub, "b"), (3, "b")).await, XDEV);
    assert_eq!(files.link((3, "a/b/link"), (3, "link")).await, NOTSUP);
    assert_eq!(files.rename((3, "a/b/link"), (3, "a/b/renamed")).await, 0);
    assert_eq!(files.rename((3, "a/b"), (3, "a/c")).await, 0);
    assert_eq!(files.content(3, "a/c/renamed").await.unwrap(), "content");
    // Opening a link without following it is opening a link.
    let arguments = [3, 0, 128, 11, 0, READ, READ, 0, ANSWER];
    assert_eq!(files.call("path_open", &arguments, b"a/c/renamed").await.0, LOOP);
}

/// [file.descriptors] 64 of them, and again after some are closed.
#[tokio::test]
async fn descriptors_are_few() {
    let place = place();
    let mut files = Files::new([directory("/in", &place.path().join("in"), false)]);
    let mut open = Vec::new();
    let refused = loop {
        match files.open(3, "file", 0, READ).await {
            Ok(descriptor) => open.push(descriptor),
            Err(refused) => break refused,
        }
    };
    assert_eq!((open.len(), refused), (60, MFILE));
    assert_eq!(files.open(3, "file", 0, READ).await, Err(MFILE));
    for descriptor in &open[..2] {
        assert_eq!(files.call("fd_close", &[*descriptor], b"").await.0, 0);
    }
    assert!(files.open(3, "file", 0, READ).await.is_ok() && files.open(3, "file", 0, READ).await.is_ok());
    assert_eq!(files.open(3, "file", 0, READ).await, Err(MFILE));
}

/// [file.written] The ceiling is for all calls; what the streams swallow does not count.
#[tokio::test]
async fn what_is_written_has_a_ceiling() {
    let place = place();
    let limits = InstanceLimits { file_bytes: 1000, ..InstanceLimits::standard() };
    let mut files = Files::with([directory("/in", &place.path().join("in"), true)], limits.clone());
    let file = files.open(3, "file", TRUNCATE, WRITE).await.unwrap();
    assert_eq!(files.write(file, &[b'x'; 600]).await, 0);
    let error = files.try_write(file, &[b'x'; 401]).await.unwrap_err();
    let CallError::Limit { which, asked, allowed, .. } = error else { panic!("{error}") };
    assert_eq!((which, asked, allowed), ("bytes written to files", 1001, 1000));
    // Also in the next wasm instance.
    let file = files.open(3, "file", 0, WRITE).await.unwrap();
    assert!(matches!(files.try_write(file, b"x").await, Err(CallError::Limit { .. })));
    // A size that is given to a file is as good as written.
    let mut files = Files::with([directory("/in", &place.path().join("in"), true)], limits.clone());
    let file = files.open(3, "file", TRUNCATE, WRITE).await.unwrap();
    assert_eq!(files.call("fd_filestat_set_size", &[file, 600], b"").await.0, 0);
    let error = files.try_call("fd_filestat_set_size", &[file, 401], b"").await.unwrap_err();
    assert!(matches!(error, CallError::Limit { asked: 1001, .. }), "{error}");
    assert_eq!(fs::metadata(place.path().join("in/file")).unwrap().len(), 600);
    let mut none = Files::with([], limits);
    assert_eq!(none.write(1, &[b'x'; 2000]).await, 0);
}

/// [fuel.files] Looking up costs more than what happens in memory, and bytes cost by number.
#[tokio::test]
async fn files_have_their_price() {
    let place = place();
    fs::write(place.path().join("in/large"), vec![b'x'; 8000]).unwrap();
    let mut files = Files::new([directory("/in", &place.path().join("in"), true)]);
    let file = files.open(3, "large", 0, READ).await.unwrap();
    let mut costs = Vec::new();
    for (name, arguments) in [
        ("fd_tell", vec![file, ANSWER]),
        ("fd_read", vec![file, 128, 1, ANSWER]),
        ("fd_read", vec![file, 128, 1, ANSWER]),
        ("path_filestat_get", vec![3, 0, 128, 1, ANSWER]),
        ("fd_sync", vec![file]),
    ] {
        let list = [40_000_u32.to_le_bytes(), 8192_u32.to_le_bytes()].concat();
        assert!(files.try_call(name, &arguments, &list).await.is_ok());
        costs.push(i64::try_from(files.instance.report().fuel_used).unwrap());
    }
    let [tell, read, at_end, stat, sync] = costs[..] else { panic!("five") };
    // The guest's own instructions are some hundred.
    assert!((read - at_end - 1000).abs() < 50 && (at_end - tell).abs() < 500, "{costs:?}");
    assert!(stat - tell > 9000 && sync - tell > 9000, "{costs:?}");
}

/// [file.deadline] A pipe that takes the place of a file between the look at it and its opening holds nobody up for
/// longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_files_wait_for_ends_at_the_deadline() {
    let place = place();
    let inside = place.path().join("in");
    let stop = Arc::new(AtomicBool::new(false));
    let swapper = {
        let (stop, inside) = (stop.clone(), inside.clone());
        std::thread::spawn(move || {
            let (file, pipe_path, name) = (inside.join("file"), inside.join("pipe"), inside.join("name"));
            pipe(&pipe_path);
            while !stop.load(Ordering::Relaxed) {
                fs::hard_link(&pipe_path, &name).unwrap();
                fs::remove_file(&name).unwrap();
                fs::hard_link(&file, &name).unwrap();
                fs::remove_file(&name).unwrap();
            }
            // Whoever waits for its other end has it now.
            drop(fs::OpenOptions::new().read(true).write(true).open(&pipe_path).unwrap());
        })
    };
    let mut files = Files::new([directory("/in", &inside, false)]);
    files.limits = CallLimits { deadline: Duration::from_millis(200), ..CALL };
    let began = Instant::now();
    let arguments = [3, 1, 128, 4, 0, READ, READ, 0, ANSWER];
    let mut outcomes = std::collections::BTreeMap::new();
    while began.elapsed() < Duration::from_secs(5) {
        let call = Instant::now();
        let outcome = match files.try_call("path_open", &arguments, b"name").await {
            Ok((answer, memory)) => {
                if answer == 0 {
                    files.call("fd_close", &[number(&memory)], b"").await;
                }
                answer.to_string()
            }
            Err(CallError::TimedOut { .. }) => "late".to_owned(),
            Err(error) => panic!("{error}"),
        };
        assert!(call.elapsed() < Duration::from_secs(30), "it hung");
        *outcomes.entry(outcome).or_insert(0) += 1;
    }
    stop.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    println!("{outcomes:?}");
    assert!(outcomes.contains_key(&NOTSUP.to_string()) && outcomes.contains_key("0"), "{outcomes:?}");
}

/// [file.names] Names are absolute paths, each of one directory.
#[test]
fn names_of_directories_are_absolute_and_different() {
    let place = place();
    let refusal = |names: &[&str]| {
        let directories = names.iter().map(|name| directory(name, place.path(), true));
        Directories::new(directories).err().map(|error| error.to_string())
    };
    assert_eq!(refusal(&["/in", "/in/sub", "/", "/out"]), None);
    for name in ["", "in", "./in", "../in"] {
        let expected = format!("the directory name `{name}` is not an absolute path");
        assert_eq!(refusal(&["/a", name]), Some(expected));
    }
    for names in [["/in", "/in"], ["/in", "/in/"], ["/in/sub", "/in//./sub"]] {
        let expected = format!("two directories have the name `{}`", names[1]);
        assert_eq!(refusal(&names), Some(expected));
    }
}
