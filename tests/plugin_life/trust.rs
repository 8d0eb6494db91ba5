//! Plugins that come with a project: nothing of them runs unless the user has let exactly these bytes in.

use std::fs;

use serde_json::json;

use super::made::{CANARY, digest, greet, noisy, wasm};
use crate::support::Project;

/// A project with this plugin in it.
fn with(bytes: &[u8]) -> Project {
    let project = greet::project();
    put(&project, ".hm/plugins/greet.wasm", bytes);
    project
}

fn put(project: &Project, at: &str, bytes: &[u8]) {
    let path = project.path().join(at);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, bytes).expect("a plugin");
}

#[test]
fn an_untrusted_plugin_does_not_run_whatever_is_done() {
    let loops = wat::parse_str(r#"(module (func (export "hm_manifest") (loop $l (br $l))))"#).expect("WAT");
    for (bytes, sign) in
        [(noisy(json!({})), CANARY), (loops, "hm_manifest failed"), (b"not wasm".to_vec(), "not a module")]
    {
        let project = with(&bytes);
        put(&project, ".harmont/plugins/other.wasm", &noisy(json!({"name": "other", "capabilities": []})));
        for (args, code) in [
            (&["version"][..], 0),
            (&["plugin", "list"], 0),
            (&["plugin", "list", "--json"], 0),
            (&["plugin", "info", "greet"], 0),
            (&["plugin", "info", "local"], 0),
            (&["build"], 7),
            (&["--help"], 0),
        ] {
            let ran = project.run(args).expect_code(code);
            let all = format!("{}{}", ran.stdout, ran.stderr);
            assert!(!all.contains(sign) && !all.contains(CANARY), "hm {args:?}:\n{all}");
            if args[0] == "build" {
                assert!(
                    ran.stderr.starts_with(
                        "warning: plugin greet of this project is not trusted, so nothing of it runs; to let it in: hm plugin trust greet\n"
                    ),
                    "{}",
                    ran.stderr
                );
            }
        }
        let list = project.run(&["plugin", "list"]).expect_code(0).stdout;
        for name in ["greet", "other"] {
            let expected = format!("{name:<12} untrusted plugin {name} of this project is not trusted");
            assert!(list.contains(&expected), "{list}");
        }
        assert!(super::info(&project, "greet")["sha256"] == json!(digest(&bytes)));
    }
}

#[test]
fn names_of_files_cannot_be_commands_and_many_of_them_are_told_in_few_lines() {
    let project = greet::project();
    put(&project, ".hm/plugins/x; rm -rf ~\n\u{1b}[31m.wasm", &noisy(json!({})));
    project.write(
        "ours.json",
        &json!({"version": "0", "steps": [crate::support::step("ours", "true")]}).to_string(),
    );
    let build = project.run(&["build", "--file", "ours.json"]).expect_code(0);
    assert!(
        build
            .stderr
            .starts_with(r#"warning: plugin "x; rm -rf ~\n\u{1b}[31m" of this project is not trusted, "#)
            && build.stderr.ends_with("to let it in: hm plugin trust\n")
            && !build.stderr.contains('\u{1b}'),
        "{}",
        build.stderr
    );
    let list = project.run(&["plugin", "list"]).expect_code(0).stdout;
    assert_eq!(list.lines().count(), 5, "{list}");
    for n in 0..30 {
        put(&project, &format!(".hm/plugins/{n}.wasm"), format!("not wasm {n}").as_bytes());
    }
    let build = project.run(&["build", "--file", "ours.json"]).expect_code(0);
    assert!(build.stderr.ends_with("warning: 21 more about plugins: hm plugin list\n"), "{}", build.stderr);
}

#[test]
fn trust_is_in_the_bytes_and_can_be_taken_back() {
    let bytes = noisy(json!({"required_host_fns": ["hm_sandbox_exists"]}));
    let project = with(&bytes);
    let sha = digest(&bytes);
    let nobody = project.run(&["plugin", "trust", "greet"]).expect_code(2);
    assert!(
        nobody.stdout.contains("It asks to:\n  - ask whether the kept files of a sandbox are still there"),
        "{}",
        nobody.stdout
    );
    project.run(&["plugin", "trust", "greet", "--yes", "--pin", &"0".repeat(64)]).expect_code(5);
    project.run(&["build"]).expect_code(7);

    let trusted = project.run(&["plugin", "trust", "greet", "--yes", "--pin", &sha]).expect_code(0);
    assert!(trusted.stdout.contains("trusted greet: "), "{}", trusted.stdout);
    let build = project.run(&["build"]).expect_code(0);
    assert!(build.stderr.contains(CANARY), "{}", build.stderr);
    let info = super::info(&project, "greet");
    assert_eq!((&info["origin"], &info["functions"][0]["allowed"]), (&json!("project"), &json!(true)));
    let again = project.run(&["plugin", "trust"]).expect_code(0);
    assert_eq!(again.stdout, "greet 0.1.0 is trusted already\n");

    // Other bytes under the same name are somebody else.
    put(&project, ".hm/plugins/greet.wasm", &noisy(json!({"version": "0.2.0"})));
    let build = project.run(&["build"]).expect_code(7);
    assert!(build.stderr.contains("is not trusted") && !build.stderr.contains(CANARY), "{}", build.stderr);
    let wider =
        noisy(json!({"version": "0.2.0", "required_host_fns": ["hm_sandbox_exists", "hm_sandbox_exec"]}));
    put(&project, ".hm/plugins/greet.wasm", &wider);
    let asked = project.run(&["plugin", "trust"]).expect_code(2);
    assert!(
        asked.stdout.contains("What it asks to now, and did not before:\n  - run any command in a sandbox"),
        "{}",
        asked.stdout
    );

    let stays = format!(
        "greet 0.1.0, sha256 {sha}, is trusted already and stays so, too; hm plugin trust greet --revoke takes all back.\n"
    );
    assert!(asked.stdout.contains(&stays), "{}", asked.stdout);
    let mine = project.run(&["plugin", "remove", "greet"]).expect_code(5);
    assert_eq!(
        mine.stderr,
        "error: there is no plugin `greet` of yours\nhint: to take back the trust in it: hm plugin trust greet --revoke\n"
    );
    project.run(&["plugin", "trust", "--yes"]).expect_code(0);

    put(&project, ".hm/plugins/greet.wasm", &bytes);
    project.run(&["build"]).expect_code(0);
    let revoked = project.run(&["plugin", "trust", "greet", "--revoke"]).expect_code(0);
    assert_eq!(revoked.stdout, "greet is not trusted any more\n");
    for bytes in [&wider, &bytes] {
        put(&project, ".hm/plugins/greet.wasm", bytes);
        let build = project.run(&["build"]).expect_code(7);
        assert!(!build.stderr.contains(CANARY), "{}", build.stderr);
    }
    project.run(&["plugin", "trust", "greet", "--revoke"]).expect_code(5);
    let unknown = project.run(&["plugin", "trust", "nobody", "--yes"]).expect_code(5);
    assert_eq!(unknown.stderr, "error: this project has no plugin `nobody`\nhint: it has: greet\n");
}

#[test]
fn a_project_pins_and_cuts_but_never_grants() {
    let bytes = wasm(json!({"required_host_fns": ["hm_sandbox_exists"]}));
    let project = with(&bytes);
    let pin = |sha: &str, functions: &str| {
        project.write(
            ".hm/plugins.lock",
            &format!("[[plugin]]\nname = \"greet\"\nsha256 = \"{sha}\"\nfunctions = [{functions}]\n"),
        );
    };
    pin(&digest(&bytes), "\"hm_sandbox_exists\"");
    let build = project.run(&["build"]).expect_code(7);
    assert!(build.stderr.contains("is not trusted"), "a pin is no trust: {}", build.stderr);
    project.run(&["plugin", "trust", "--yes"]).expect_code(0);
    project.run(&["build"]).expect_code(0);
    pin(&digest(&bytes), "");
    let build = project.run(&["build"]).expect_code(6);
    assert!(build.stdout.contains("hm_sandbox_exists"), "{}", build.stdout);
    pin(&"1".repeat(64), "\"hm_sandbox_exists\"");
    let build = project.run(&["build"]).expect_code(7);
    assert!(
        build.stderr.contains("its bytes are not those that ")
            && build.stderr.contains(".hm/plugins.lock pins"),
        "{}",
        build.stderr
    );
    let refused = project.run(&["plugin", "trust", "greet", "--yes"]).expect_code(5);
    assert!(refused.stderr.contains("its bytes are not those that "), "{}", refused.stderr);
    project.write(".hm/plugins.lock", "nonsense");
    let build = project.run(&["build"]).expect_code(2);
    assert!(build.stderr.contains(".hm/plugins.lock is not a lock file of plugins"), "{}", build.stderr);
}

#[test]
fn the_same_bytes_twice_are_one_plugin() {
    let bytes = wasm(json!({"required_host_fns": ["hm_sandbox_exists"]}));
    let project = with(&bytes);
    put(&project, ".harmont/plugins/copy.wasm", &bytes);
    project.install(&bytes, &["--yes"]).expect_code(0);
    let list = project.run(&["plugin", "list"]).expect_code(0).stdout;
    assert_eq!(list.lines().filter(|line| line.starts_with("greet ")).count(), 1, "{list}");
    assert_eq!(super::info(&project, "greet")["origin"], "user");
    project.run(&["build"]).expect_code(0);
}

#[test]
fn a_plugin_from_elsewhere_does_not_take_over_what_another_of_its_name_was_granted() {
    let project = greet::project();
    let first = wasm(json!({"required_host_fns": ["hm_kv_get"]}));
    project.install(&first, &["--yes", "--grant", "keyring:shared"]).expect_code(0);
    let lock = project.lock();
    let other = wasm(json!({"required_host_fns": ["hm_kv_get"], "version": "0.0.1"}));
    let file = project.file("elsewhere.wasm", &other);
    let refused = project.run(&["plugin", "install", &file]).expect_code(2);
    assert!(refused.stdout.contains("It comes from elsewhere: "), "{}", refused.stdout);
    assert_eq!((project.installed("greet"), project.lock()), (Some(first), lock));
    project.run(&["plugin", "install", &file, "--yes"]).expect_code(0);
    assert!(!project.lock().contains("keyring:shared"), "{}", project.lock());
    // A new version in the same place goes on with what was granted.
    project.install(&wasm(json!({"required_host_fns": ["hm_kv_get"]})), &["--yes"]).expect_code(0);
    project
        .install(&wasm(json!({"required_host_fns": ["hm_kv_get"], "version": "0.1.1"})), &[])
        .expect_code(0);
}
