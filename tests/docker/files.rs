//! The project's files in a container: all of them, as they are, whatever they are called and however many they are.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;

use base64::Engine as _;
use serde_json::json;

use super::lab::{Engine, ORDINARY_USER, in_image, root};
use crate::caching::{Built, forever, on_change};
use crate::support::{Running, child, logs};

/// Every path in the workspace, in one line.
const ALL_NAMES: &str = "find . -mindepth 1 -path ./.hm -prune -o -print0 | sort -z | base64 -w 0";

/// The same, of what a step has said.
fn names(line: &str) -> Vec<Vec<u8>> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(line);
    let bytes = bytes.unwrap_or_else(|error| panic!("{error}: {line}"));
    let names = bytes.split(|byte| *byte == 0).filter(|name| !name.is_empty() && *name != b"./.hm");
    names.map(|name| name.strip_prefix(b"./").expect("a path").to_owned()).collect()
}

#[test]
fn files_are_what_they_are_in_the_project() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&json!([root(
        "look",
        "stat -c '%a %F %n' run.sh data 'locked' empty; ./run.sh; for link in dangling absolute todir tofile; do readlink $link; done; cat todir/file tofile; \
         stat -c %U data; ls -a; stat -c %s large; date -d @$(stat -c %Y data) +%Y >/dev/null && echo dated"
    )]));
    for (name, text) in [
        ("run.sh", "#!/bin/sh\necho it runs\n"),
        ("data", "data\n"),
        ("locked", ""),
        ("dir/file", "in dir\n"),
        (".gitignore", "*.o\nbuild/\n"),
        ("x.o", ""),
        ("build/out", ""),
        (".hmignore", "secret\n"),
        ("secret", "hunter2"),
    ] {
        project.write(name, text);
    }
    let at = |name: &str| project.path().join(name);
    fs::create_dir(at("empty")).expect("a directory");
    File::create(at("large")).and_then(|file| file.set_len(5_000_000)).expect("a file");
    fs::set_permissions(at("run.sh"), fs::Permissions::from_mode(0o755)).expect("a mode");
    fs::set_permissions(at("locked"), fs::Permissions::from_mode(0o600)).expect("a mode");
    for (link, target) in
        [("dangling", "no/such"), ("absolute", "/etc/passwd"), ("todir", "dir"), ("tofile", "./dir/../data")]
    {
        symlink(target, at(link)).expect("a link");
    }
    let (ran, events) = project.events(&[]);
    ran.expect_code(0);
    let lines = &logs(&events)["look"];
    let expected = [
        "755 regular file run.sh",
        "644 regular file data",
        "600 regular empty file locked",
        "755 directory empty",
        "it runs",
        "no/such",
        "/etc/passwd",
        "dir",
        "./dir/../data",
        "in dir",
        "data",
        "root",
    ];
    assert_eq!(lines[..expected.len()], expected);
    let there = &lines[expected.len()..];
    for name in ["x.o", "build", "secret"] {
        assert!(!there.contains(&name.to_owned()), "{there:?}");
    }
    for name in ["dir", ".hmignore", ".gitignore", "5000000", "dated"] {
        assert!(there.contains(&name.to_owned()), "{name}: {there:?}");
    }
}

#[test]
fn links_out_of_the_project_modes_and_empty_directories_are_as_they_are() {
    let Some(engine) = Engine::get() else { return };
    let look = "find . -mindepth 1 -path ./.hm -prune -o -not -type l -exec stat -c '%a %n' {} + | sort -k2
        find . -type l | sort | while read -r link; do echo \"$link $(readlink $link)\"; done";
    let project = engine.project(&json!([
        root("plain", look),
        forever(root("kept", "true")),
        child("child", "kept", look),
        in_image(ORDINARY_USER, "user", look),
    ]));
    let at = |path: &str| project.path().join(path);
    let mode =
        |path: &str, mode| fs::set_permissions(at(path), fs::Permissions::from_mode(mode)).expect("a mode");
    for name in ["key", "group/file", "gone/file", "gone/deep/file", "closed/file"] {
        project.write(name, name);
    }
    for (name, bits) in
        [("key", 0o600), ("group", 0o775), ("group/file", 0o664), ("closed", 0o700), ("closed/file", 0o444)]
    {
        mode(name, bits);
    }
    for name in ["gone", "gone/deep", "gone/file", "gone/deep/file"] {
        mode(name, if name.ends_with("file") { 0o644 } else { 0o755 });
    }
    symlink("../outside", at("link")).expect("a link");
    symlink("../../../etc/passwd", at("group/link")).expect("a link");
    let modes = |rest: &[&str]| {
        let mut lines = vec!["700 ./closed", "444 ./closed/file"];
        lines.extend(rest);
        lines.extend(["./group/link ../../../etc/passwd", "./link ../outside"]);
        lines.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let first = modes(&[
        "755 ./gone",
        "755 ./gone/deep",
        "644 ./gone/deep/file",
        "644 ./gone/file",
        "775 ./group",
        "664 ./group/file",
        "600 ./key",
    ]);
    let built = Built::of(&project, &[]).expect("", "child kept plain user");
    for step in ["plain", "child", "user"] {
        assert_eq!(logs(&built.events)[step], first, "{step}");
    }
    fs::remove_dir_all(at("gone")).expect("gone");
    mode("group", 0o750);
    mode("key", 0o640);
    let second = modes(&["750 ./group", "664 ./group/file", "640 ./key"]);
    let built = Built::of(&project, &[]).expect("kept", "child plain user");
    for step in ["plain", "child", "user"] {
        assert_eq!(logs(&built.events)[step], second, "{step}");
    }
    project.run(&["cache", "clear"]).expect_code(0);
}

#[test]
fn names_may_be_anything() {
    let Some(engine) = Engine::get() else { return };
    let long = "n".repeat(250);
    let names_of_files: Vec<Vec<u8>> = vec![
        b"with space".to_vec(),
        b"two\nlines".to_vec(),
        b"-rf".to_vec(),
        b"--help".to_vec(),
        b"'single' \"double\" `back` $(echo no) $HOME \\".to_vec(),
        b"*?[a-z]".to_vec(),
        b"not-utf8-\xff\xfe".to_vec(),
        "ünïcödé".as_bytes().to_vec(),
        b"\x1b[31mred".to_vec(),
        b"\r".to_vec(),
        b"~".to_vec(),
        long.into_bytes(),
    ];
    let touch =
        "find . -mindepth 1 -maxdepth 1 -type f -exec sh -c 'for f; do echo more >> \"$f\"; done' sh {} +";
    let project = engine.project(&json!([
        root("look", ALL_NAMES),
        child("change", "look", &format!("{touch}; rm -- -rf '*?[a-z]'")),
        child("again", "change", &format!("{ALL_NAMES}; echo; cat ./with\\ space ./--help ./not*")),
    ]));
    let mut expected = Vec::new();
    for name in &names_of_files {
        fs::write(project.path().join(OsStr::from_bytes(name)), "text\n").expect("a file");
        expected.push(name.clone());
        // Names count by whole paths, too: this is longer than a tar header's.
        let below = [b"dir/", &name[..], b"/", &name[..]].concat();
        let path = project.path().join(OsStr::from_bytes(&below));
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        symlink(OsStr::from_bytes(name), &path).expect("a link");
        expected.extend([below, [b"dir/", &name[..]].concat()]);
    }
    expected.push(b"dir".to_vec());
    let deep = ["d"; 100].join("/");
    fs::create_dir_all(project.path().join(&deep)).expect("a directory");
    expected.extend((1..=100).map(|depth| ["d"; 100][..depth].join("/").into_bytes()));
    let sort = |names: &mut Vec<Vec<u8>>| names.sort_by_key(|name| [b"./", &name[..], b"\0"].concat());
    sort(&mut expected);
    let (ran, events) = project.events(&[]);
    ran.expect_code(0);
    let logs = logs(&events);
    assert_eq!(logs["look"].len(), 1, "{:?}", logs["look"]);
    let mut seen = names(&logs["look"][0]);
    sort(&mut seen);
    assert_eq!(seen, expected);
    let again = &logs["again"];
    expected.retain(|name| name != b"-rf" && name != b"*?[a-z]");
    let mut seen = names(&again[0]);
    sort(&mut seen);
    assert_eq!(seen, expected);
    assert_eq!(again[1..], ["text", "more", "text", "more", "text", "more"]);
}

#[test]
fn a_large_workspace_needs_no_memory() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&json!([
        root("root", "cat large/* | sha256sum; du -sm large | cut -f1; echo x > x"),
        child("child", "root", "cat large/* | sha256sum"),
    ]));
    fs::create_dir(project.path().join("large")).expect("a directory");
    // Nothing that could be packed, and no two alike.
    let mut state = 1_u64;
    for number in 0..20 {
        let mut file = File::create(project.path().join(format!("large/{number:02}"))).expect("a file");
        for _ in 0..10 {
            let block: Vec<u8> = (0..128 * 1024)
                .flat_map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    state.to_le_bytes()
                })
                .collect();
            file.write_all(&block).expect("written");
        }
    }
    let mut command = project.hm(&["build", "--format", "json"]);
    command.stdout(Stdio::piped());
    let mut build = Running::start(command);
    let status = format!("/proc/{}/status", build.0.id());
    let mut output = build.0.stdout.take().expect("a pipe");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut output, &mut text).map(|_| text)
    });
    let mut most = 0;
    while build.0.try_wait().expect("a child").is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let field = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = field.and_then(|field| field.trim().trim_end_matches(" kB").parse::<u64>().ok());
        most = most.max(kib.unwrap_or_default());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let text = reader.join().expect("no panic").expect("text");
    assert_eq!(build.ended(), Some(0), "{text}");
    let events: Vec<_> = text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    let logs: BTreeMap<_, _> = logs(&events);
    assert!(logs["root"][1].parse::<u32>().expect("a size") >= 200, "{logs:?}");
    assert_eq!(logs["root"][0], logs["child"][0]);
    assert!(most > 10 * 1024 && most < 150 * 1024, "{most} KiB for 200 MiB of files");
}

#[test]
fn what_changed_is_newer_than_what_a_kept_parent_has_made_and_the_rest_is_older() {
    let Some(engine) = Engine::get() else { return };
    let names = ["changed", "new", "same", "touched"];
    let compare = "for name in changed new same touched; do
          [ src/$name -nt product ] && echo $name is newer; [ product -nt src/$name ] && echo $name is older
        done; find src -type f -newer product | sort; stat -c '%Y %n' src/same product";
    let project = engine.project(&json!([
        // Some time ago: the times of files count in seconds.
        forever(root(
            "make",
            "echo made > product; touch -d @$(($(date +%s) - 60)) product; stat -c '%Y %n' src/same product"
        )),
        child("plain", "make", compare),
        on_change(child("kept", "make", compare), &["src"]),
    ]));
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    let date = |name: &str| {
        let file = File::open(project.path().join("src").join(name)).expect("a file");
        file.set_modified(long_ago).expect("a time");
    };
    for name in names.into_iter().filter(|name| *name != "new") {
        project.write(&format!("src/{name}"), "1\n");
        date(name);
    }
    let older = ["changed is older", "same is older", "touched is older"];
    let first = Built::of(&project, &[]).expect("", "kept make plain");
    let times = &logs(&first.events)["make"];
    for key in ["plain", "kept"] {
        assert_eq!(logs(&first.events)[key], [&older.map(str::to_owned)[..], times].concat(), "{key}");
    }

    project.write("src/changed", "2\n");
    project.write("src/new", "2\n");
    project.write("src/touched", "1\n");
    let built = Built::of(&project, &[]);
    assert_eq!((&*built.hits(), &*built.started()), ("make", "kept plain"), "{}", built.ran.stderr);
    let now =
        ["changed is newer", "new is newer", "same is older", "touched is older", "src/changed", "src/new"];
    for key in ["plain", "kept"] {
        assert_eq!(logs(&built.events)[key], [&now.map(str::to_owned)[..], times].concat(), "{key}");
    }
    project.run(&["cache", "clear"]).expect_code(0);
}

#[test]
fn a_name_that_no_layer_can_have_is_refused() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&json!([root("first", "echo it ran")]));
    project.write("sub/.wh.file", "text\n");
    let (ran, events) = project.events(&[]);
    assert_ne!(ran.code, Some(0));
    let told = format!("{}{}", ran.stdout, ran.stderr);
    assert!(told.contains("sub/.wh.file") && !told.contains("it ran"), "{told}");
    assert_eq!(engine.left_by(&events), [""; 0]);
    // One that is left out is none of the project's.
    project.write(".hmignore", ".wh.*\n");
    project.run(&["build"]).expect_code(0);
}
