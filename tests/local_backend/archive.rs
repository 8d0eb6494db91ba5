//! The source archive of a run, from hostile and from changing projects, as real `tar` unpacks it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hm_step_sandbox::SandboxRun;

use super::lab::Lab;

/// Packs the project and unpacks it again.
async fn unpacked(backend: &SandboxRun, to: &Path) -> PathBuf {
    let archive = backend.workspace().archive().await.unwrap();
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < archive.size() {
        bytes.extend(archive.read(bytes.len() as u64, u64::MAX).unwrap());
    }
    fs::create_dir_all(to).unwrap();
    let file = to.with_extension("tar.gz");
    fs::write(&file, bytes).unwrap();
    let ran = Command::new("tar").arg("-xzf").arg(file).arg("-C").arg(to).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    to.to_owned()
}

/// True if any file below has this in it.
fn contains(tree: &Path, text: &str) -> bool {
    let found = Command::new("grep").args(["-rqF", "--", text]).arg(tree).status().unwrap();
    found.success()
}

#[tokio::test]
async fn nothing_from_outside_is_in_it_and_links_stay_links() {
    let lab = Lab::new();
    let project = lab.project();
    fs::write(lab.home().join("canary"), "the canary").unwrap();
    fs::write(project.join(".hmignore"), "*.secret\n").unwrap();
    fs::write(project.join(".gitignore"), "out/\n").unwrap();
    fs::create_dir_all(project.join("out")).unwrap();
    for path in ["my.secret", "src/my.secret", "out/built"] {
        fs::write(project.join(path), "left out").unwrap();
    }
    symlink(lab.home().join("canary"), project.join("canary")).unwrap();
    symlink(lab.home(), project.join("home")).unwrap();
    symlink("loop", project.join("src/loop")).unwrap();
    symlink("..", project.join("src/up")).unwrap();
    fs::write(project.join("src/run"), "#!").unwrap();
    fs::set_permissions(project.join("src/run"), fs::Permissions::from_mode(0o700)).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, project.join("pipe"), rustix::fs::Mode::from_raw_mode(0o644))
        .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(project.join("socket")).unwrap();
    let Some(backend) = lab.open().await else { return };
    let tree = unpacked(&backend, &lab.directory.path().join("unpacked")).await;
    let list = Command::new("find")
        .args([".", "-mindepth", "1", "-printf", "%P %y %m\n"])
        .current_dir(&tree)
        .output();
    let mut list: Vec<String> =
        String::from_utf8(list.unwrap().stdout).unwrap().lines().map(str::to_owned).collect();
    list.sort();
    let expected = [
        ".gitignore f 644",
        ".hmignore f 644",
        "canary l 777",
        "gone.txt f 644",
        "home l 777",
        "src d 755",
        "src/loop l 777",
        "src/main.txt f 644",
        "src/run f 755",
        "src/up l 777",
    ];
    assert_eq!(list, expected);
    assert_eq!(fs::read_link(tree.join("canary")).unwrap(), lab.home().join("canary"));
    assert!(!contains(&tree, "left out") && !contains(&tree, "the canary"));
    // What is in it is what steps start with, and stays so.
    fs::write(project.join("src/main.txt"), "changed").unwrap();
    let again = unpacked(&backend, &lab.directory.path().join("again")).await;
    assert_eq!(fs::read_to_string(again.join("src/main.txt")).unwrap(), "original");
    backend.close().await.unwrap();
}

#[tokio::test]
async fn who_changes_the_project_meanwhile_breaks_nothing_and_gets_nothing_in() {
    let lab = Lab::new();
    let (project, canary) = (lab.project(), lab.home().join("canary"));
    fs::write(&canary, "the canary").unwrap();
    for number in 0..200 {
        fs::write(project.join(format!("file-{number}")), "x".repeat(10_000)).unwrap();
    }
    let done = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&done);
    let changer = std::thread::spawn(move || {
        let next = project.join("next");
        for round in 0_usize.. {
            if asked.load(Ordering::Relaxed) {
                return;
            }
            match round % 3 {
                0 => symlink(&canary, &next).unwrap(),
                1 => fs::write(&next, "y".repeat(round % 7 * 5_000)).unwrap(),
                _ => fs::write(&next, "").unwrap(),
            }
            fs::rename(&next, project.join(format!("file-{}", round % 200))).unwrap();
            // In place, too: shorter and longer.
            let file = fs::File::options().write(true).open(project.join("src/main.txt")).unwrap();
            file.set_len(round as u64 % 100_000).unwrap();
        }
    });
    for round in 0..10 {
        let Some(backend) = lab.open().await else { break };
        let tree = unpacked(&backend, &lab.directory.path().join(format!("unpacked-{round}"))).await;
        for entry in fs::read_dir(&tree).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_file() {
                assert!(!contains(&path, "the canary"), "{}", path.display());
            }
        }
        backend.close().await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    changer.join().unwrap();
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named() {
    let lab = Lab::new();
    let closed = lab.project().join("closed");
    fs::write(&closed, "").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let Some(backend) = lab.open().await else { return };
    match backend.workspace().archive().await {
        Ok(_) => assert!(fs::read(&closed).is_ok(), "root may read everything"),
        Err(error) => assert_eq!(error.to_string(), format!("cannot read {}", closed.display())),
    }
    backend.close().await.unwrap();
}
