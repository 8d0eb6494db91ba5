//! What becomes of the processes, pipes and files of a step: when it ends, when it is dropped, and when hm is killed.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use hm_step_sandbox::{Mode, SandboxConfig, SandboxError, SandboxRun};
use hm_workspace::Workspace;
use tokio::sync::mpsc;

use super::lab::{HANG, Lab, marker, processes, run, shell, step, until_gone, until_there};

#[tokio::test]
async fn dropping_a_command_kills_all_it_started() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let id = backend.start(None).await.unwrap();
    let marker = marker();
    let script = format!(
        "trap '' TERM INT HUP; setsid sleep {marker} & sleep {marker} & (setsid sleep {marker} &) ; sleep {marker}"
    );
    let (sender, _output) = mpsc::channel(1);
    {
        let command = backend.exec(&id, shell(&script), sender);
        tokio::select! {
            outcome = command => panic!("{outcome:?}"),
            () = until_there(&marker, 4) => {}
        }
    }
    // Waits for the dead.
    tokio::time::timeout(HANG, backend.discard(&id)).await.expect("the command lives on").unwrap();
    assert_eq!(processes(&marker), Vec::<String>::new());
    backend.close().await.unwrap();
}

#[tokio::test]
async fn a_killed_supervisor_takes_all_with_it() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let id = backend.start(None).await.unwrap();
    let marker = marker();
    let (sender, _output) = mpsc::channel(1);
    let supervisor = async {
        until_there(&marker, 2).await;
        let ours = format!("PPid:\t{}\n", std::process::id());
        let is_it = |status: &str| status.contains(&ours) && status.contains("Threads:\t1\n");
        let status = |pid: &str| fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        // Up from the command: its shell, the first process, the supervisor.
        let mut pid = Command::new("pgrep")
            .args(["-f", &format!("^sleep {marker}")])
            .output()
            .map_or(String::new(), |found| {
                String::from_utf8(found.stdout).unwrap().lines().next().unwrap_or_default().to_owned()
            });
        while !pid.is_empty() && !is_it(&status(&pid)) {
            let above = status(&pid);
            pid = above.lines().find_map(|line| line.strip_prefix("PPid:\t")).unwrap_or_default().to_owned();
        }
        assert!(!pid.is_empty(), "no supervisor");
        Command::new("kill").args(["-9", &pid]).status().unwrap();
    };
    let script = format!("setsid sleep {marker} & sleep {marker}");
    let (outcome, ()) = tokio::join!(backend.exec(&id, shell(&script), sender), supervisor);
    assert!(matches!(outcome, Err(SandboxError::SupervisorDied)), "{outcome:?}");
    until_gone(&marker).await;
    backend.close().await.unwrap();
}

#[tokio::test]
async fn what_outlives_the_command_neither_holds_it_up_nor_survives_it() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let id = backend.start(None).await.unwrap();
    let marker = marker();
    let outcome =
        run(&backend, &id, &format!("setsid sleep {marker} & sleep {marker} & echo done; exit 3")).await;
    assert_eq!((outcome.code, outcome.text().as_str()), (3, "done"));
    assert_eq!(processes(&marker), Vec::<String>::new());
    backend.close().await.unwrap();
}

#[tokio::test]
async fn output_waits_for_whoever_reads_it_and_none_is_lost() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let id = backend.start(None).await.unwrap();
    let (sender, mut output) = mpsc::channel(1);
    let mut command =
        Box::pin(backend.exec(&id, shell("head -c 3000000 /dev/zero; echo > ~/written"), sender));
    // Nobody reads, so it cannot get ahead by more than some pipes.
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut command).await.is_err());
    let written =
        fs::read_dir(lab.cache().join("home")).unwrap().next().unwrap().unwrap().path().join("written");
    assert!(!written.exists());
    let collect = async {
        let mut length = 0;
        while let Some((_, bytes)) = output.recv().await {
            assert!(bytes.len() <= 64 << 10);
            length += bytes.len();
        }
        length
    };
    let (code, length) = tokio::join!(command, collect);
    assert_eq!((code.unwrap(), length), (0, 3_000_000));
    assert!(written.exists());
    backend.close().await.unwrap();
}

#[tokio::test]
async fn with_nobody_listening_the_command_still_ends() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let id = backend.start(None).await.unwrap();
    let (sender, output) = mpsc::channel(1);
    drop(output);
    let code =
        tokio::time::timeout(HANG, backend.exec(&id, shell("head -c 3000000 /dev/zero; exit 5"), sender))
            .await;
    assert_eq!(code.unwrap().unwrap(), 5);
    backend.close().await.unwrap();
}

#[tokio::test]
async fn nothing_stays_behind() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let (snapshot, _) = step(&backend, None, "mkdir locked && touch locked/x && chmod 0 locked").await;
    let kept = backend.start(Some(&snapshot)).await.unwrap();
    let _ = run(&backend, &kept, "mkdir -p a/b && chmod 0 a").await;
    let discarded = backend.start(Some(&snapshot)).await.unwrap();
    backend.discard(&discarded).await.unwrap();
    assert!(matches!(backend.discard(&discarded).await, Err(SandboxError::UnknownSandbox(_))));
    backend.close().await.unwrap();
    let left: Vec<_> =
        fs::read_dir(lab.cache().join("layers")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);
    let here = lab.directory.path().display().to_string();
    assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&here));
    // Without a word of farewell as well.
    let Some(dropped) = lab.open().await else { return };
    dropped.start(None).await.unwrap();
    drop(dropped);
    assert_eq!(fs::read_dir(lab.cache().join("layers")).unwrap().count(), 1);
}

#[tokio::test]
async fn many_in_parallel_all_end() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let steps = (0..12).map(|number| {
        let backend = &backend;
        async move {
            let (_, text) = step(backend, None, &format!("sleep 0.0{number}; echo {number}")).await;
            assert_eq!(text, number.to_string());
        }
    });
    let mut all: Vec<_> = steps.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        all.retain_mut(|step| step.as_mut().poll(context).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    drop(all);
    backend.close().await.unwrap();
}

/// Not a test: what `killing_hm_leaves_nothing` kills.
#[tokio::test]
#[ignore = "a program for another test"]
async fn victim() {
    let (Ok(directory), Ok(marker)) = (std::env::var("VICTIM_DIRECTORY"), std::env::var("VICTIM_MARKER"))
    else {
        return;
    };
    let directory = PathBuf::from(directory);
    let config = SandboxConfig {
        mode: if std::env::var_os("VICTIM_FALLBACK").is_some() { Mode::Fallback } else { Mode::Namespaces },
        ..Lab::new().config()
    };
    let workspace = Arc::new(Workspace::new(&directory.join("project"), &directory.join("cache")));
    let backend = SandboxRun::open(config, workspace).await.unwrap();
    println!("OPEN");
    let (one, two) = (backend.start(None).await.unwrap(), backend.start(None).await.unwrap());
    let script = format!("setsid sleep {marker} & sleep {marker}");
    let ((first, _kept), (second, _kept_too)) = (mpsc::channel(1), mpsc::channel(1));
    let _ =
        tokio::join!(backend.exec(&one, shell(&script), first), backend.exec(&two, shell(&script), second));
}

#[tokio::test]
async fn killing_hm_leaves_nothing() {
    let Some(possible) = Lab::new().open().await else { return };
    possible.close().await.unwrap();
    let (_, these) = module_path!().split_once("::").unwrap();
    for mode in [None, Some("VICTIM_FALLBACK")] {
        // At once, halfway and when all is running.
        for running in [0, 1, 4] {
            let lab = Lab::new();
            let marker = marker();
            let mut victim = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", &format!("{these}::victim"), "--ignored", "--nocapture"])
                .env("VICTIM_DIRECTORY", lab.directory.path())
                .env("VICTIM_MARKER", &marker)
                .envs(mode.map(|mode| (mode, "1")))
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
            assert!(lines.any(|line| line.unwrap().contains("OPEN")), "the victim has no sandbox");
            until_there(&marker, running).await;
            victim.kill().unwrap();
            victim.wait().unwrap();
            until_gone(&marker).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(processes(&marker), Vec::<String>::new());
            let survivor =
                SandboxRun::open(SandboxConfig { mode: Mode::Auto, ..lab.config() }, lab.workspace())
                    .await
                    .unwrap();
            survivor.close().await.unwrap();
            let runs = || fs::read_dir(lab.cache().join("layers")).unwrap().count();
            let start = Instant::now();
            while runs() > 1 {
                assert!(start.elapsed() < HANG, "the dead run's layers stay");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}
