//! What steps produce, from `runner_args.artifacts` to files in the user's directory, events and summary. What can be
//! in the way of writing them is tested beside the code; what a sandbox hands out, with the local back end.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use hm_plugin_protocol::{ArtifactRef, BuildEvent};
use serde_json::{Value, json};

use crate::support::{Project, exits, logs, on_a_small_disk, ran, step};

/// A step that produces these.
fn producing(key: &str, cmd: &str, patterns: &[&str]) -> Value {
    let mut step = step(key, cmd);
    step["runner_args"] = json!({ "artifacts": patterns });
    step
}

/// Artifacts that the step ends tell of, in their order.
pub(crate) fn artifacts(events: &[BuildEvent]) -> Vec<ArtifactRef> {
    let of = |event: &BuildEvent| match event {
        BuildEvent::StepEnd { artifacts, .. } => artifacts.clone(),
        _ => Vec::new(),
    };
    events.iter().flat_map(of).collect()
}

/// Files in a directory and below, sorted; none if it is not there.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let (mut names, mut open) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(path).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            } else {
                names.push(path.strip_prefix(directory).expect("below").display().to_string());
            }
        }
    }
    names.sort();
    names
}

pub(crate) fn out(project: &Project) -> PathBuf {
    project.path().join(".hm/out")
}

#[test]
fn what_a_step_produces_is_there_afterwards() {
    let project = Project::with_steps(&json!([
        producing(
            "build",
            "mkdir dist; echo wheel > dist/a.whl; echo b > dist/b.txt; ln -s b.txt dist/c.whl",
            &["dist/*.whl", "none/*"]
        ),
        producing("Test it/all", "echo '{}' > report.json; exit 3", &["report.json"]),
    ]));
    let (ran, events) = project.events(&["--keep-going"]);
    ran.expect_code(1);
    assert_eq!(exits(&events), [("build".to_owned(), 0), ("Test it/all".to_owned(), 3)].into());
    let expected = [("dist/a.whl", "application/zip", 6), ("report.json", "application/json", 3)];
    let mut found = artifacts(&events);
    found.sort_by(|a, b| a.key.cmp(&b.key));
    let found: Vec<_> = found.iter().map(|a| (a.key.as_str(), a.mime.as_str(), a.size_bytes)).collect();
    assert_eq!(found, expected);
    assert_eq!(names(&out(&project)), ["%54est%20it%2Fall/report.json", ".gitignore", "build/dist/a.whl"]);
    assert_eq!(fs::read_to_string(out(&project).join("build/dist/a.whl")).expect("there"), "wheel\n");
    assert_eq!(
        logs(&events)["build"],
        ["hm: no file matches the artifacts `none/*`", "hm: left out of the artifacts: 1 symbolic links"]
    );

    let human = project.run(&["build"]).expect_code(1).stdout;
    assert!(human.contains("\nbuild produced dist/a.whl (6 B)\n"), "{human}");
}

#[test]
fn the_last_build_is_gone_when_the_next_one_begins_and_no_step_sees_it() {
    let project = Project::with_steps(&json!([producing("a", "echo x > file", &["file"])]));
    project.run(&["build"]).expect_code(0);
    fs::write(out(&project).join("a/left"), "").expect("a file");
    let steps = json!([producing("a", "find . -type f; exit 1", &["file"]), step("b", "true")]);
    project.write(".hm/ci.json", &json!({"version": "0", "steps": steps}).to_string());
    let (ran, events) = project.events(&[]);
    ran.expect_code(1);
    let lines = &logs(&events)["a"];
    assert_eq!(lines[..], ["./.hm/ci.json", "hm: no file matches the artifacts `file`"], "no `.hm/out`");
    assert_eq!(names(&out(&project)), [".gitignore"]);
}

#[test]
fn where_artifacts_go_is_the_users_choice() {
    let project = Project::with_steps(&json!([producing("src", "echo x > file", &["file"])]));
    let elsewhere = tempfile::tempdir().expect("a directory");
    let chosen = elsewhere.path().join("link/made/here");
    fs::create_dir(elsewhere.path().join("real")).expect("a directory");
    symlink("real", elsewhere.path().join("link")).expect("a link");
    project.run(&["build", "--artifacts", chosen.to_str().expect("text")]).expect_code(0);
    assert_eq!(names(&elsewhere.path().join("real/made/here")), [".gitignore", "src/file"]);
    assert!(!out(&project).exists());

    // A directory with something of the user's in it, which has a directory of the step's name.
    project.write("src/precious", "mine");
    let refused = |project: &Project| {
        let ran = project.run(&["build", "--artifacts", "."]).expect_code(2);
        let path = project.path();
        let expected = format!("{} has files in it that hm has not put there", path.display());
        assert!(ran.stderr.contains(&expected), "{}", ran.stderr);
        assert_eq!(ran.stdout, "", "nothing has run");
    };
    refused(&project);
    assert_eq!(names(&project.path()), [".hm/ci.json", "src/precious"]);
    refused(&Project::with_steps(&json!([step("none", "true")])));
    let file = project.path().join("src/precious/below");
    let ran = project.run(&["build", "--artifacts", file.to_str().expect("text")]).expect_code(2);
    assert!(ran.stderr.contains("Not a directory") && ran.stdout.is_empty(), "{ran:?}");
}

#[test]
fn paths_that_lead_out_of_the_workspace_are_refused() {
    for pattern in ["/etc/passwd", "../x", "a/../../x"] {
        let project = Project::with_steps(&json!([producing("a", "echo ran", &[pattern])]));
        let (ran, events) = project.events(&[]);
        assert_ne!(ran.code, Some(0));
        let said = format!("{events:?}{}", ran.stderr);
        assert!(said.contains(&format!("artifacts: `{pattern}` leads out of the workspace")), "{said}");
        assert!(!logs(&events).contains_key("a"), "the command has run");
    }
}

#[test]
fn links_of_the_project_lead_nothing_out() {
    let project = Project::with_steps(&json!([producing("a", "echo x > file", &["file"])]));
    let elsewhere = tempfile::tempdir().expect("a directory");
    for (link, to) in [(".hm/out", elsewhere.path()), (".hm/out/a", elsewhere.path())] {
        let _ = fs::remove_file(out(&project));
        if link == ".hm/out/a" {
            project.run(&["build"]).expect_code(0);
            fs::remove_dir_all(out(&project).join("a")).expect("removed");
        }
        symlink(to, project.path().join(link)).expect("a link");
        let (ran, events) = project.events(&[]);
        ran.expect_code(1);
        assert_eq!(exits(&events), [("a".to_owned(), 73)].into(), "{link}");
        assert!(format!("{events:?}").contains("a part of its path is a symbolic link"), "{events:?}");
        assert_eq!(names(elsewhere.path()), Vec::<String>::new(), "{link}");
    }
}

#[test]
fn builds_at_the_same_time_do_not_break_each_other() {
    let project = Project::with_steps(&json!([producing(
        "a",
        "mkdir -p d/e; for i in $(seq 100); do echo $i > d/e/$i; done",
        &["d"]
    )]));
    let builds: Vec<_> = (0..8)
        .map(|_| {
            let mut command = project.hm(&["build"]);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            command.spawn().expect("hm")
        })
        .collect();
    for build in builds {
        ran(build.wait_with_output().expect("hm ends")).expect_code(0);
    }
}

/// Both write into the same directory, and each has a key of its own.
#[test]
fn no_build_keeps_what_another_one_produced() {
    let cmd = "mkdir d; for i in $(seq 300); do echo $A > d/$i; done";
    let mut kept = producing("a", cmd, &["d"]);
    kept["cache"] = json!({"policy": "forever"});
    let project = Project::with_steps(&json!([kept])).alone();
    let values: Vec<String> = (10..18).map(|value| format!("A={value}")).collect();
    let build = |value: &str| {
        let mut command = project.hm(&["build", "--env", value]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().expect("hm")
    };
    for build in values.iter().map(|value| build(value)).collect::<Vec<_>>() {
        ran(build.wait_with_output().expect("hm ends")).expect_code(0);
    }
    for value in &values {
        project.run(&["build", "--env", value]).expect_code(0);
        for file in 1..=300 {
            let text = fs::read_to_string(out(&project).join(format!("a/d/{file}"))).expect("there");
            assert_eq!(format!("A={}", text.trim_end()), *value, "file {file}");
        }
    }
}

#[test]
fn what_was_kept_of_artifacts_and_was_altered_is_produced_again() {
    let mut kept = producing("a", "echo x > file", &["file"]);
    kept["cache"] = json!({"policy": "forever"});
    let project = Project::with_steps(&json!([kept])).alone();
    project.run(&["build"]).expect_code(0);
    let results = fs::read_dir(project.cache().join("results")).expect("results").flatten();
    let result = results.map(|entry| entry.path().join("artifacts/file")).find(|path| path.exists());
    fs::write(result.expect("an artifact"), "y\n").expect("a file");
    let (ran, events) = project.events(&[]);
    ran.expect_code(0);
    assert!(!events.iter().any(|event| matches!(event, BuildEvent::StepCacheHit { .. })), "{events:?}");
    assert_eq!(fs::read_to_string(out(&project).join("a/file")).expect("there"), "x\n");
    let (_, events) = project.events(&[]);
    assert!(events.iter().any(|event| matches!(event, BuildEvent::StepCacheHit { .. })), "{events:?}");
}

#[test]
fn a_full_disk_is_the_steps_failure_and_leaves_nothing() {
    let project = Project::with_steps(&json!([producing(
        "a",
        "echo x > a-small; head -c 1000000 /dev/zero > large",
        &["a-small", "large"]
    )]));
    let disk = tempfile::tempdir().expect("a directory");
    let hm = project.hm(&["build", "--artifacts"]);
    let script = "\"$@\" \"$0\"; echo \"exit $?\"; find \"$0\" -type f";
    let Some(output) = on_a_small_disk(disk.path(), script, &hm) else { return };
    let ran = ran(output);
    let path = disk.path().display();
    assert!(ran.stdout.contains(&format!("cannot write {path}/a/large: No space left on device")), "{ran:?}");
    assert!(ran.stdout.contains("exit code 73"), "{ran:?}");
    let after = ran.stdout.split_once("exit 1\n").map(|(_, after)| after.to_owned());
    assert_eq!(after, Some(format!("{path}/.gitignore\n")), "{ran:?}");
}

#[test]
fn a_cached_step_gives_its_artifacts_again() {
    let mut kept = producing("a", "date +%N > file; chmod +x file", &["file"]);
    kept["cache"] = json!({"policy": "forever"});
    let project = Project::with_steps(&json!([kept]));
    let (first, before) = project.events(&[]);
    first.expect_code(0);
    let text = fs::read_to_string(out(&project).join("a/file")).expect("there");
    fs::remove_dir_all(out(&project)).expect("removed");
    let (second, after) = project.events(&[]);
    second.expect_code(0);
    assert!(after.iter().any(|event| matches!(event, BuildEvent::StepCacheHit { .. })), "{after:?}");
    assert_eq!(fs::read_to_string(out(&project).join("a/file")).expect("restored"), text);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(out(&project).join("a/file")).expect("there").permissions(),
    );
    assert_eq!(mode & 0o100, 0o100);
    assert_eq!(artifacts(&after), artifacts(&before));
    assert_eq!(artifacts(&after).len(), 1);

    let human = project.run(&["build"]).expect_code(0).stdout;
    for part in ["▶ a (cached)\n", "✓ a (cached)\n", "\na produced file (", ": 1 step, 1 cached\n"] {
        assert!(human.contains(part), "{part:?} is not in\n{human}");
    }
}
