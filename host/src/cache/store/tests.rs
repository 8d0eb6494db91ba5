//! Promises of the store: whole results or none, whatever is damaged, full, read-only, killed or done at the same time.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

use super::*;

/// A store in a directory of its own, with things to put into it.
struct Scratch {
    dir: tempfile::TempDir,
    store: Store,
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn key(number: usize) -> Key {
    Key::try_from(format!("{number:064x}")).unwrap()
}

fn entry(key: &Key, tag: &str) -> ResultMeta {
    ResultMeta {
        format: 0,
        key: key.clone(),
        tag: SnapshotRef(tag.into()),
        parent: None,
        project: "/here".into(),
        pipeline: "ci".into(),
        step: "build".into(),
        runner: "local".into(),
        made_at: now(),
        longest_secs: None,
        duration_ms: 7,
        bytes: 0,
        log: Content::default(),
        artifacts: Vec::new(),
        boot: String::new(),
    }
}

fn artifact(name: &str, text: &str) -> Artifact {
    let content = Content::of(text.as_bytes()).unwrap();
    Artifact { key: name.into(), mime: "text/plain".into(), executable: false, content }
}

impl Scratch {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache/results")).unwrap();
        fs::write(dir.path().join("log"), "said\n").unwrap();
        fs::create_dir_all(dir.path().join("out/dist")).unwrap();
        fs::write(dir.path().join("out/dist/a"), "12345").unwrap();
        fs::write(dir.path().join("out/other"), "not named").unwrap();
        Self { dir, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, entry: ResultMeta) -> Result<(), CacheError> {
        let lock = self.store.try_lock(&entry.key).unwrap().expect("nobody has it");
        self.store.put(&lock, entry, &self.path("log"), Some(&self.path("out")))
    }

    fn put_new(&self, tag: &str) -> Key {
        self.put(entry(&key(1), tag)).unwrap();
        key(1)
    }

    fn found(&self, key: &Key) -> Result<ResultMeta, MissReason> {
        self.store.lookup(key, None, now())
    }

    /// The tag that is kept.
    fn tag(&self, key: &Key) -> Option<String> {
        match self.found(key) {
            Ok(entry) => Some(entry.tag.0),
            _ => None,
        }
    }

    /// All that is in the store but locks.
    fn names(&self) -> Vec<String> {
        let mut names = list_names(&self.store.root).unwrap();
        names.retain(|name| name != LOCKS);
        names.sort();
        names
    }

    /// The same store after the machine was started again.
    fn after_a_restart(&self) -> Store {
        Store { boot: Boot::noted("another"), ..self.store.clone() }
    }
}

#[test]
fn what_is_put_is_found_whole() {
    let scratch = Scratch::new();
    assert_eq!(scratch.found(&key(1)), Err(MissReason::NoEntry));
    // What the step made of it counts, and not what it is now.
    let artifacts = vec![Artifact { executable: true, ..artifact("dist/a", "12345") }];
    scratch.put(ResultMeta { artifacts: artifacts.clone(), ..entry(&key(1), "t") }).unwrap();
    let Ok(found) = scratch.found(&key(1)) else { panic!("not found") };
    assert_eq!((found.format, found.bytes, found.tag.0.as_str()), (FORMAT, 10, "t"));
    assert_eq!(found.artifacts, artifacts);
    let log = scratch.store.log(&key(1), &found.log).unwrap();
    assert_eq!(fs::read_to_string(&log).unwrap(), "said\n");
    let artifacts = scratch.store.artifacts_path(&key(1));
    assert_eq!(fs::read_to_string(artifacts.join("dist/a")).unwrap(), "12345");
    assert!(!artifacts.join("other").exists(), "only what the step brought out");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&artifacts.join("dist/a")), 0o700);
    assert_eq!((mode(&scratch.store.root), mode(&log)), (0o700, 0o600));
    scratch.put_new("again");
    assert_eq!(scratch.tag(&key(1)).as_deref(), Some("again"));
    assert!(!artifacts.exists() && scratch.names() == [key(1).as_str()]);
    let lock = scratch.store.try_lock(&key(1)).unwrap().unwrap();
    scratch.store.forget(lock).unwrap();
    assert_eq!((scratch.found(&key(1)), scratch.names().len()), (Err(MissReason::NoEntry), 0));
    assert!(list_names(&scratch.store.root.join(LOCKS)).unwrap().is_empty());
}

#[test]
fn results_are_used_as_long_as_they_may_be_and_never_before_they_were_made() {
    let scratch = Scratch::new();
    scratch.put_new("t");
    let look = |longest: Option<u64>, after: i64| {
        scratch.store.lookup(&key(1), longest.map(Duration::from_secs), now() + TimeDelta::seconds(after))
    };
    let since = now() + TimeDelta::seconds(60);
    for (longest, after) in [(None, 0), (None, 1 << 40), (Some(60), 59), (Some(u64::MAX), 1 << 40)] {
        assert!(look(longest, after).is_ok(), "{longest:?} {after}");
    }
    assert_eq!(look(Some(60), 60), Err(MissReason::Expired { since }));
    assert_eq!(look(Some(60), 1 << 40), Err(MissReason::Expired { since }));
    assert_eq!(look(None, -1), Err(MissReason::MadeInFuture));
}

#[test]
fn whatever_is_damaged_is_not_found() {
    let scratch = Scratch::new();
    scratch.put_new("t");
    let path = scratch.store.entry_path(&key(1));
    let whole = fs::read_to_string(&path).unwrap();
    let other_key = whole.replace(key(1).as_str(), key(2).as_str());
    let (older, newer) =
        (whole.replace("\"format\":2", "\"format\":1"), whole.replace("\"format\":2", "\"format\":3"));
    let no_digests = whole.replace("\"sha256\"", "\"x\"");
    assert!([&older, &newer, &no_digests, &other_key].iter().all(|text| **text != whole));
    let cut = (0..whole.len()).map(|end| &whole[..end]);
    for text in cut.chain([
        other_key.as_str(),
        &older,
        &newer,
        &no_digests,
        "[]",
        "null",
        "\u{0}",
        &"[".repeat(100_000),
    ]) {
        fs::write(&path, text).unwrap();
        assert_eq!(scratch.found(&key(1)), Err(MissReason::Damaged), "{text}");
    }
    assert_eq!(scratch.store.entries().unwrap()[0].entry, None);
    fs::remove_file(&path).unwrap();
    assert_eq!(scratch.found(&key(1)), Err(MissReason::Damaged), "a folder with nothing in it");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    assert_eq!(scratch.found(&key(1)), Err(MissReason::Damaged), "a pipe that nobody writes into");
    scratch.put_new("healed");
    assert_eq!(scratch.tag(&key(1)).as_deref(), Some("healed"));
    fs::write(scratch.store.folder(&key(3)), "a file").unwrap();
    assert_eq!(scratch.found(&key(3)), Err(MissReason::Damaged));
    scratch.put(entry(&key(3), "healed")).unwrap();
    assert!(scratch.found(&key(3)).is_ok());
}

#[test]
fn a_log_that_is_not_what_was_kept_is_not_found() {
    let scratch = Scratch::new();
    scratch.put_new("t");
    let Ok(entry) = scratch.found(&key(1)) else { panic!("not found") };
    let path = scratch.store.log(&key(1), &entry.log).expect("whole");
    for other in ["", "said", "said\nmore", "sAid\n"] {
        fs::write(&path, other).unwrap();
        assert_eq!(scratch.store.log(&key(1), &entry.log), None, "{other:?}");
    }
    fs::write(&path, "said\n").unwrap();
    assert!(scratch.store.log(&key(1), &entry.log).is_some());
    fs::remove_file(&path).unwrap();
    assert_eq!(scratch.store.log(&key(1), &entry.log), None);
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    assert_eq!(scratch.store.log(&key(1), &entry.log), None, "a pipe that nobody writes into");
}

#[test]
fn what_may_not_have_reached_the_disk_is_not_trusted_after_a_restart() {
    let scratch = Scratch::new();
    scratch.put_new("t");
    let restarted = scratch.after_a_restart();
    let look = |store: &Store| store.lookup(&key(1), None, now());
    assert_eq!(look(&restarted), Err(MissReason::Damaged));
    assert_eq!(restarted.entries().unwrap()[0].entry, None);
    restarted.make_durable(&[key(1)]).unwrap();
    assert_eq!(look(&restarted), Err(MissReason::Damaged), "it is too late to make it last");
    scratch.store.make_durable(&[key(1), key(2)]).unwrap();
    assert!(look(&restarted).is_ok());
    let nowhere = Store { boot: Boot::noted(""), ..scratch.store.clone() };
    assert!(look(&nowhere).is_ok());
    // Of a result that was replaced before its marker was written.
    fs::write(scratch.store.folder(&key(1)).join(DURABLE), "another").unwrap();
    assert_eq!((look(&restarted), look(&nowhere)), (Err(MissReason::Damaged), Err(MissReason::Damaged)));
    assert!(look(&scratch.store).is_ok());
    scratch.put_new("new");
    assert_eq!(look(&restarted), Err(MissReason::Damaged), "a marker is not for what comes later");
}

#[test]
fn what_cannot_be_put_leaves_nothing_half() {
    let scratch = Scratch::new();
    scratch.put_new("old");
    symlink("a", scratch.path("out/dist/link")).unwrap();
    symlink("dist", scratch.path("out/link")).unwrap();
    fs::write(scratch.path("out/dist/b"), "of another build").unwrap();
    for (name, text) in [
        ("dist/none", "12345"),
        ("dist/b", "of this"),
        ("dist/b", "of this build ..."),
        ("dist/b", "of anothe"),
        ("dist/b", "of one build ..."),
        ("dist/link", "12345"),
        ("link/a", "12345"),
        ("dist", "12345"),
        ("../log", "said\n"),
        ("/etc/hostname", "12345"),
    ] {
        let artifacts = vec![artifact("dist/a", "12345"), artifact(name, text)];
        let error = scratch.put(ResultMeta { artifacts, ..entry(&key(1), "new") }).unwrap_err().to_string();
        assert!(error.contains(name.trim_start_matches("../")), "{error}");
        assert_eq!(scratch.tag(&key(1)).as_deref(), Some("old"));
    }
    let lock = scratch.store.try_lock(&key(1)).unwrap().unwrap();
    let put = |entry, log: &str| scratch.store.put(&lock, entry, &scratch.path(log), None);
    assert!(put(entry(&key(1), "new"), "no log").unwrap_err().to_string().contains("no log"));
    assert!(put(entry(&key(1), "new"), "out").is_err());
    assert!(matches!(put(entry(&key(2), "new"), "log"), Err(CacheError::OtherKey { .. })));
    assert_eq!((scratch.tag(&key(1)).as_deref(), scratch.names().len()), (Some("old"), 1));
}

#[test]
fn what_a_kill_leaves_behind_goes_and_what_is_in_use_stays() {
    let scratch = Scratch::new();
    scratch.put_new("t");
    let made_by_nobody = [key(2), key(3)].map(|key| scratch.store.new_folder(&key));
    for folder in &made_by_nobody {
        fs::create_dir_all(folder.join(ARTIFACTS)).unwrap();
        fs::write(folder.join(ENTRY), "{\"for").unwrap();
    }
    fs::create_dir(scratch.store.root.join("trash-x")).unwrap();
    fs::write(scratch.store.root.join("of somebody else"), "").unwrap();
    drop(scratch.store.try_lock(&key(4)).unwrap());
    let in_use = scratch.store.try_lock(&key(3)).unwrap().unwrap();
    scratch.store.tidy().unwrap();
    let kept = [key(1).to_string(), "of somebody else".to_owned(), format!("tmp-{}", key(3))];
    assert_eq!(scratch.names(), kept);
    let locks = || list_names(&scratch.store.root.join(LOCKS)).unwrap().len();
    assert_eq!(locks(), 2, "that of the result, and the one in use");
    scratch.store.put(&in_use, entry(&key(3), "t"), &scratch.path("log"), None).unwrap();
    assert_eq!(scratch.names().len(), 3);
}

#[test]
fn a_lock_is_for_one_or_for_many_readers() {
    let scratch = Scratch::new();
    let one = scratch.store.try_lock(&key(1)).unwrap().expect("free");
    assert!(scratch.store.try_lock(&key(1)).unwrap().is_none());
    assert!(scratch.store.hold(&key(1)).unwrap().is_none());
    assert!(scratch.store.try_lock(&key(2)).unwrap().is_some());
    drop(one);
    let readers = [scratch.store.hold(&key(1)).unwrap(), scratch.store.hold(&key(1)).unwrap()];
    assert!(readers.iter().all(Option::is_some));
    assert!(scratch.store.try_lock(&key(1)).unwrap().is_none());
    drop(readers);
    assert!(scratch.store.try_lock(&key(1)).unwrap().is_some());
}

#[tokio::test]
async fn who_waits_for_a_lock_can_be_called_off() {
    let scratch = Scratch::new();
    let key = key(1);
    let lock = scratch.store.try_lock(&key).unwrap().unwrap();
    let waiting = tokio::time::timeout(Duration::from_millis(200), scratch.store.lock(&key));
    assert!(waiting.await.is_err());
    drop(lock);
    scratch.store.lock(&key).await.unwrap();
}

#[test]
fn of_sixteen_at_once_one_runs_the_step() {
    let scratch = Scratch::new();
    let (runs, misses) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for step in 0..20 {
                    let key = key(step);
                    if scratch.found(&key).is_ok() {
                        continue;
                    }
                    misses.fetch_add(1, Ordering::Relaxed);
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                    let lock = runtime.block_on(scratch.store.lock(&key)).unwrap();
                    if scratch.found(&key).is_err() {
                        runs.fetch_add(1, Ordering::Relaxed);
                        scratch.store.put(&lock, entry(&key, "t"), &scratch.path("log"), None).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(runs.into_inner(), 20);
    assert!(misses.into_inner() >= 20);
}

#[test]
fn what_is_held_is_whole_while_others_replace_and_remove() {
    let scratch = Scratch::new();
    let (over, seen) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (scratch, over) = (&scratch, &over);
            scope.spawn(move || {
                for round in 0.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let Some(lock) = scratch.store.try_lock(&key(1)).unwrap() else { continue };
                    if round % 3 == 0 {
                        scratch.store.forget(lock).unwrap();
                        continue;
                    }
                    let tag = format!("{writer} {round}");
                    let log = scratch.path(&format!("log {writer}"));
                    fs::write(&log, &tag).unwrap();
                    scratch.store.put(&lock, entry(&key(1), &tag), &log, None).unwrap();
                    drop(lock);
                    // Which waits for the disk.
                    if round == 1 {
                        scratch.store.make_durable(&[key(1)]).unwrap();
                    }
                    scratch.store.tidy().unwrap();
                }
            });
        }
        for _ in 0..4 {
            scope.spawn(|| {
                while seen.load(Ordering::Relaxed) < 300 {
                    let Some(_held) = scratch.store.hold(&key(1)).unwrap() else { continue };
                    match scratch.found(&key(1)) {
                        Ok(entry) => {
                            let log = scratch.store.log(&key(1), &entry.log).expect("whole");
                            assert_eq!(fs::read_to_string(log).unwrap(), entry.tag.0);
                            seen.fetch_add(1, Ordering::Relaxed);
                        }
                        found => assert_eq!(found, Err(MissReason::NoEntry)),
                    }
                }
                over.store(true, Ordering::Relaxed);
            });
        }
    });
    scratch.store.tidy().unwrap();
    assert!(scratch.names().iter().all(|name| name == key(1).as_str()), "{:?}", scratch.names());
}

#[test]
fn results_are_listed_by_their_last_use() {
    let scratch = Scratch::new();
    for number in 1..=3 {
        scratch.put(entry(&key(number), "t")).unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(number as u64);
        let file = File::open(scratch.store.entry_path(&key(number))).unwrap();
        file.set_times(FileTimes::new().set_modified(old)).unwrap();
    }
    fs::write(scratch.store.root.join("README"), "").unwrap();
    scratch.store.touch(&key(1)).unwrap();
    let keys: Vec<Key> = scratch.store.entries().unwrap().into_iter().map(|listed| listed.key).collect();
    assert_eq!(keys, [key(2), key(3), key(1)]);
    assert!(scratch.store.touch(&key(4)).is_err());
}

/// A small file system that goes with this.
struct Disk(PathBuf);

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_and_a_disk_that_cannot_be_written_to_lose_nothing() {
    let scratch = Scratch::new();
    let disk = scratch.path("disk");
    fs::create_dir(&disk).unwrap();
    if mount("tmpfs", &disk, "tmpfs", MountFlags::empty(), Some(c"size=256k")).is_err() {
        return hm_test_lab::skipped("mounting a file system needs root");
    }
    let disk = Disk(disk);
    let store = Store::open(&disk.0.join("results")).unwrap();
    let scratch = Scratch { store, ..scratch };
    scratch.put(entry(&key(1), "kept")).unwrap();
    scratch.store.make_durable(&[key(1)]).unwrap();

    fs::write(scratch.path("log"), vec![b'x'; 1 << 20]).unwrap();
    for number in [1, 2] {
        let error = scratch.put(entry(&key(number), "too large")).unwrap_err().to_string();
        assert!(error.starts_with("cannot write "), "{error}");
    }
    assert_eq!(scratch.tag(&key(1)).as_deref(), Some("kept"));
    assert_eq!((scratch.found(&key(2)), scratch.names().len()), (Err(MissReason::NoEntry), 1));

    fs::write(scratch.path("log"), "x").unwrap();
    mount_remount(&disk.0, MountFlags::RDONLY, "").unwrap();
    let reopened = Store::open(&disk.0.join("results")).unwrap();
    assert!(reopened.lookup(&key(1), None, now()).is_ok());
    assert!(reopened.try_lock(&key(1)).is_err() && reopened.hold(&key(2)).is_err());
    reopened.make_durable(&[key(1)]).unwrap();
    assert_eq!(reopened.entries().unwrap().len(), 1);
    assert!(Store::open(&disk.0.join("other")).is_err());
}
