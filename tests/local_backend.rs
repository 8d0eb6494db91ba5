//! The local sandbox as a step and as an attacker sees it, with real namespaces, mounts and processes. The helper is
//! the real `hm`. What needs neither is tested beside the code.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test panics when something is wrong")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use hm_host::backend::local::{ExecSpec, LocalBackend, LocalConfig, Mode, SandboxError};
use hm_plugin_protocol::{SnapshotRef, StdStream};
use tokio::sync::mpsc;
use uuid::Uuid;

/// Nothing here takes this long unless it hangs.
const HANG: Duration = Duration::from_secs(60);

/// A developer's machine in a directory: a project, a cache and a home directory.
struct Lab {
    directory: tempfile::TempDir,
}

/// What a command came to.
#[derive(Debug)]
struct Outcome {
    code: i32,
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Outcome {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).trim().to_owned()
    }
}

impl Lab {
    fn new() -> Self {
        let lab = Self { directory: tempfile::tempdir().unwrap() };
        for directory in [lab.project().join("src"), lab.home()] {
            fs::create_dir_all(directory).unwrap();
        }
        fs::write(lab.project().join("src/main.txt"), "original").unwrap();
        fs::write(lab.project().join("gone.txt"), "delete me").unwrap();
        fs::write(lab.home().join("canary"), "secret").unwrap();
        lab
    }

    fn project(&self) -> PathBuf {
        self.directory.path().join("project")
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    fn config(&self) -> LocalConfig {
        LocalConfig {
            helper: PathBuf::from(env!("CARGO_BIN_EXE_hm")),
            project: self.project(),
            cache: self.cache(),
            run_id: Uuid::new_v4(),
            host_env: BTreeMap::from([("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())]),
            home: Some(self.home()),
            network: true,
            mode: Mode::Namespaces,
        }
    }

    /// None, with a word, on a machine without namespaces.
    async fn open(&self) -> Option<LocalBackend> {
        open(self.config()).await
    }
}

async fn open(config: LocalConfig) -> Option<LocalBackend> {
    match LocalBackend::open(config).await {
        Ok(backend) => Some(backend),
        Err(SandboxError::Setup(reason)) => {
            println!("SKIPPED: no sandbox on this machine: {reason}");
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn shell(script: &str) -> ExecSpec {
    ExecSpec {
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: BTreeMap::new(),
        workdir: "/workspace".to_owned(),
        network: false,
    }
}

async fn exec(backend: &LocalBackend, id: &str, command: ExecSpec) -> Result<Outcome, SandboxError> {
    let (sender, mut output) = mpsc::channel(4);
    let collect = async {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        while let Some((stream, bytes)) = output.recv().await {
            if stream == StdStream::Stdout { out.extend(bytes) } else { err.extend(bytes) }
        }
        (out, err)
    };
    let both = async { tokio::join!(backend.exec(id, command, sender), collect) };
    let (code, (out, err)) = tokio::time::timeout(HANG, both).await.expect("the command hangs");
    Ok(Outcome { code: code?, out, err })
}

async fn run(backend: &LocalBackend, id: &str, script: &str) -> Outcome {
    exec(backend, id, shell(script)).await.unwrap()
}

/// Runs a step on a parent, which has to succeed, and commits it.
async fn step(backend: &LocalBackend, parent: Option<&SnapshotRef>, script: &str) -> (SnapshotRef, String) {
    let id = backend.start(parent).await.unwrap();
    let outcome = run(backend, &id, script).await;
    assert_eq!(outcome.code, 0, "{script}: {outcome:?}");
    (backend.commit(&id).await.unwrap(), outcome.text())
}

/// Processes whose command line contains the marker.
fn processes(marker: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(marker) && entry.file_name().to_string_lossy().parse::<u32>().is_ok() {
            found.push(line);
        }
    }
    found
}

/// An argument for `sleep` that no other process has.
fn marker() -> String {
    format!("9{:011}.5", Uuid::new_v4().as_u128() % 100_000_000_000)
}

async fn until_gone(marker: &str) {
    let start = Instant::now();
    while !processes(marker).is_empty() {
        assert!(start.elapsed() < HANG, "still there: {:?}", processes(marker));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn until_there(marker: &str, count: usize) {
    let start = Instant::now();
    while processes(marker).len() < count {
        assert!(start.elapsed() < HANG, "only {:?}", processes(marker));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_child_sees_what_its_parent_did_and_forks_do_not_see_each_other() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let (parent, text) =
        step(&backend, None, "cat src/main.txt; echo parent > made; echo changed > src/main.txt").await;
    assert_eq!(text, "original");
    let left = step(
        &backend,
        Some(&parent),
        "cat made src/main.txt; echo left > side; sleep 0.2; cat side; ls /workspace",
    );
    let right =
        step(&backend, Some(&parent), "cat made src/main.txt; echo right > side; sleep 0.2; cat side");
    let ((left, left_text), (_, right_text)) = tokio::join!(left, right);
    assert_eq!(left_text, "parent\nchanged\nleft\ngone.txt\nmade\nside\nsrc");
    assert_eq!(right_text, "parent\nchanged\nright");
    assert!(backend.exists(&left).await);
    assert!(!backend.exists(&SnapshotRef("local-../../x".to_owned())).await);
    assert_eq!(fs::read_to_string(lab.project().join("src/main.txt")).unwrap(), "original");
    assert!(!lab.project().join("made").exists());
    backend.close().await.unwrap();
}

#[tokio::test]
async fn deleting_and_renaming_what_lies_below_works_and_reaches_the_child() {
    let lab = Lab::new();
    fs::create_dir_all(lab.project().join("tree/deep")).unwrap();
    fs::write(lab.project().join("tree/deep/file"), "x").unwrap();
    let Some(backend) = lab.open().await else { return };
    let (first, _) = step(
        &backend,
        None,
        "rm gone.txt && mv src renamed && rm -r tree && mkdir tree && echo new > tree/own",
    )
    .await;
    let (_, text) = step(&backend, Some(&first), "find . | sort").await;
    assert_eq!(text, ".\n./renamed\n./renamed/main.txt\n./tree\n./tree/own");
    backend.close().await.unwrap();
}

#[tokio::test]
async fn a_chain_may_be_deep() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let (mut snapshot, _) = step(&backend, None, "mkdir chain && rm gone.txt").await;
    let fork = snapshot.clone();
    for number in 0..120 {
        let script =
            format!("touch chain/{number} && echo {number} > src/main.txt && rm -f chain/{}", number - 10);
        (snapshot, _) = step(&backend, Some(&snapshot), &script).await;
    }
    let (_, text) = step(&backend, Some(&snapshot), "ls chain | sort -n | xargs; cat src/main.txt; ls").await;
    assert_eq!(text, "110 111 112 113 114 115 116 117 118 119\n119\nchain\nsrc");
    let (_, text) = step(&backend, Some(&fork), "ls chain; cat src/main.txt").await;
    assert_eq!(text, "original");
    backend.close().await.unwrap();
}

#[tokio::test]
async fn several_commands_share_a_sandbox_one_after_the_other() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let id = backend.start(None).await.unwrap();
    // A trap for whoever sets up the next command.
    assert_eq!(run(&backend, &id, "echo 1 > a; ln -s / /tmp/x; echo h > ~/kept").await.code, 0);
    assert_eq!(run(&backend, &id, "cat a; ls -A /tmp; cat ~/kept").await.text(), "1\nh");
    let (sender, _output) = mpsc::channel(1);
    let long = backend.exec(&id, shell("sleep 1000"), sender);
    tokio::pin!(long);
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut long).await.is_err());
    assert!(matches!(exec(&backend, &id, shell(":")).await, Err(SandboxError::Busy(_))));
    assert!(matches!(exec(&backend, "sandbox-1", shell(":")).await, Err(SandboxError::UnknownSandbox(_))));
    let unknown = SnapshotRef("../../etc".to_owned());
    assert!(matches!(backend.start(Some(&unknown)).await, Err(SandboxError::UnknownSnapshot(_))));
}

#[tokio::test]
async fn exit_codes_signals_and_bytes_come_through() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let id = backend.start(None).await.unwrap();
    assert_eq!(run(&backend, &id, "exit 7").await.code, 7);
    assert_eq!(run(&backend, &id, "kill -TERM $$").await.code, 128 + 15);
    assert_eq!(run(&backend, &id, "kill -KILL $$").await.code, 128 + 9);
    assert_eq!(run(&backend, &id, "cat").await.text(), "");
    let outcome = run(&backend, &id, r"printf '\377\000\200'; printf 'e\377' >&2").await;
    assert_eq!((outcome.out.as_slice(), outcome.err.as_slice()), (&[0xff, 0, 0x80][..], &[b'e', 0xff][..]));
    let mut missing = shell(":");
    missing.argv = vec!["no-such-program".to_owned()];
    let error = exec(&backend, &id, missing).await.unwrap_err();
    assert!(matches!(&error, SandboxError::Command(reason) if reason.contains("no-such-program")), "{error}");
    let mut astray = shell(":");
    astray.workdir = "/workspace/nowhere".to_owned();
    let error = exec(&backend, &id, astray).await.unwrap_err();
    assert!(
        matches!(&error, SandboxError::Command(reason) if reason.contains("/workspace/nowhere")),
        "{error}"
    );
    for odd in [vec![], vec![String::new()], vec!["sh\0".to_owned()]] {
        let command = ExecSpec { argv: odd, ..shell(":") };
        assert!(matches!(exec(&backend, &id, command).await, Err(SandboxError::Command(_))));
    }
    let env = BTreeMap::from([("STEP".to_owned(), "a b".to_owned()), ("PWD".to_owned(), "/".to_owned())]);
    let command =
        ExecSpec { env, workdir: "/workspace/src".to_owned(), ..shell("pwd; echo $STEP $CI $HOME") };
    assert_eq!(exec(&backend, &id, command).await.unwrap().text(), "/workspace/src\na b true /step");
    backend.close().await.unwrap();
}

#[tokio::test]
async fn the_rest_of_the_machine_is_not_there() {
    let lab = Lab::new();
    let mut config = lab.config();
    config.host_env.insert("AWS_SECRET_ACCESS_KEY".to_owned(), "secret".to_owned());
    let Some(backend) = open(config).await else { return };
    let id = backend.start(None).await.unwrap();
    for path in
        ["/etc/shadow", "/etc/gshadow", "/etc/ssl/private", "/etc/sudoers", "/etc/ssh/ssh_host_ed25519_key"]
    {
        if Path::new(path).exists() {
            let outcome = run(&backend, &id, &format!("test -s {path} && cat {path}/* {path}")).await;
            assert!(outcome.code != 0 && outcome.out.is_empty(), "{path}: {outcome:?}");
        }
    }
    for path in [lab.home().join("canary"), lab.project(), lab.cache(), PathBuf::from("/root/.bashrc")] {
        assert_ne!(run(&backend, &id, &format!("ls {}", path.display())).await.code, 0, "{path:?}");
    }
    for target in
        ["/usr/bin/x", "/etc/x", "/x", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/proc/self/comm"]
    {
        assert_ne!(run(&backend, &id, &format!("echo x > {target}")).await.code, 0, "{target}");
    }
    for target in
        ["/tmp/x", "/var/tmp/y", "$HOME/x", "/dev/null", "/dev/stderr", "/dev/shm/x", "/workspace/x"]
    {
        assert_eq!(run(&backend, &id, &format!("echo x > {target}")).await.code, 0, "{target}");
    }
    let status = run(&backend, &id, "cat /proc/self/status").await.text();
    for line in [
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
    ] {
        assert!(status.contains(line), "{line}: {status}");
    }
    for deed in
        ["mount -t tmpfs x /tmp", "umount /etc/shadow", "mount -o remount,bind,rw /usr", "chroot / true"]
    {
        assert_ne!(run(&backend, &id, deed).await.code, 0, "{deed}");
    }
    assert!(!run(&backend, &id, "env; cat /proc/1/environ").await.text().contains("secret"));
    assert_eq!(
        run(&backend, &id, "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -c [l]ocal_backend")
            .await
            .text(),
        "0"
    );
    assert_eq!(run(&backend, &id, "ulimit -c; ls /proc/self/fd | wc -l").await.text(), "0\n4");
    assert_ne!(run(&backend, &id, "ls -l /proc/1/fd/ && cat /proc/1/maps").await.code, 0);
    backend.close().await.unwrap();
}

#[tokio::test]
async fn the_developers_tools_are_there_read_only_and_their_secrets_are_not() {
    let lab = Lab::new();
    let home = lab.home();
    for file in [
        ".cargo/bin/fake",
        ".nvm/versions/v1/bin/node",
        "apps/thing/bin/thing",
        ".local/share/pipx/venvs/a/bin/a",
    ] {
        let path = home.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\necho ran {file}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for secret in [".cargo/credentials.toml", ".nvm/.npmrc", "apps/thing/secret", ".local/share/keyring"] {
        fs::write(home.join(secret), "secret").unwrap();
    }
    fs::create_dir_all(home.join("apps/thing/lib")).unwrap();
    fs::write(home.join("apps/thing/lib/part"), "needed").unwrap();
    fs::create_dir_all(home.join(".local/bin")).unwrap();
    symlink(home.join(".local/share/pipx/venvs/a/bin/a"), home.join(".local/bin/a")).unwrap();
    symlink("versions/v1", home.join(".nvm/current")).unwrap();
    symlink(home.join("apps"), home.join("link-to-apps")).unwrap();
    fs::write(lab.directory.path().join("ca.pem"), "certificates").unwrap();
    let mut config = lab.config();
    let path = [".cargo/bin", ".nvm/current/bin", "link-to-apps/thing/bin", ".local/bin"]
        .map(|directory| home.join(directory).display().to_string())
        .join(":");
    config.host_env.insert("PATH".to_owned(), format!("{path}:relative::/nowhere:/usr/bin:/bin"));
    config
        .host_env
        .insert("SSL_CERT_FILE".to_owned(), lab.directory.path().join("ca.pem").display().to_string());
    let Some(backend) = open(config).await else { return };
    let id = backend.start(None).await.unwrap();
    let outcome = run(&backend, &id, "fake; node; thing; a; cat $SSL_CERT_FILE").await;
    let expected = "ran .cargo/bin/fake\nran .nvm/versions/v1/bin/node\nran apps/thing/bin/thing\n\
                    ran .local/share/pipx/venvs/a/bin/a\ncertificates";
    assert_eq!(outcome.text(), expected, "{outcome:?}");
    let home = home.display();
    assert_eq!(run(&backend, &id, "echo $NVM_DIR").await.text(), format!("{home}/.nvm"));
    assert_eq!(run(&backend, &id, &format!("cat {home}/apps/thing/lib/part")).await.text(), "needed");
    let leaked = run(&backend, &id, &format!("grep -rs secret {home}; cat {home}/canary")).await;
    assert_eq!(leaked.text(), "", "{leaked:?}");
    for target in [".cargo/bin/new", ".nvm/new", "apps/thing/bin/new"] {
        assert_ne!(run(&backend, &id, &format!("echo x > {home}/{target}")).await.code, 0, "{target}");
    }
    backend.close().await.unwrap();
}

#[tokio::test]
async fn the_real_cargo_runs() {
    let lab = Lab::new();
    let mut config = lab.config();
    config.host_env = std::env::vars().collect();
    config.home = std::env::var_os("HOME").map(PathBuf::from);
    let found = Command::new("cargo").arg("--version").output();
    let Some(expected) = found.ok().filter(|found| found.status.success()) else {
        println!("SKIPPED: no cargo that works");
        return;
    };
    let Some(backend) = open(config).await else { return };
    let id = backend.start(None).await.unwrap();
    let outcome = run(
        &backend,
        &id,
        "cargo --version && cargo init -q --name hello . && cargo build --offline -q && target/debug/hello",
    )
    .await;
    let version = String::from_utf8(expected.stdout).unwrap();
    assert_eq!(
        outcome.text(),
        format!("{version}Hello, world!"),
        "{}",
        String::from_utf8_lossy(&outcome.err)
    );
    backend.close().await.unwrap();
}

#[tokio::test]
async fn offline_means_loopback_only_and_online_reaches_the_host() {
    let lab = Lab::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let Some(backend) = lab.open().await else { return };
    let id = backend.start(None).await.unwrap();
    let Some(python) =
        ["/usr/bin/python3", "/usr/local/bin/python3"].into_iter().find(|path| Path::new(path).exists())
    else {
        println!("SKIPPED: no python");
        return;
    };
    let connect =
        format!("{python} -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}), 5)'");
    let online = ExecSpec { network: true, ..shell(&connect) };
    assert_eq!(exec(&backend, &id, online.clone()).await.unwrap().code, 0);
    assert_ne!(run(&backend, &id, &connect).await.code, 0);
    assert_eq!(run(&backend, &id, "grep -c : /proc/net/dev").await.text(), "1");
    let own = format!(
        "{python} -c 'import socket; l = socket.create_server((\"127.0.0.1\", 0)); socket.create_connection(l.getsockname(), 5)'"
    );
    let outcome = run(&backend, &id, &own).await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    backend.close().await.unwrap();
    let Some(offline) = open(LocalConfig { network: false, ..lab.config() }).await else { return };
    let id = offline.start(None).await.unwrap();
    assert_ne!(exec(&offline, &id, online).await.unwrap().code, 0);
    offline.close().await.unwrap();
}

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
async fn two_at_once_on_one_project_do_not_disturb_each_other() {
    let lab = Lab::new();
    let (Some(one), Some(two)) = (lab.open().await, lab.open().await) else { return };
    let ((first, text), _) =
        tokio::join!(step(&one, None, "cat src/main.txt"), step(&two, None, "cat src/main.txt"));
    assert_eq!(text, "original");
    fs::write(lab.project().join("src/main.txt"), "edited").unwrap();
    let Some(three) = lab.open().await else { return };
    assert_eq!(step(&three, None, "cat src/main.txt").await.1, "edited");
    three.close().await.unwrap();
    two.close().await.unwrap();
    assert_eq!(step(&one, Some(&first), "cat src/main.txt").await.1, "original");
    assert_eq!(
        step(&one, None, "cat src/main.txt").await.1,
        "original",
        "one run sees one state of the project"
    );
    one.close().await.unwrap();
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

#[tokio::test]
async fn a_file_we_may_not_read_is_named() {
    let lab = Lab::new();
    let closed = lab.project().join("src/closed");
    fs::write(&closed, "").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&closed).is_ok() {
        println!("SKIPPED: root may read everything");
        return;
    }
    let Some(backend) = lab.open().await else { return };
    let error = backend.start(None).await.unwrap_err();
    assert!(error.to_string().contains("src/closed"), "{error}");
}

#[tokio::test]
async fn the_fallback_isolates_files_and_says_what_is_lost() {
    let lab = Lab::new();
    let config = LocalConfig { mode: Mode::Fallback, ..lab.config() };
    let backend = match LocalBackend::open(config).await {
        Ok(backend) => backend,
        Err(SandboxError::NoIsolation { landlock, .. }) => return println!("SKIPPED: {landlock}"),
        Err(error) => panic!("{error:?}"),
    };
    assert!(backend.notice().is_some_and(|notice| notice.contains("without namespaces")));
    let (parent, text) = step(&backend, None, "cat src/main.txt; echo 1 > made; echo in-place > src/main.txt; echo x > ~/x; echo x > $TMPDIR/x; echo > /dev/null").await;
    assert_eq!(text, "original");
    let ((_, left), (_, right)) = tokio::join!(
        step(&backend, Some(&parent), "echo left > made; cat src/main.txt made"),
        step(&backend, Some(&parent), "sleep 0.1; cat made"),
    );
    assert_eq!((left.as_str(), right.as_str()), ("in-place\nleft", "1"));
    assert_eq!(fs::read_to_string(lab.project().join("src/main.txt")).unwrap(), "original");
    let id = backend.start(Some(&parent)).await.unwrap();
    for path in [lab.home().join("canary"), lab.project().join("src/main.txt"), PathBuf::from("/etc/shadow")]
    {
        assert_ne!(run(&backend, &id, &format!("cat {}", path.display())).await.code, 0, "{path:?}");
    }
    for path in [lab.home().join("x"), PathBuf::from("/tmp/x"), PathBuf::from("/etc/x")] {
        assert_ne!(run(&backend, &id, &format!("echo > {}", path.display())).await.code, 0, "{path:?}");
    }
    assert_eq!(run(&backend, &id, "exit 9").await.code, 9);
    assert_eq!(run(&backend, &id, "kill -KILL $$").await.code, 137);
    let command = ExecSpec { workdir: "/workspace/src".to_owned(), ..shell("cat main.txt") };
    assert_eq!(exec(&backend, &id, command).await.unwrap().text(), "in-place");
    let marker = marker();
    let outcome =
        run(&backend, &id, &format!("setsid sleep {marker} & (setsid setsid sleep {marker} &); echo done"))
            .await;
    assert_eq!(outcome.text(), "done");
    assert_eq!(processes(&marker), Vec::<String>::new());
    let (sender, _output) = mpsc::channel(1);
    {
        let command = backend.exec(&id, shell(&format!("setsid sleep {marker} & sleep {marker}")), sender);
        tokio::select! {
            outcome = command => panic!("{outcome:?}"),
            () = until_there(&marker, 2) => {}
        }
    }
    backend.discard(&id).await.unwrap();
    assert_eq!(processes(&marker), Vec::<String>::new());
    backend.close().await.unwrap();
    assert_eq!(fs::read_dir(lab.cache().join("layers")).unwrap().count(), 1);
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
    let config = LocalConfig {
        project: directory.join("project"),
        cache: directory.join("cache"),
        mode: if std::env::var_os("VICTIM_FALLBACK").is_some() { Mode::Fallback } else { Mode::Namespaces },
        ..Lab::new().config()
    };
    let backend = LocalBackend::open(config).await.unwrap();
    println!("OPEN");
    let (one, two) = (backend.start(None).await.unwrap(), backend.start(None).await.unwrap());
    let script = format!("setsid sleep {marker} & sleep {marker}");
    let ((first, _kept), (second, _kept_too)) = (mpsc::channel(1), mpsc::channel(1));
    let _ =
        tokio::join!(backend.exec(&one, shell(&script), first), backend.exec(&two, shell(&script), second));
}

#[tokio::test]
async fn killing_hm_leaves_nothing() {
    for mode in [None, Some("VICTIM_FALLBACK")] {
        // At once, halfway and when all is running.
        for running in [0, 1, 4] {
            let lab = Lab::new();
            let marker = marker();
            let mut victim = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "victim", "--ignored", "--nocapture"])
                .env("VICTIM_DIRECTORY", lab.directory.path())
                .env("VICTIM_MARKER", &marker)
                .envs(mode.map(|mode| (mode, "1")))
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
            if !lines.any(|line| line.unwrap().contains("OPEN")) {
                println!("SKIPPED: no sandbox on this machine: {}", victim.wait().unwrap());
                return;
            }
            until_there(&marker, running).await;
            victim.kill().unwrap();
            victim.wait().unwrap();
            until_gone(&marker).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(processes(&marker), Vec::<String>::new());
            let survivor =
                LocalBackend::open(LocalConfig { mode: Mode::Auto, ..lab.config() }).await.unwrap();
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

#[test]
fn all_of_this_works_for_an_ordinary_user() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("SKIPPED: that is who is running this");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--skip", "ordinary_user", "--nocapture", "--test-threads=2"]);
    command.env("TMPDIR", scratch.path()).env("HOME", "/nonexistent").env_remove("CARGO_HOME");
    command
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .uid(12345)
        .gid(12345)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return println!("SKIPPED: another user cannot run this test: {error}"),
    };
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        err.read_to_string(&mut text).map(|_| text)
    });
    let mut text = String::new();
    out.read_to_string(&mut text).unwrap();
    let status = child.wait().unwrap();
    let errors = errors.join().unwrap().unwrap();
    assert!(status.success(), "{text}\n{errors}");
    assert!(text.contains("test result: ok"), "{text}");
    assert!(!text.contains("no sandbox on this machine"), "{text}");
}
