//! Tests of directories for artifacts: what goes into them, and that nothing else is touched, whoever puts what in the
//! way.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::*;
use crate::content::Content;

/// A place for a build's artifacts, and one for what must stay as it is.
struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("outside/sub")).unwrap();
        fs::write(dir.path().join("outside/canary"), "alive").unwrap();
        fs::write(dir.path().join("outside/sub/canary"), "alive").unwrap();
        Self { dir }
    }

    fn at(&self, path: &str) -> PathBuf {
        // Temporary directories may be behind a link.
        self.dir.path().canonicalize().unwrap().join(path)
    }

    /// A file outside, to be copied.
    fn source(&self, text: &str, mode: u32) -> File {
        let path = self.at("source");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        File::open(path).unwrap()
    }

    #[track_caller]
    fn assert_nothing_outside(&self) {
        let mut names: Vec<_> =
            walk(&self.at("outside")).into_iter().map(|path| path.display().to_string()).collect();
        names.sort();
        assert_eq!(names, ["canary", "sub", "sub/canary"]);
        for canary in ["outside/canary", "outside/sub/canary"] {
            assert_eq!(fs::read_to_string(self.at(canary)).unwrap(), "alive");
        }
    }
}

/// All that is below a directory.
fn walk(top: &Path) -> BTreeSet<PathBuf> {
    let (mut found, mut open) = (BTreeSet::new(), vec![top.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            }
            found.insert(entry.path().strip_prefix(top).unwrap().to_owned());
        }
    }
    found
}

fn create(path: &Path) -> Result<Directory, ArtifactError> {
    Directory::create(path, Stop::default())
}

fn text(error: &ArtifactError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Artifact with this text that is not to be run.
fn produced(key: &str, text: &str) -> Artifact {
    let content = Content::of(text.as_bytes()).unwrap();
    Artifact { key: key.into(), mime: media_type(key).into(), executable: false, content }
}

#[test]
fn each_key_has_a_directory_of_its_own() {
    let long = "x".repeat(300);
    let longer = "x".repeat(301);
    let keys = [
        "build",
        "Build",
        "BUILD",
        "a/b",
        "a%2Fb",
        "a%2fb",
        ".",
        "..",
        "...",
        ".gitignore",
        "%2E",
        "ä",
        "Ä",
        "a b",
        "a.b",
        "con~",
        "-",
        "~",
        &long,
        &longer,
    ];
    let mut names = BTreeSet::new();
    for key in keys {
        let path = directory(Path::new("/out"), key);
        assert_eq!(path.parent(), Some(Path::new("/out")), "{key}");
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.len() <= 255 && !name.starts_with('.'), "{name}");
        assert!(names.insert(name.to_lowercase()), "{key} shares {name}");
    }
    assert_eq!(directory(Path::new("/out"), "unit-tests_1.2"), Path::new("/out/unit-tests_1.2"));
    assert_eq!(directory(Path::new("/out"), "Ä/."), Path::new("/out/%C3%84%2F."));
}

#[test]
fn links_on_the_way_to_the_root_are_followed_once() {
    let lab = Lab::new();
    fs::create_dir(lab.at("project")).unwrap();
    symlink("project", lab.at("link")).unwrap();
    symlink("nowhere", lab.at("dangling")).unwrap();
    assert_eq!(root(&lab.at("link"), None).unwrap(), lab.at("project/.hm/out"));
    let chosen = |path: &str| root(&lab.at("project"), Some(&lab.at(path)));
    assert_eq!(chosen("link/a/b").unwrap(), lab.at("project/a/b"));
    assert_eq!(chosen("link").unwrap(), lab.at("project"));
    assert!(chosen("dangling/x").is_err() && chosen("dangling").is_err());
}

#[tokio::test]
async fn what_is_put_there_is_there_until_the_next_time() {
    let lab = Lab::new();
    let path = directory(&lab.at("project/.hm/out"), "step");
    clear(path.clone()).await.unwrap();
    assert!(!lab.at("project").exists(), "nothing is made to be emptied");
    create(&path)
        .unwrap()
        .fill(|directory| {
            let runs = directory.put("dist/sub/run", &lab.source("#!", 0o4755))?;
            assert_eq!(runs, Artifact { executable: true, ..produced("dist/sub/run", "#!") });
            for text in ["text", "other"] {
                let notes = directory.put("notes.txt", &lab.source(text, 0o600))?;
                assert_eq!(notes, produced("notes.txt", text));
            }
            directory.put("empty", &lab.source("", 0o600))
        })
        .unwrap();
    let names: Vec<_> = walk(&path).into_iter().map(|path| path.display().to_string()).collect();
    assert_eq!(names, ["dist", "dist/sub", "dist/sub/run", "empty", "notes.txt"]);
    let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("dist/sub/run") & 0o7100, 0o100);
    assert_eq!(mode("notes.txt") & 0o7111, 0);
    assert_eq!(fs::read_to_string(path.join("notes.txt")).unwrap(), "other");
    assert_eq!(
        fs::read(lab.at("project/.hm/out/.gitignore")).unwrap().split(|b| *b == b'\n').nth(1),
        Some(&b"*"[..])
    );

    clear(path.clone()).await.unwrap();
    assert!(walk(&path).is_empty());
    let failed = create(&path).unwrap().fill(|directory| {
        directory.put("a", &lab.source("x", 0o600))?;
        Err::<(), _>(ArtifactError::TooLarge)
    });
    assert!(matches!(failed, Err(ArtifactError::TooLarge)));
    assert!(walk(&path).is_empty());
}

#[tokio::test]
async fn what_was_kept_is_restored_whole_or_not_at_all() {
    let lab = Lab::new();
    let (kept, path) = (lab.at("kept"), lab.at("out/step"));
    fs::create_dir_all(kept.join("a/b")).unwrap();
    fs::write(kept.join("a/b/c"), "12345").unwrap();
    symlink(lab.at("outside/canary"), kept.join("link")).unwrap();
    let artifacts = [produced("a/b/c", "12345")];
    restore(kept.clone(), path.clone(), &artifacts).await.unwrap();
    fs::write(path.join("old"), "").unwrap();
    restore(kept.clone(), path.clone(), &artifacts).await.unwrap();
    assert_eq!(fs::read_to_string(path.join("a/b/c")).unwrap(), "12345");
    assert!(!path.join("old").exists());
    let runs = Artifact { executable: true, ..produced("a/b/c", "12345") };
    for (other, expected) in [
        (produced("a/b/c", "123456"), "what was kept of `a/b/c` is not as it was"),
        (produced("a/b/c", "12346"), "what was kept of `a/b/c` is not as it was"),
        (runs, "what was kept of `a/b/c` is not as it was"),
        (produced("a/b/d", "12345"), "No such file or directory (os error 2)"),
        (produced("a/b", "12345"), "it is no regular file"),
        (produced("link", "alive"), "a part of its path is a symbolic link"),
        (produced("../outside/canary", "alive"), "Invalid cross-device link (os error 18)"),
    ] {
        let name = other.key.clone();
        let error = restore(kept.clone(), path.clone(), &[produced("a/b/c", "12345"), other]).await;
        let error = text(&error.unwrap_err());
        assert!(error.ends_with(expected), "{name}: {error}");
        assert!(walk(&path).is_empty(), "{name}");
    }
    restore(lab.at("nothing"), path.clone(), &[]).await.unwrap();
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let lab = Lab::new();
    let directory = create(&lab.at("out/step")).unwrap();
    for key in ["../x", "a/../../x", "/etc/x", "..", ".", "", "a/.."] {
        assert!(directory.put(key, &lab.source("x", 0o600)).is_err(), "{key:?}");
    }
    assert!(walk(&lab.at("out/step")).iter().all(|path| path == Path::new("a")));
}

#[tokio::test]
async fn directories_of_others_are_not_emptied() {
    let lab = Lab::new();
    let path = lab.at("outside/sub");
    for attempt in
        [clear(path.clone()).await, create(&path).map(drop), create(&lab.at("outside/new")).map(drop)]
    {
        let error = attempt.unwrap_err();
        assert!(matches!(&error, ArtifactError::NotOurs(root) if *root == lab.at("outside")), "{error}");
    }
    lab.assert_nothing_outside();
    for ignores in ["target\n", "", &"x\n".repeat(1000)] {
        let root = lab.at("own");
        fs::create_dir(&root).unwrap();
        fs::write(root.join(".gitignore"), ignores).unwrap();
        fs::write(root.join("file"), "").unwrap();
        assert!(matches!(create(&root.join("step")), Err(ArtifactError::NotOurs(_))), "{ignores:?}");
        fs::remove_file(root.join("file")).unwrap();
        // An empty one may be a mark that somebody was killed over.
        assert_eq!(create(&root.join("step")).is_ok(), ignores.is_empty());
        fs::remove_dir_all(root).unwrap();
    }
}

#[tokio::test]
async fn no_link_is_followed() {
    let lab = Lab::new();
    let path = lab.at("out/step");
    fs::create_dir(lab.at("out")).unwrap();
    let refused = |attempt: Result<(), ArtifactError>| {
        let error = text(&attempt.unwrap_err());
        assert!(error.ends_with("a part of its path is a symbolic link"), "{error}");
    };
    // The step's directory.
    drop(create(&lab.at("out/other")).unwrap());
    symlink(lab.at("outside"), &path).unwrap();
    refused(clear(path.clone()).await);
    refused(create(&path).map(drop));
    fs::remove_file(&path).unwrap();
    // One within.
    let directory = create(&path).unwrap();
    for link in ["sub", "dir"] {
        symlink(lab.at("outside"), path.join(link)).unwrap();
    }
    refused(directory.put("sub/x", &lab.source("x", 0o600)).map(drop));
    symlink(lab.at("outside/canary"), path.join("file")).unwrap();
    directory.put("file", &lab.source("mine", 0o600)).unwrap();
    assert!(fs::symlink_metadata(path.join("file")).unwrap().is_file(), "a link is replaced");
    directory.empty().unwrap();
    assert!(walk(&path).is_empty());
    drop(directory);
    // The one above.
    fs::rename(lab.at("out"), lab.at("moved")).unwrap();
    symlink(lab.at("moved"), lab.at("out")).unwrap();
    refused(clear(path.clone()).await);
    refused(create(&path).map(drop));
    lab.assert_nothing_outside();
}

#[test]
fn trees_of_any_depth_are_removed() {
    let lab = Lab::new();
    let path = lab.at("out/step");
    let directory = create(&path).unwrap();
    let mut bottom = directory_handle(&path);
    for _ in 0..4000 {
        rustix::fs::mkdirat(&bottom, "d", 0o700.into()).unwrap();
        bottom = rustix::fs::openat(&bottom, "d", OFlags::DIRECTORY, 0.into()).unwrap();
    }
    directory.empty().unwrap();
    assert!(walk(&path).is_empty());
}

fn directory_handle(path: &Path) -> std::os::fd::OwnedFd {
    File::open(path).unwrap().into()
}

#[test]
fn two_at_a_time_wait_for_each_other() {
    let lab = Lab::new();
    let (path, inside) = (lab.at("out/step"), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (path, inside, lab) = (&path, &inside, &lab);
            scope.spawn(move || {
                create(path).unwrap().fill(|directory| {
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two are in");
                    let file = File::open(lab.at("outside/canary")).unwrap();
                    for file_number in 0..20 {
                        directory.put(&format!("{number}/{file_number}"), &file)?;
                    }
                    inside.fetch_sub(1, Ordering::SeqCst);
                    Ok(())
                })
            });
        }
    });
    assert_eq!(walk(&path).len(), 21, "the last one's");
}

#[test]
fn who_is_stopped_does_not_wait_for_a_lock() {
    let lab = Lab::new();
    let path = lab.at("out/step");
    let _held = create(&path).unwrap();
    let guard = StopOnDrop(Stop::default());
    let stop = guard.0.clone();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Directory::create(&path, stop).map(drop));
        drop(guard);
        assert!(matches!(waiting.join().unwrap(), Err(ArtifactError::Stopped)));
    });
}

/// Every directory on the way is swapped for a link to somewhere else, again and again, while files are written and
/// removed.
#[test]
fn ten_thousand_swaps_lead_nothing_out() {
    const SWAPS: usize = 10_000;
    let lab = Lab::new();
    let levels = [lab.at("top/out/step/sub"), lab.at("top/out/step"), lab.at("top/out"), lab.at("top")];
    drop(create(&levels[1]).unwrap());
    for path in ["outside/sub", "outside/step/sub", "outside/out/step/sub"] {
        fs::create_dir_all(lab.at(path)).unwrap();
        fs::write(lab.at(path).join("canary"), "alive").unwrap();
    }
    let before = walk(&lab.at("outside"));
    let (swaps, written, refused) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while swaps.load(Ordering::Relaxed) < SWAPS {
                for (index, level) in levels.iter().enumerate() {
                    let link = lab.at(&format!("link{index}"));
                    if fs::read_link(&link).is_err() {
                        let _ = fs::remove_dir_all(&link);
                        if symlink(lab.at("outside"), &link).is_err() {
                            // The other thread has just put something into the directory that is still there.
                            continue;
                        }
                    }
                    let _ = fs::create_dir(&levels[0]);
                    let exchange = || renameat_with(CWD, level, CWD, &link, RenameFlags::EXCHANGE);
                    if exchange().is_ok() {
                        swaps.fetch_add(1, Ordering::Relaxed);
                        std::thread::yield_now();
                        // And back. The link may have been removed as what was in the way, and replaced by a directory.
                        let move_back = || renameat_with(CWD, &link, CWD, level, RenameFlags::NOREPLACE);
                        while exchange().is_err() && move_back().is_err() {}
                    }
                }
            }
        });
        let file = lab.source("from the step", 0o600);
        while swaps.load(Ordering::Relaxed) < SWAPS {
            let put = create(&lab.at("top/out/step")).and_then(|directory| {
                directory.fill(|directory| {
                    directory.put("sub/canary", &file)?;
                    directory.put("canary", &file)
                })
            });
            let count = if put.is_ok() { &written } else { &refused };
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert_eq!(walk(&lab.at("outside")), before);
    for path in before.iter().filter(|path| path.ends_with("canary")) {
        assert_eq!(fs::read_to_string(lab.at("outside").join(path)).unwrap(), "alive");
    }
    let (written, refused) = (written.into_inner(), refused.into_inner());
    assert!(written > 0 && refused > 0, "{written} written, {refused} refused: they never met");
}

#[test]
fn names_tell_media_types() {
    for (name, expected) in [
        ("dist/a-1.0-py3.whl", "application/zip"),
        ("a.tar.GZ", "application/gzip"),
        ("report.json", "application/json"),
        ("README", "application/octet-stream"),
        ("bin.d/tool", "application/octet-stream"),
    ] {
        assert_eq!(media_type(name), expected, "{name}");
    }
}
