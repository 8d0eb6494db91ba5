//! Kept layers that have files which the project has, too: they count only as long as the project's are what they were
//! when the layer was made. What else there is to kept layers is in `kept`.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use hm_step_sandbox::SandboxError;

use super::{
    kept::{keep, look, place},
    lab::Lab,
};
use crate::support::skipped;

#[tokio::test]
async fn a_file_that_a_step_has_touched_hides_no_later_one() {
    let lab = Lab::new();
    let main = lab.project().join("src/main.txt");
    let Some(backend) = lab.open().await else { return };
    let touched = keep(&backend, None, "chmod 600 src/main.txt; mkdir out; echo made > out/file").await;
    let above = keep(&backend, Some(&touched), "cat src/main.txt > copy").await;
    let beside = keep(&backend, None, "cat src/main.txt > copy; rm gone.txt").await;
    backend.close().await.unwrap();
    let changes: [(&str, &dyn Fn()); 4] = [
        ("changed", &|| fs::write(&main, "edited").unwrap()),
        ("a program", &|| {
            fs::write(&main, "original").unwrap();
            fs::set_permissions(&main, fs::Permissions::from_mode(0o755)).unwrap();
        }),
        ("gone", &|| fs::remove_file(&main).unwrap()),
        ("something else", &|| fs::create_dir(&main).unwrap()),
    ];
    for (what, change) in changes {
        change();
        // No matter what is asked for first.
        for first in [&touched, &above] {
            let Some(backend) = lab.open().await else { return };
            assert!(!backend.exists(first).await, "{what}");
            assert!(
                matches!(backend.start(Some(first)).await, Err(SandboxError::UnknownSnapshot(_))),
                "{what}"
            );
            assert!(!backend.exists(&above).await && !backend.exists(&touched).await, "{what}");
            assert!(backend.exists(&beside).await, "{what}: it covers nothing");
            backend.close().await.unwrap();
        }
    }
    fs::remove_dir(&main).unwrap();
    fs::write(&main, "edited").unwrap();
    let Some(backend) = lab.open().await else { return };
    assert_eq!(look(&backend, &beside, "cat src/main.txt copy; ls").await, "editedoriginalcopy\nsrc");
    let anew = keep(&backend, None, "chmod 600 src/main.txt").await;
    assert_eq!(look(&backend, &anew, "cat src/main.txt").await, "edited");
    backend.close().await.unwrap();
    fs::write(&main, "original").unwrap();
    let Some(backend) = lab.open().await else { return };
    assert!(backend.exists(&above).await && !backend.exists(&anew).await, "back to what there was");
    backend.close().await.unwrap();
}

#[tokio::test]
async fn what_a_step_has_made_hides_nothing_that_the_project_has_got() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let made = keep(&backend, None, "echo made > config; mkdir -p new/deep; echo made > new/deep/file").await;
    assert_eq!(fs::read(place(&lab, &made).join("covers")).unwrap().split(|&byte| byte == 0).count(), 3);
    backend.close().await.unwrap();
    for file in ["config", "new"] {
        fs::write(lab.project().join(file), "the project's").unwrap();
        let Some(backend) = lab.open().await else { return };
        assert!(!backend.exists(&made).await, "{file}");
        backend.close().await.unwrap();
        fs::remove_file(lab.project().join(file)).unwrap();
    }
    let Some(backend) = lab.open().await else { return };
    assert_eq!(look(&backend, &made, "cat config new/deep/file").await, "made\nmade");
    backend.close().await.unwrap();
}

#[tokio::test]
async fn looking_at_what_git_says_covers_nothing_and_committing_does() {
    let lab = Lab::new();
    let git = |arguments: &[&str]| {
        let named = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"];
        let ran = Command::new("git").args(named).args(arguments).current_dir(lab.project()).output();
        ran.is_ok_and(|ran| ran.status.success())
    };
    if !git(&["init", "--quiet"]) {
        return skipped("no git");
    }
    assert!(git(&["add", "."]) && git(&["commit", "--quiet", "--message", "one"]));
    let Some(backend) = lab.open().await else { return };
    let status = keep(&backend, None, "git status --short > status; git log --format=%s > log").await;
    let staged = keep(&backend, None, "echo x > file; git add file").await;
    backend.close().await.unwrap();
    fs::write(lab.project().join("src/main.txt"), "edited").unwrap();
    assert!(git(&["commit", "--quiet", "--all", "--message", "two"]));
    let Some(backend) = lab.open().await else { return };
    assert!(backend.exists(&status).await && !backend.exists(&staged).await);
    let seen = look(&backend, &status, "cat status log; git log --format=%s; git status --short").await;
    assert_eq!(seen, "?? status\none\ntwo\none\n?? log\n?? status");
    backend.close().await.unwrap();
}
