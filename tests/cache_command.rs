//! `hm cache`, on a cache made by hand: what it shows, what it removes, and what it leaves.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::support::{Project, Ran, ran};
use crate::transcript::Transcript;

/// A project with a cache of its own.
struct Cache {
    project: Project,
    root: PathBuf,
}

/// A result of [`Cache::put`], 15 bytes in the store and 1000 in a layer, made ten hours ago and last used so many
/// hours ago.
#[derive(Clone, Copy)]
struct Made<'a> {
    number: u32,
    step: &'a str,
    parent: Option<u32>,
    /// Made ten hours ago, it may be so many hours old.
    longest: Option<u32>,
    used: u64,
}

fn made(number: u32) -> Made<'static> {
    Made { number, step: "build", parent: None, longest: None, used: 0 }
}

fn hex(number: u32) -> String {
    format!("{number:032x}")
}

fn tag(number: u32) -> String {
    format!("hm-cache:{}", hex(number))
}

fn key(number: u32) -> String {
    format!("{number:064x}")
}

/// The time so many hours ago, as entries have it.
fn hours_ago(hours: u64) -> String {
    let then = SystemTime::now() - Duration::from_secs(hours * 3600);
    chrono::DateTime::<chrono::Utc>::from(then).to_rfc3339()
}

impl Cache {
    fn new() -> Self {
        let project = Project::new();
        let root = project.home().join("cache/harmont");
        fs::create_dir_all(&root).expect("a directory");
        Self { project, root }
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.hm(&[&["cache"], args].concat())
    }

    fn hm(&self, args: &[&str]) -> Ran {
        let mut hm = self.project.hm(args);
        ran(hm.env("XDG_CACHE_HOME", self.root.parent().expect("a parent")).output().expect("hm starts"))
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(&path, text).expect("a file");
        path
    }

    fn put(&self, made: Made<'_>) {
        self.put_of(made, &self.project.path());
    }

    fn put_of(&self, made: Made<'_>, project: &Path) {
        let Made { number, step, parent, longest, used } = made;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a number");
        let entry = json!({
            "format": 2, "key": key(number), "tag": tag(number), "parent": parent.map(tag), "project": project,
            "log": {"size_bytes": 0, "sha256": ""}, "pipeline": "ci", "step": step, "runner": "local", "made_at": hours_ago(10),
            "longest_secs": longest.map(|hours| hours * 3600), "duration_ms": 1500, "bytes": 15,
            "artifacts": [], "boot": boot.trim(),
        });
        let path = self.write(&format!("results/{}/entry.json", key(number)), &entry.to_string());
        let used = SystemTime::now() - Duration::from_secs(used * 3600);
        File::open(path).expect("a file").set_modified(used).expect("a time");
        self.write(&format!("results/{}/log", key(number)), "fifteen bytes.\n");
        self.put_layer(number, parent);
    }

    fn put_layer(&self, number: u32, parent: Option<u32>) {
        self.write(&format!("kept/{}/tree/file", hex(number)), "");
        let below = parent.map_or_else(|| "-".to_owned(), hex);
        self.write(&format!("kept/{}/about", hex(number)), &format!("{below} 1000\n"));
    }

    /// The numbers of the results and of the layers that are there.
    fn there(&self) -> (Vec<u32>, Vec<u32>) {
        let numbers = |folder: &str, digits: usize| {
            let entries = fs::read_dir(self.root.join(folder)).into_iter().flatten();
            let names = entries.filter_map(|entry| entry.expect("an entry").file_name().into_string().ok());
            let mut numbers: Vec<u32> = names
                .filter(|name| name.len() == digits)
                .map(|name| u32::from_str_radix(&name, 16).unwrap_or(u32::MAX))
                .collect();
            numbers.sort_unstable();
            numbers
        };
        (numbers("results", 64), numbers("kept", 32))
    }
}

#[test]
fn an_empty_cache_is_fine() {
    let cache = Cache::new();
    assert_eq!(cache.run(&["list"]).expect_code(0).stdout, "0 results, 0 B\n");
    assert_eq!(cache.run(&["prune"]).expect_code(0).stdout, "nothing to remove\n");
    assert_eq!(cache.run(&["clear"]).expect_code(0).stdout, "nothing to remove\n");
    let list: Value =
        serde_json::from_str(&cache.run(&["list", "--json"]).expect_code(0).stdout).expect("JSON");
    assert_eq!((&list["results"], &list["bytes"]), (&json!([]), &json!(0)));
    cache.run(&[]).expect_code(2);
}

#[test]
fn results_are_shown_with_size_age_and_last_use() {
    let cache = Cache::new();
    cache.put(Made { longest: Some(12), used: 3, ..made(1) });
    cache.put(Made { step: "test", parent: Some(1), ..made(2) });
    cache.put_of(Made { step: "elsewhere", ..made(3) }, Path::new("/other/project"));
    cache.put_layer(4, None);
    cache.write(&format!("results/{}/entry.json", key(5)), "{\"format\"");
    let ran = cache.run(&["list"]).expect_code(0);
    let mut said = Transcript::default();
    said.add("what there is", &cache.project, &["cache", "list"], &ran);
    said.expect("cache-list");
    let (shown, project) = (ran.stdout, cache.project.path());
    assert!(shown.find("  test ") < shown.find("  build "), "the newest first:\n{shown}");

    let list: Value =
        serde_json::from_str(&cache.run(&["list", "--json"]).expect_code(0).stdout).expect("JSON");
    assert_eq!(list["results"].as_array().map(Vec::len), Some(3));
    let build = list["results"].as_array().and_then(|all| all.iter().find(|one| one["step"] == "build"));
    let build = build.expect("the step");
    assert_eq!(
        (&build["bytes"], &build["runner"], &build["pipeline"]),
        (&json!(1015), &json!("local"), &json!("ci"))
    );
    assert_eq!((&build["key"], &build["tag"]), (&json!(key(1)), &json!(tag(1))));
    assert!(build["expires_at"].is_string() && build["made_at"].is_string() && build["used_at"].is_string());
    assert_eq!(build["project"], json!(project));
    assert_eq!(list["damaged"], json!({"count": 1, "bytes": 9}));
    assert_eq!(list["unneeded_layers"], json!({"count": 1, "bytes": 1000}));
    assert_eq!(list["bytes"], json!(3 * 1015 + 9 + 1000));
}

#[test]
fn lists_fit_the_terminal_whatever_the_names_are() {
    let cache = Cache::new();
    let long = "very-long-".repeat(30);
    cache.put_of(Made { step: &long, ..made(1) }, Path::new(&format!("/{long}")));
    cache.put_of(Made { step: "\u{1b}[31m\nwarning: ä", ..made(2) }, Path::new("/\u{1b}]0;x\n/p"));
    let shown = cache.run(&["list"]).expect_code(0).stdout;
    for line in shown.lines() {
        assert!(line.chars().count() <= 80, "{line}");
        assert!(!line.contains(char::is_control) && !line.starts_with("warning"), "{line:?}");
    }
}

#[test]
fn prune_removes_what_can_never_be_used_again() {
    let cache = Cache::new();
    cache.put(Made { longest: Some(9), ..made(1) });
    cache.put(Made { parent: Some(1), ..made(2) });
    cache.put(Made { longest: Some(11), ..made(3) });
    cache.put(Made { parent: Some(3), ..made(4) });
    cache.put_of(made(5), &cache.project.path().join("vanished"));
    cache.put(Made { parent: Some(99), ..made(6) });
    cache.put_layer(7, None);
    cache.write(&format!("results/{}/entry.json", key(8)), "");
    cache.write(&format!("results/tmp-{}/log", key(9)), "of a killed hm");
    cache.write(&format!("results/locks/{}", key(10)), "");
    let said = cache.run(&["prune"]).expect_code(0).stdout;
    assert_eq!(said, "removed 5 results, 5 layers: 5.0 kB freed\n");
    assert_eq!(cache.there(), (vec![3, 4], vec![3, 4]));
    assert!(!cache.root.join(format!("results/tmp-{}", key(9))).exists());
    let locks = fs::read_dir(cache.root.join("results/locks")).expect("a folder").count();
    assert_eq!(locks, 0);
    assert_eq!(cache.run(&["prune"]).expect_code(0).stdout, "nothing to remove\n");
}

#[test]
fn prune_keeps_to_limits_that_are_typed_or_configured() {
    let cache = Cache::new();
    let fill =
        || (1..=6).for_each(|number| cache.put(Made { used: 48 * u64::from(7 - number), ..made(number) }));
    let left = |args: &[&str]| {
        fill();
        cache.run(&[&["prune"], args].concat()).expect_code(0);
        cache.there().0
    };
    assert_eq!(left(&[]), [1, 2, 3, 4, 5, 6]);
    assert_eq!(left(&["--older-than", "7d"]), [4, 5, 6]);
    assert_eq!(left(&["--max-size", "3kB"]), [5, 6]);
    assert_eq!(left(&["--max-size", "5GB", "--older-than", "97h"]), [5, 6]);
    assert_eq!(left(&["--max-size", "0B"]), [0; 0]);
    let config = cache.project.config().join("config.toml");
    fs::write(&config, "[cache]\nmax_size = \"4kB\"\nmax_age_days = 5\n").expect("a file");
    assert_eq!(left(&[]), [5, 6]);
    assert_eq!(left(&["--older-than", "90d"]), [4, 5, 6]);
    fs::write(&config, "[cache]\nmax_size = \"4\"\n").expect("a file");
    assert!(cache.run(&["prune"]).expect_code(2).stderr.contains("500MB or 5GB"));
    for (option, value, form) in [
        ("--older-than", "7", "90s, 30m, 12h or 7d"),
        ("--older-than", "a week", "90s, 30m, 12h or 7d"),
        ("--max-size", "5GiB", "500MB or 5GB"),
        ("--max-size", "-1GB", "500MB or 5GB"),
    ] {
        let said = cache.run(&["prune", &format!("{option}={value}")]).expect_code(2).stderr;
        assert!(said.contains(form), "{said}");
    }
}

#[test]
fn clear_leaves_only_what_is_no_result_and_what_is_in_use() {
    let cache = Cache::new();
    (1..=3).for_each(|number| cache.put(made(number)));
    let others =
        ["home/x/file", "base/x/file", "modules/x", "etc/hosts"].map(|name| cache.write(name, "stays"));
    let lock = cache.write(&format!("results/locks/{}", key(2)), "");
    let lock = File::open(lock).expect("a file");
    lock.lock_shared().expect("a lock");
    let said = cache.run(&["clear"]).expect_code(0).stdout;
    assert_eq!(
        said,
        "removed 2 results, 2 layers: 2.0 kB freed\nin use by running builds, and kept: 1 result\n"
    );
    assert_eq!(cache.there(), (vec![2], vec![2]));
    drop(lock);
    let said = cache.run(&["clear"]).expect_code(0).stdout;
    assert_eq!(said, "removed 1 result, 1 layer: 1.0 kB freed\n");
    assert_eq!(cache.there(), (vec![], vec![]));
    for other in others {
        assert!(other.exists(), "{}", other.display());
    }
}

#[test]
fn what_cannot_be_removed_or_read_is_said() {
    let cache = Cache::new();
    cache.write("results", "a file");
    for command in ["list", "prune", "clear"] {
        let said = cache.run(&[command]).expect_code(2).stderr;
        assert!(said.starts_with("error: cannot create ") && said.contains("results"), "{said}");
    }
}

#[test]
fn a_build_keeps_the_cache_within_its_limits() {
    let cache = Cache::new();
    let steps = json!([
        {"type": "command", "key": "a", "cmd": "echo one > one", "cache": {"policy": "forever"}},
        {"type": "command", "key": "b", "cmd": "cat one", "builds_in": "a", "cache": {"policy": "forever"}},
    ]);
    cache.project.write(".hm/ci.json", &json!({"version": "0", "steps": steps}).to_string());
    let list = || -> Value {
        serde_json::from_str(&cache.run(&["list", "--json"]).expect_code(0).stdout).expect("JSON")
    };
    cache.hm(&["build"]).expect_code(0);
    assert_eq!(list()["results"].as_array().map(Vec::len), Some(2));
    assert_eq!(cache.there().1.len(), 2);
    cache.put(made(7));
    fs::write(cache.project.config().join("config.toml"), "[cache]\nmax_size = \"0B\"\n").expect("a file");
    cache.hm(&["build"]).expect_code(0);
    assert_eq!(cache.there().1.len(), 3, "it has made nothing, so nothing is in its way");
    let built = cache.hm(&["build", "--no-cache"]).expect_code(0);
    assert_eq!(built.stderr.matches("warning").count(), 0, "{}", built.stderr);
    assert_eq!(cache.there(), (vec![], vec![]));
    cache.hm(&["build"]).expect_code(0);
}
