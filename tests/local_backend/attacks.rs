//! What a step tries in order to get out, or to spoil things for the steps and builds after it.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use super::lab::{Lab, run, step};
use crate::support::skipped;

const PYTHON: &str = "$(command -v python3 || echo false)";

#[tokio::test]
async fn a_step_makes_no_namespaces_of_its_own() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let id = backend.start(None).await.unwrap();
    assert_eq!(run(&backend, &id, "cat /proc/sys/user/max_user_namespaces").await.text(), "0");
    assert_ne!(run(&backend, &id, "echo 9 > /proc/sys/user/max_user_namespaces").await.code, 0);
    for deed in ["unshare -U true", "unshare -Urm true", "unshare -m true"] {
        assert_ne!(run(&backend, &id, deed).await.code, 0, "{deed}");
    }
    // NEWUSER, NEWNS and NEWCGROUP, then the host's control groups.
    let script = format!(
        "{PYTHON} -c 'import ctypes, sys; l = ctypes.CDLL(None); \
         sys.exit(0 if l.unshare(0x12020000) == 0 or l.mount(b\"none\", b\"/tmp\", b\"cgroup2\", 0, None) == 0 else 1)'"
    );
    assert_ne!(run(&backend, &id, &script).await.code, 0);
    backend.close().await.unwrap();
}

#[tokio::test]
async fn a_step_does_not_have_the_keyring_of_whoever_started_hm() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let id = backend.start(None).await.unwrap();
    // Asks for the number and the description of the session keyring. Without one, a process has its user's.
    let script = format!(
        "{PYTHON} -c '
import ctypes, platform
libc, text = ctypes.CDLL(None), ctypes.create_string_buffer(99)
keyctl = {{\"x86_64\": 250}}.get(platform.machine(), 219)
print(libc.syscall(keyctl, 0, -3, 0), libc.syscall(keyctl, 6, -3, text, 99) > 0 and text.value)'"
    );
    let (one, two) = (run(&backend, &id, &script).await, run(&backend, &id, &script).await);
    if one.code != 0 || one.text().starts_with("-1") {
        return skipped(&format!("no python or no keyrings: {one:?}"));
    }
    assert!(one.text().contains(";_ses"), "{one:?}");
    assert_ne!(one.text(), two.text());
    backend.close().await.unwrap();
}

#[tokio::test]
async fn a_tree_deeper_than_any_path_goes_with_its_step() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    // As deep as the shell gets; what is deeper than a stack is tested beside the code.
    let (snapshot, _) = step(
        &backend,
        None,
        "name=$(printf '%0250d' 0); i=0; while [ $i -lt 40 ]; do mkdir $name && cd -P $name || exit 0; i=$((i+1)); done",
    )
    .await;
    let (_, text) = step(&backend, Some(&snapshot), "cat src/main.txt").await;
    assert_eq!(text, "original");
    backend.close().await.unwrap();
    assert_eq!(fs::read_dir(lab.cache().join("layers")).unwrap().count(), 1);
}

#[tokio::test]
async fn etc_shows_nothing_but_what_everybody_may_read() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let id = backend.start(None).await.unwrap();
    let outcome = run(&backend, &id, "find /etc ! -type l ! -perm -004; ls /etc/passwd").await;
    assert_eq!(outcome.text(), "/etc/passwd", "{outcome:?}");
    assert_eq!(
        run(&backend, &id, "cat /etc/passwd").await.out,
        fs::read("/etc/passwd").unwrap(),
        "it is the host's"
    );
    // A file system of its own: whatever the host does to its files meanwhile, they do not show.
    let mounts = run(&backend, &id, "cat /proc/self/mountinfo").await.text();
    let etc: Vec<_> = mounts.lines().filter(|line| line.contains(" /etc")).collect();
    let cache = lab.cache().join("etc").file_name().unwrap().to_owned();
    assert_eq!(etc.len(), 1, "{etc:?}");
    assert!(etc[0].contains(&format!("/{}/snapshot-", cache.display())), "{etc:?}");
    backend.close().await.unwrap();
}

#[tokio::test]
async fn devices_can_be_used_and_not_changed() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let id = backend.start(None).await.unwrap();
    let state = || {
        let about = fs::metadata("/dev/full").unwrap();
        (about.mode(), about.mtime_nsec(), about.mtime())
    };
    let before = state();
    for deed in ["chmod 600 /dev/full", "touch /dev/full", "touch -d 2001-01-01 /dev/full"] {
        let _ = run(&backend, &id, deed).await;
        assert_eq!(state(), before, "{deed}");
    }
    let use_them =
        "head -c 3 /dev/zero | wc -c; echo > /dev/null && head -c 1 /dev/urandom > /dev/null && echo fine";
    assert_eq!(run(&backend, &id, use_them).await.text(), "3\nfine");
    backend.close().await.unwrap();
}

#[tokio::test]
async fn a_closed_home_directory_is_opened_for_the_next() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let id = backend.start(None).await.unwrap();
    assert_eq!(run(&backend, &id, "echo kept > ~/file; chmod 000 ~").await.code, 0);
    assert_eq!(run(&backend, &id, "cat ~/file; stat -c %a ~").await.text(), "kept\n700");
    let mounts = run(&backend, &id, "cat /proc/self/mountinfo").await.text();
    for place in ["/step", "/tmp"] {
        let options = mounts.lines().find_map(|line| {
            line.split(' ').skip(4).collect::<Vec<_>>().strip_prefix(&[place]).map(|rest| rest[0].to_owned())
        });
        let options = options.unwrap_or_default();
        assert!(options.contains("nosuid") && options.contains("nodev"), "{place}: {options}");
    }
    backend.close().await.unwrap();
    let home = fs::read_dir(lab.cache().join("home")).unwrap().next().unwrap().unwrap().path();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o000)).unwrap();
    let Some(backend) = lab.open().await else { return };
    assert_eq!(step(&backend, None, "cat ~/file").await.1, "kept");
    backend.close().await.unwrap();
    assert!(Path::new(&home).exists());
}
