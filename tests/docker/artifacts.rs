//! What steps in containers produce comes out of them as it does out of the local sandbox.

use std::fs;

use serde_json::json;

use super::lab::{BUSYBOX, Engine, NO_SHELL, ORDINARY_USER, in_image, root, told};
use crate::artifacts::{artifacts, names, out};
use crate::support::{exits, logs};

#[test]
fn what_a_step_produces_is_there_afterwards() {
    let Some(engine) = Engine::get() else { return };
    let make = "mkdir dist; echo wheel > dist/a.whl; echo b > dist/b.txt; ln -s b.txt dist/c.whl; printf '#!/bin/sh\n' > run; chmod 755 run";
    let fail = "mkdir -p deep/er; echo '{}' > deep/er/report.json; echo x > other; exit 3";
    let project = engine.project(&json!([
        told(root("build", make), json!({"artifacts": ["dist/*.whl", "none/*", "run"]})),
        told(root("fail", fail), json!({"artifacts": ["deep"]})),
        told(
            in_image(ORDINARY_USER, "user", "mkdir a; echo x > a/x; chmod 600 a/x"),
            json!({"artifacts": ["**/x"]})
        ),
        told(root("bad", "true"), json!({"artifacts": ["../x"]})),
    ]));
    let (ran, events) = project.events(&["--keep-going", "-j2"]);
    assert_ne!(ran.code, Some(0));
    let exits = exits(&events);
    assert_eq!((exits["build"], exits["fail"], exits["user"]), (0, 3, 0), "{events:?}");
    let mut found = artifacts(&events);
    found.sort_by(|a, b| a.key.cmp(&b.key));
    let found: Vec<_> = found.iter().map(|a| (a.key.as_str(), a.mime.as_str(), a.size_bytes)).collect();
    let expected = [
        ("a/x", "application/octet-stream", 2),
        ("deep/er/report.json", "application/json", 3),
        ("dist/a.whl", "application/zip", 6),
        ("run", "application/octet-stream", 10),
    ];
    assert_eq!(found, expected);
    let files = names(&out(&project));
    let expected = [".gitignore", "build/dist/a.whl", "build/run", "fail/deep/er/report.json", "user/a/x"];
    assert_eq!(files, expected);
    assert_eq!(fs::read_to_string(out(&project).join("build/dist/a.whl")).expect("there"), "wheel\n");
    let mode = |name: &str| {
        let about = fs::metadata(out(&project).join(name)).expect("there");
        std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o111
    };
    assert!(mode("build/run") != 0 && mode("build/dist/a.whl") == 0);
    assert_eq!(
        logs(&events)["build"],
        ["hm: no file matches the artifacts `none/*`", "hm: left out of the artifacts: 1 symbolic links"]
    );
    assert_eq!(engine.left_by(&events), [""; 0]);
}

#[test]
fn nothing_of_the_rest_of_the_container_or_the_machine_comes_out() {
    let Some(engine) = Engine::get() else { return };
    let links = "ln -s /etc etc; ln -s /etc/passwd passwd; mkdir real; echo x > real/x; ln -s real dir; ln -s ../.. real/up; \
                 mkfifo pipe; mknod null c 1 3; rm -rf link; ln -s / link";
    let patterns = json!({"artifacts": ["etc/*", "passwd", "dir/x", "real/up/etc/passwd", "pipe", "null", "link/**", "real/x"]});
    let project = engine.project(&json!([told(root("k", links), patterns)]));
    let (ran, events) = project.events(&[]);
    ran.expect_code(0);
    assert_eq!(names(&out(&project)), [".gitignore", "k/real/x"]);
    let said = logs(&events)["k"].join("\n");
    assert!(said.contains("left out of the artifacts") || said.contains("no file matches"), "{said}");
}

#[test]
fn the_workspace_itself_may_be_a_link_by_then() {
    let Some(engine) = Engine::get() else { return };
    let swap = "cd /; mv /workspace /elsewhere; ln -s /etc /workspace";
    let project = engine.project(&json!([told(root("k", swap), json!({"artifacts": ["passwd", "**"]}))]));
    let (_, events) = project.events(&[]);
    // It leads to what the container has there, and not the machine.
    let passwd = fs::read_to_string(out(&project).join("k/passwd")).unwrap_or_default();
    assert!(passwd.is_empty() || passwd.ends_with("user:x:1000:1000:user:/home/user:/bin/sh\n"), "{passwd}");
    assert_eq!(engine.left_by(&events), [""; 0]);
}

#[test]
fn more_than_a_step_may_produce_is_its_failure() {
    let Some(engine) = Engine::get() else { return };
    let many = "mkdir many; seq 10001 | sed s,^,many/, | xargs touch";
    let large = "mkdir large; truncate -s 5G large/file";
    let project = engine.project(&json!([
        told(root("many", many), json!({"artifacts": ["many"]})),
        told(root("large", large), json!({"artifacts": ["large"]})),
    ]));
    let (ran, events) = project.events(&["--keep-going"]);
    ran.expect_code(1);
    for (key, expected) in [("many", "more than 10000 files match"), ("large", "have more than 4 GiB")] {
        let said = logs(&events)[key].join("\n");
        assert!(said.contains(expected), "{said}");
    }
    assert_eq!(names(&out(&project)), [".gitignore"], "half of it is of no use");
    assert_eq!(engine.left_by(&events), [""; 0]);
}

#[test]
fn unusual_names_and_many_files_come_out_too() {
    let Some(engine) = Engine::get() else { return };
    let make = r#"mkdir -p out/many; for i in $(seq 1 2000); do echo $i > out/many/$i; done; printf 1 > "$(printf 'out/two\nlines')";
        printf 2 > 'out/ '; printf 3 > "out/'\"\$x"; printf 4 > out/-rf; printf 5 > out/ünïcödé; head -c 30000000 /dev/zero > out/large;
        n=$(printf '%0200d' 0); mkdir -p out/$n/$n; printf 6 > out/$n/$n/$n"#;
    let project = engine.project(&json!([told(root("k", make), json!({"artifacts": ["out"]}))]));
    let (ran, events) = project.events(&[]);
    ran.expect_code(0);
    assert_eq!(artifacts(&events).len(), 2007);
    let long = ["0".repeat(200).as_str(); 3].join("/");
    let files = ["two\nlines", " ", "'\"$x", "-rf", "ünïcödé", &long];
    for (number, name) in files.iter().enumerate() {
        let path = out(&project).join("k/out").join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name:?}: {e}"));
        assert_eq!(text, (number + 1).to_string(), "{name:?}");
    }
    assert_eq!(fs::metadata(out(&project).join("k/out/large")).expect("there").len(), 30_000_000);
    assert_eq!(fs::read_to_string(out(&project).join("k/out/many/2000")).expect("there"), "2000\n");
    assert!(engine.has(BUSYBOX) && engine.has(NO_SHELL));
}
