//! Bringing files out of sandboxes: what was visible in there comes out, of whatever layer, and nothing else.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use hm_step_sandbox::{Mode, SandboxConfig, SandboxError, SandboxRun};
use hm_workspace::artifacts::{ArtifactError, Collected};

use super::lab::{Lab, open, run, step};

/// Names and texts of the files that were brought out.
fn files(out: &Path) -> BTreeMap<String, String> {
    let (mut found, mut open) = (BTreeMap::new(), vec![out.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                open.push(entry.path());
            } else {
                assert!(kind.is_file(), "{entry:?}");
                let name = entry.path().strip_prefix(out).unwrap().display().to_string();
                found.insert(name, fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    found
}

async fn collect(
    backend: &SandboxRun,
    id: &str,
    patterns: &[&str],
    out: &Path,
) -> Result<Collected, SandboxError> {
    let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    backend.collect(id, &patterns, out).await
}

fn out(lab: &Lab) -> PathBuf {
    lab.directory.path().canonicalize().unwrap().join("out/step")
}

/// Both ways to isolate.
async fn both() -> Vec<(Lab, SandboxRun)> {
    let mut machines = Vec::new();
    for mode in [Mode::Namespaces, Mode::Fallback] {
        let lab = Lab::new();
        let config = SandboxConfig { mode, ..lab.config() };
        machines.extend(open(config, lab.workspace()).await.map(|backend| (lab, backend)));
    }
    machines
}

#[tokio::test]
async fn what_a_step_sees_comes_out_of_whatever_layer_it_is() {
    for (lab, backend) in both().await {
        for path in ["tree/old", "tree/deep/old", "kept/below"] {
            let path = lab.project().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "project").unwrap();
        }
        let script =
            "rm -r tree && mkdir -p tree/deep && echo parent > tree/deep/new && echo parent > kept/parent";
        let (parent, _) = step(&backend, None, script).await;
        let id = backend.start(Some(&parent)).await.unwrap();
        let script = "rm gone.txt kept/parent; echo child > kept/child; chmod +x kept/child; echo changed > src/main.txt";
        assert_eq!(run(&backend, &id, script).await.code, 0);
        let Collected { artifacts, notes } =
            collect(&backend, &id, &["**/*.txt", "tree", "./kept/", "nothing/*"], &out(&lab)).await.unwrap();
        let expected = [
            ("kept/below", "project"),
            ("kept/child", "child\n"),
            ("src/main.txt", "changed\n"),
            ("tree/deep/new", "parent\n"),
        ];
        assert_eq!(files(&out(&lab)), expected.map(|(name, text)| (name.into(), text.into())).into());
        let listed: Vec<_> =
            artifacts.iter().map(|a| (a.key.as_str(), a.content.size_bytes, a.mime.as_str())).collect();
        let mime =
            |name: &str| if name.ends_with(".txt") { "text/plain" } else { "application/octet-stream" };
        let sizes = expected.map(|(name, text)| (name, u64::try_from(text.len()).unwrap(), mime(name)));
        assert_eq!(listed, sizes);
        assert_eq!(notes, ["no file matches the artifacts `nothing/*`"]);
        let mode = |name: &str| fs::metadata(out(&lab).join(name)).unwrap().permissions().mode();
        assert_eq!((mode("kept/child") & 0o100, mode("kept/below") & 0o100), (0o100, 0));

        // The sandbox is as it was, and another time replaces what was there.
        collect(&backend, &id, &["src"], &out(&lab)).await.unwrap();
        assert_eq!(files(&out(&lab)).keys().collect::<Vec<_>>(), ["src/main.txt"]);
        let snapshot = backend.commit(&id, None).await.unwrap();
        let (_, text) = step(&backend, Some(&snapshot), "ls -A . kept tree tree/deep").await;
        assert_eq!(text, ".:\nkept\nsrc\ntree\n\nkept:\nbelow\nchild\n\ntree:\ndeep\n\ntree/deep:\nnew");
        backend.close().await.unwrap();
    }
}

#[tokio::test]
async fn links_pipes_and_what_is_closed_stay_inside() {
    for (lab, backend) in both().await {
        let canary = lab.home().join("canary");
        symlink(&canary, lab.project().join("link-of-project")).unwrap();
        let id = backend.start(None).await.unwrap();
        let script = format!(
            "ln -s {} link; ln -s {} dir; ln -s src/main.txt inner; mkfifo pipe; mkdir -p made; ln -s .. made/up; \
             echo x > made/file; echo y > made/set; chmod 4755 made/set; printf z > \"$(printf 'odd\\377')\"",
            canary.display(),
            lab.home().display(),
        );
        assert_eq!(run(&backend, &id, &script).await.code, 0);
        let everything = collect(&backend, &id, &["."], &out(&lab)).await.unwrap();
        let names = ["gone.txt", "made/file", "made/set", "src/main.txt"];
        assert_eq!(files(&out(&lab)).keys().collect::<Vec<_>>(), names);
        assert_eq!(
            everything.notes,
            [
                "left out of the artifacts: 5 symbolic links, 1 devices, sockets or pipes, 1 with names that are not UTF-8"
            ]
        );
        let mode = fs::metadata(out(&lab).join("made/set")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7000, 0, "no set-user-id");
        let through = collect(&backend, &id, &["dir/canary", "made/up/gone.txt"], &out(&lab)).await.unwrap();
        assert!(through.artifacts.is_empty() && through.notes.len() == 2, "{through:?}");
        assert!(files(&out(&lab)).is_empty());
        backend.close().await.unwrap();
    }
}

#[tokio::test]
async fn too_much_is_an_error_and_leaves_nothing() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let id = backend.start(None).await.unwrap();
    let script =
        "mkdir many && cd many && seq 10000 | xargs touch && cd .. && truncate -s 5G large; echo x > small";
    assert_eq!(run(&backend, &id, script).await.code, 0);
    let artifacts = collect(&backend, &id, &["many"], &out(&lab)).await.unwrap().artifacts;
    assert_eq!(artifacts.len(), 10_000);
    assert!(artifacts.is_sorted_by(|a, b| a.key < b.key));
    for (patterns, expected) in [
        (&["many", "small"][..], "more than 10000 files match"),
        (&["small", "large"], "the files that match have more than 4 GiB"),
        (&["../x"], "`../x` cannot name artifacts: it has `..` in it"),
        (&["/etc/passwd"], "`/etc/passwd` cannot name artifacts: it is absolute"),
        (&["x"; 101], "there are more than 100 patterns"),
    ] {
        let error = collect(&backend, &id, patterns, &out(&lab)).await.unwrap_err();
        let SandboxError::Artifacts(error) = error else { panic!("{error:?}") };
        assert_eq!(error.to_string(), expected);
    }
    assert!(matches!(
        collect(&backend, "sandbox-x", &["small"], &out(&lab)).await,
        Err(SandboxError::UnknownSandbox(_))
    ));
    backend.close().await.unwrap();
}

#[tokio::test]
async fn the_directory_of_somebody_else_is_left_alone() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let id = backend.start(None).await.unwrap();
    let attempt = collect(&backend, &id, &["src"], &lab.home().canonicalize().unwrap().join("step")).await;
    assert!(matches!(attempt, Err(SandboxError::Artifacts(ArtifactError::NotOurs(_)))), "{attempt:?}");
    assert_eq!(fs::read_dir(lab.home()).unwrap().count(), 1);
    backend.close().await.unwrap();
}
