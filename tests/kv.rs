//! Stored values under many processes, kills and a full disk. The processes are this test binary, started again to run
//! one test that works.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use hm_disk::PathError;
use hm_host::backend::kv::{KvError, StoredValues};

use crate::support::on_a_small_disk;

/// The variable that tells [`worker`] what to do.
const WORK: &str = "HM_TEST_KV_WORKER";

/// Nothing here takes this long unless it hangs.
const HANG: Duration = Duration::from_secs(60);

/// This binary as a worker: what it is to do, and in which directory.
fn this_binary(work: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["kv::worker", "--exact", "--ignored", "--nocapture"]);
    command
        .env(WORK, work)
        .env("HM_TEST_KV_DIRECTORY", directory)
        .stdout(Stdio::piped())
        .current_dir(directory);
    command
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

fn get(kept: &StoredValues, key: &str) -> Option<Vec<u8>> {
    runtime().block_on(kept.get("p", key)).expect("a file that makes sense")
}

#[test]
#[ignore = "a program for other tests"]
fn worker() {
    let Ok(work) = std::env::var(WORK) else { return };
    let directory = std::env::var("HM_TEST_KV_DIRECTORY").expect("a directory");
    let kept = StoredValues::new(directory.into());
    let (what, name) = work.split_once(' ').unwrap_or((&work, ""));
    runtime().block_on(async {
        match what {
            "some" => {
                for number in 0..25 {
                    kept.set("p", &format!("{name}-{number}"), name.into()).await.expect("kept");
                    kept.set("p", "shared", format!("{name}-{number}").into()).await.expect("kept");
                }
            }
            "on" => {
                for number in 0_u64.. {
                    kept.set("p", name, number.to_string().into()).await.expect("kept");
                    println!("kept {number}");
                }
            }
            "full" => full(&kept).await,
            other => panic!("{other}"),
        }
    });
}

/// Checks stored values where there is room for some kilobytes.
async fn full(kept: &StoredValues) {
    kept.set("p", "small", vec![1; 1000]).await.expect("room for it");
    let error = kept.set("p", "large", vec![1; 1_000_000]).await.expect_err("no room for it");
    let KvError::Io(PathError { what: "write", path, source }) = &error else { panic!("{error}") };
    assert!(path.ends_with("p.kv") && source.kind() == std::io::ErrorKind::StorageFull, "{error}: {source}");
    let directory = path.parent().expect("a directory");
    assert_eq!(std::fs::read_dir(directory).expect("a directory").count(), 2, "the file and its lock");
    assert_eq!(kept.get("p", "small").await.expect("as it was"), Some(vec![1; 1000]));
    kept.set("p", "small", vec![2; 1000]).await.expect("room for it again");
    println!("full is fine");
}

#[test]
fn sixteen_processes_lose_nothing() {
    let scratch = tempfile::tempdir().expect("a directory");
    let start = |number| this_binary(&format!("some w{number}"), scratch.path()).spawn().expect("a worker");
    let workers: Vec<Child> = (0..16).map(start).collect();
    for worker in workers {
        let ended = worker.wait_with_output().expect("a worker");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
    }
    let kept = StoredValues::new(scratch.path().to_owned());
    for worker in 0..16 {
        for number in 0..25 {
            let value = get(&kept, &format!("w{worker}-{number}"));
            assert_eq!(value, Some(format!("w{worker}").into()), "w{worker}-{number}");
        }
    }
    let last = String::from_utf8(get(&kept, "shared").expect("a value")).expect("text");
    assert!(last.ends_with("-24"), "the last of one of them: {last}");
}

/// A worker that goes on until it is killed.
struct Victim {
    name: String,
    process: Child,
    /// Something for each value that it said was kept.
    words: mpsc::Receiver<u64>,
}

impl Victim {
    fn start(name: String, directory: &Path) -> Self {
        let mut process = this_binary(&format!("on {name}"), directory).spawn().expect("a worker");
        let lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let (sender, words) = mpsc::channel();
        std::thread::spawn(move || {
            // The test harness says things too.
            for number in
                lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("kept ")?.parse().ok())
            {
                let _ = sender.send(number);
            }
        });
        Self { name, process, words }
    }

    /// Kills it, and answers with the last number that it said was kept.
    fn kill(&mut self) -> u64 {
        let first = self.words.recv_timeout(HANG).expect("a first value");
        let random = uuid::Uuid::new_v4().as_bytes()[0];
        std::thread::sleep(Duration::from_micros(u64::from(random) * 100));
        self.process.kill().expect("a process");
        self.process.wait().expect("a process");
        self.words.iter().last().unwrap_or(first)
    }
}

#[test]
fn who_is_killed_loses_nothing_that_was_acknowledged() {
    let scratch = tempfile::tempdir().expect("a directory");
    let kept = StoredValues::new(scratch.path().to_owned());
    let mut promised: Vec<(String, u64)> = Vec::new();
    for round in 0..25 {
        let start = |number| Victim::start(format!("w{round}-{number}"), scratch.path());
        let mut victims: Vec<Victim> = (0..4).map(start).collect();
        for victim in &mut victims {
            let last = victim.kill();
            promised.push((victim.name.clone(), last));
        }
        for (name, last) in &promised {
            let value = String::from_utf8(get(&kept, name).expect("a value")).expect("text");
            let value: u64 = value.parse().expect("a number");
            assert!([*last, *last + 1].contains(&value), "{name}: {value} is kept, {last} was promised");
        }
    }
    assert_eq!(promised.len(), 100);
}

#[test]
fn a_full_disk_is_an_error_and_what_was_kept_stays() {
    let scratch = tempfile::tempdir().expect("a directory");
    let worker = this_binary("full", scratch.path());
    let Some(ran) = on_a_small_disk(scratch.path(), "exec \"$@\"", &worker) else { return };
    assert!(ran.status.success(), "{ran:?}");
    assert!(String::from_utf8_lossy(&ran.stdout).contains("full is fine"), "{ran:?}");
}
