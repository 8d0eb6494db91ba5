//! The local sandbox as a step and as an attacker sees it, with real namespaces, mounts and processes. The helper is
//! the real `hm`. What needs neither is tested beside the code.
#![cfg(target_os = "linux")]

mod archive;
mod artifacts;
mod attacks;
mod covered;
mod kept;
mod lab;
mod processes;

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use hm_step_sandbox::{ExecSpec, Mode, SandboxConfig, SandboxError, SandboxRun};

use crate::support::skipped;
use hm_plugin_protocol::SnapshotRef;
use tokio::sync::mpsc;

use self::lab::{Lab, exec, marker, open, processes, run, shell, step, until_there};

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
    // What its owner may not read is no hindrance.
    let script = "mkdir chain && rm gone.txt && mkdir -p closed/in && touch closed/in/x && chmod 0 closed/in/x closed/in closed";
    let (mut snapshot, _) = step(&backend, None, script).await;
    let fork = snapshot.clone();
    for number in 0..120 {
        let script =
            format!("touch chain/{number} && echo {number} > src/main.txt && rm -f chain/{}", number - 10);
        (snapshot, _) = step(&backend, Some(&snapshot), &script).await;
    }
    let (_, text) = step(&backend, Some(&snapshot), "ls chain | sort -n | xargs; cat src/main.txt; ls; stat -c %a closed; chmod 700 closed; stat -c %a closed/in").await;
    assert_eq!(text, "110 111 112 113 114 115 116 117 118 119\n119\nchain\nclosed\nsrc\n0\n0");
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
    let Some(backend) = open(config, lab.workspace()).await else { return };
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
    let Some(backend) = open(config, lab.workspace()).await else { return };
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
        skipped("no cargo that works");
        return;
    };
    let Some(backend) = open(config, lab.workspace()).await else { return };
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
        skipped("no python");
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
    let Some(offline) = open(SandboxConfig { network: false, ..lab.config() }, lab.workspace()).await else {
        return;
    };
    let id = offline.start(None).await.unwrap();
    assert_ne!(exec(&offline, &id, online).await.unwrap().code, 0);
    offline.close().await.unwrap();
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
async fn a_file_we_may_not_read_is_named() {
    let lab = Lab::new();
    let closed = lab.project().join("src/closed");
    fs::write(&closed, "").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&closed).is_ok() {
        // Root may read everything; this runs as an ordinary user below.
        return;
    }
    let Some(backend) = lab.open().await else { return };
    let error = backend.start(None).await.unwrap_err();
    assert!(error.to_string().contains("src/closed"), "{error}");
}

#[tokio::test]
async fn the_fallback_isolates_files_and_says_what_is_lost() {
    let lab = Lab::new();
    let config = SandboxConfig { mode: Mode::Fallback, ..lab.config() };
    let backend = match SandboxRun::open(config, lab.workspace()).await {
        Ok(backend) => backend,
        Err(SandboxError::NoIsolation { landlock, .. }) => return skipped(&landlock),
        Err(error) => panic!("{error:?}"),
    };
    assert!(backend.notice().is_some_and(|notice| notice.contains("without namespaces")));
    let (parent, text) = step(&backend, None, "cat src/main.txt; echo 1 > made; echo in-place > src/main.txt; echo x > ~/x; echo x > $TMPDIR/x; echo > /dev/null; mkdir closed; echo > closed/x; chmod 0 closed/x closed ~").await;
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
    let status = run(&backend, &id, "cat /proc/self/status").await.text();
    for line in ["CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    assert_eq!(run(&backend, &id, "mknod ~/null c 1 3 || exit 3").await.code, 3);
    assert_eq!(run(&backend, &id, "cat ~/x").await.text(), "x");
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

#[test]
fn all_of_this_works_for_an_ordinary_user() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        // Then that is who has run all of this.
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let (_, these) = module_path!().split_once("::").unwrap();
    command.args([these, "--skip", "ordinary_user", "--nocapture", "--test-threads=2"]);
    command.env("TMPDIR", scratch.path()).env("HOME", "/nonexistent").env_remove("CARGO_HOME");
    // That user has less than this machine: what is skipped there has run as root.
    command.env_remove("CI");
    command
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .uid(12345)
        .gid(12345)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return skipped(&format!("another user cannot run this test: {error}")),
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
