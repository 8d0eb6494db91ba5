//! Builds that are killed, many at once, without room, or with a wrong clock: nothing keeps running, the next build
//! works, and what the cache gives is right.

mod clock;
mod disks;
mod many;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use hm_plugin_protocol::BuildEvent;
use serde_json::{Value, json};

use crate::caching::{Built, counted, forever, home_of_steps, on_change};
use crate::support::{Project, Running, child, exits, logs, step};

/// Number of builds that are killed, by as many threads, each in a project of its own.
const KILLS: u64 = 100;
const THREADS: u64 = 4;

/// A build has about so many events.
const EVENTS: u64 = 45;

/// Numbers that look random, the same ones for the same seed.
struct Random(u64);

impl Random {
    /// A number below this.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Steps that build on each other in `chain`, where each adds its key, on top of what is in `in`; each says what it
/// found, notes its run, and leaves processes behind. The last never ends while there is `$HOME/hang`.
const STEPS: [(&str, Option<&str>); 6] =
    [("a", None), ("b", Some("a")), ("c", Some("b")), ("d", Some("a")), ("e", Some("d")), ("f", None)];

fn steps(marker: &str) -> Value {
    let steps = STEPS.map(|(key, parent)| {
        let hang = if key == "f" { "test ! -e $HOME/hang || wait;" } else { "" };
        let cmd = format!(
            "sleep {marker} & setsid sleep {marker} & {hang} test -e chain || cp in chain; echo {key} $(cat in) >> $HOME/count; \
             sleep 0.0{}; echo {key} >> chain; cat chain",
            key.len() * 3
        );
        match parent {
            None => on_change(step(key, &cmd), &["in"]),
            Some(parent) => forever(child(key, parent, &cmd)),
        }
    });
    json!(steps)
}

/// Lines that the steps print when this is in `in`.
fn expected(content: &str) -> BTreeMap<String, Vec<String>> {
    let above =
        |key: &&'static str| STEPS.iter().find(|(other, _)| other == key).and_then(|(_, parent)| *parent);
    let lines = |key: &'static str| {
        let mut chain: Vec<String> = std::iter::successors(Some(key), above).map(str::to_owned).collect();
        chain.push(content.to_owned());
        chain.reverse();
        chain
    };
    STEPS.iter().map(|(key, _)| ((*key).to_owned(), lines(key))).collect()
}

/// True if a process runs that has this in its command line, or something below this directory in its file system.
fn anybody(marker: &str, folder: &Path) -> bool {
    let folder = folder.to_string_lossy();
    let processes = fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    processes.filter(|path| path.join("mountinfo").exists()).any(|process| {
        let text =
            |name| String::from_utf8_lossy(&fs::read(process.join(name)).unwrap_or_default()).into_owned();
        text("cmdline").contains(marker) || text("mountinfo").contains(&*folder)
    })
}

/// Waits until nobody is left of a build that was killed.
#[track_caller]
fn all_gone(marker: &str, folder: &Path) {
    let start = Instant::now();
    while anybody(marker, folder) {
        assert!(start.elapsed() < Duration::from_secs(60), "something of a killed build runs or is mounted");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The newest record of a build.
fn newest_record(project: &Project) -> Option<PathBuf> {
    let records = fs::read_dir(project.state().join("runs")).into_iter().flatten().flatten();
    let records = records.flat_map(|project| fs::read_dir(project.path()).expect("records")).flatten();
    let number = |folder: &Path| -> Option<u64> {
        let about: Value = serde_json::from_slice(&fs::read(folder.join("run.json")).ok()?).ok()?;
        about["number"].as_u64()
    };
    let records = records.map(|record| record.path()).filter_map(|path| Some((number(&path)?, path)));
    records.max().map(|(_, path)| path)
}

/// The steps that have succeeded according to a record, which may end anywhere.
fn finished(record: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(record.join("events.jsonl")).expect("events");
    let events: Vec<BuildEvent> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    exits(&events).into_iter().filter(|(_, code)| *code == 0).map(|(key, _)| key).collect()
}

#[test]
fn a_build_that_is_killed_at_any_moment_does_no_harm() {
    let seed = std::env::var("HM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
        u64::try_from(now.as_millis()).expect("small")
    });
    println!("HM_SEED={seed}");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || kill_many(seed + thread, &format!("6543{thread}")));
        }
    });
}

fn kill_many(seed: u64, marker: &str) {
    let mut random = Random(seed);
    let project = Project::with_steps(&steps(marker)).alone();
    let mut content = 0;
    project.write("in", "0\n");
    let first = Built::of(&project, &["-j", "2"]).expect("", "a b c d e f");
    assert_eq!(logs(&first.events), expected("0"));
    let start = Instant::now();
    project.run(&["plan"]).expect_code(0);
    let first_event = u64::try_from(start.elapsed().as_micros()).expect("short");
    let mut while_running = 0;
    for round in 0..KILLS / THREADS {
        match random.below(5) {
            0 => content = random.below(content + 1),
            1 => {}
            _ => content = round + 1,
        }
        project.write("in", &format!("{content}\n"));
        let hang = home_of_steps(&project).join("hang");
        let events_before = if random.below(3) == 0 {
            fs::write(&hang, "").expect("a file");
            random.below(EVENTS / 2)
        } else {
            random.below(EVENTS)
        };
        let former = newest_record(&project);
        let mut command = project.hm(&["build", "--format", "json", "-j", "2"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut build = Running::start(command);
        // So many events later, or before the first, and a little more.
        let mut events = BufReader::new(build.0.stdout.take().expect("a pipe")).lines();
        let delay = match events_before {
            0 => random.below(first_event),
            _ => {
                events.by_ref().take(usize::try_from(events_before).expect("few")).for_each(drop);
                random.below(20_000)
            }
        };
        std::thread::sleep(Duration::from_micros(delay));
        while_running += u64::from(build.0.try_wait().expect("a child").is_none());
        build.0.kill().expect("a child");
        build.0.wait().expect("a child");
        all_gone(marker, &project.cache());
        // Only if it was there.
        let _ = fs::remove_file(hang);

        // It may have been killed before it had a record.
        let record = newest_record(&project).filter(|record| Some(record) != former.as_ref());
        let finished = record.as_deref().map(finished).unwrap_or_default();
        let before = counted(&project);
        let next = Built::of(&project, &["-j", "2"]);
        let told = format!(
            "seed {seed}, round {round}, {finished:?} had finished: {}{}",
            next.ran.stderr, next.ran.stdout
        );
        assert_eq!(next.ran.code, Some(0), "{told}");
        assert_eq!(next.ran.stderr, "", "{told}");
        assert_eq!(logs(&next.events), expected(&content.to_string()), "{told}");
        for key in finished {
            assert!(next.hits().contains(&key), "{key} was run again; {told}");
            let runs = |counted: &[String]| {
                counted.iter().filter(|line| **line == format!("{key} {content}")).count()
            };
            assert_eq!(runs(&before), runs(&counted(&project)), "{key} was run again; {told}");
        }
    }
    assert!(
        while_running * 2 > KILLS / THREADS,
        "most builds must be killed before they end: {while_running}"
    );
    Built::of(&project, &[]).expect("a b c d e f", "");
    project.run(&["cache", "prune"]).expect_code(0);
    Built::of(&project, &[]).expect("a b c d e f", "");
    let list: Value = serde_json::from_str(&project.run(&["cache", "list", "--json"]).stdout).expect("JSON");
    assert_eq!((&list["damaged"]["count"], &list["unneeded_layers"]["count"]), (&json!(0), &json!(0)));
    for place in ["results", "kept", "layers"] {
        for entry in fs::read_dir(project.cache().join(place)).expect("a folder").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            assert!(
                !["tmp-", "trash-", "run-"].iter().any(|left| name.starts_with(left)),
                "{place}/{name} stays"
            );
        }
    }
}
