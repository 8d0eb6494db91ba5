//! Runner plugins that call `hm_docker_*` with what is not theirs, although they were granted these functions: the
//! containers and images of others stay as they are, and cannot be looked into.

use std::fmt::Write;
use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use super::lab::{BUSYBOX, Engine, in_image, root};
use crate::caching::{Built, forever};
use crate::foreign_plugins::module;
use crate::reach::manifest;
use crate::support::{Project, Ran, Running, child, step, wait_until};

/// Stands for the id of the container that the plugin has started.
const OWN: &str = "@own@";

/// Offsets at which the plugin keeps that id, puts arguments together, and has the texts that those are made of.
const PLACES: (usize, usize, usize) = (4096, 8192, 24576);

/// The functions that it may call, and whether they answer.
const FUNCTIONS: [(&str, bool); 9] = [
    ("hm_docker_image_exists", true),
    ("hm_docker_pull", false),
    ("hm_docker_start_container", true),
    ("hm_docker_extract_workspace", false),
    ("hm_docker_exec", true),
    ("hm_docker_artifacts", true),
    ("hm_docker_commit", true),
    ("hm_docker_remove_image", false),
    ("hm_docker_stop_remove", false),
];

/// A call of a host function with this text, in which [`OWN`] is replaced.
type Call = (&'static str, String);

/// A plugin whose step makes these calls in turn, and exits with 0 if all of them return.
fn plugin(calls: &[Call]) -> Vec<u8> {
    let (id, argument, mut at) = PLACES;
    let mut imports = r#"(import "extism:host/env" "length" (func $length (param i64) (result i64)))
        (import "extism:host/env" "load_u8" (func $load (param i64) (result i32)))"#
        .to_owned();
    for (name, answers) in FUNCTIONS {
        let result = if answers { "(result i64)" } else { "" };
        let _ =
            write!(imports, r#"(import "extism:host/user" "{name}" (func ${name} (param i64) {result}))"#);
    }
    let (mut data, mut body) = (String::new(), String::new());
    for (name, text) in calls {
        body.push_str("(global.set $end (i32.const 0))");
        for (index, part) in text.split(OWN).enumerate() {
            if index > 0 {
                let _ = write!(body, "(call $put (i32.const {id}) (global.get $id_length))");
            }
            let bytes: String = part.bytes().map(|byte| format!("\\{byte:02x}")).collect();
            let _ = write!(data, r#"(data (i32.const {at}) "{bytes}")"#);
            let _ = write!(body, "(call $put (i32.const {at}) (i32.const {}))", part.len());
            at += part.len();
        }
        let call = format!(
            "(call ${name} (call $block (i32.const {argument}) (i64.extend_i32_u (global.get $end))))"
        );
        let _ = match *name {
            "hm_docker_start_container" => write!(body, "(call $remember {call})"),
            name if FUNCTIONS.contains(&(name, true)) => write!(body, "(drop {call})"),
            _ => write!(body, "{call}"),
        };
    }
    let result = r#"{"exit_code":0,"committed_snapshot":null,"artifacts":[]}"#;
    let definitions = format!(
        r#"(global $end (mut i32) (i32.const 0))
           (global $id_length (mut i32) (i32.const 0))
           {data}
           (data (i32.const {at}) "{}")
           (func $put (param $from i32) (param $length i32)
             (memory.copy (i32.add (i32.const {argument}) (global.get $end)) (local.get $from) (local.get $length))
             (global.set $end (i32.add (global.get $end) (local.get $length))))
           (func $remember (param $block i64) (local $i i32)
             (global.set $id_length (i32.wrap_i64 (call $length (local.get $block))))
             (loop $next
               (i32.store8 (i32.add (i32.const {id}) (local.get $i))
                 (call $load (i64.add (local.get $block) (i64.extend_i32_u (local.get $i)))))
               (br_if $next
                 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (global.get $id_length)))))
           (func (export "hm_executor_run") (result i32)
             {body}
             (call $give (i32.const {at}) (i64.const {}))
             (i32.const 0))"#,
        result.replace('"', "\\22"),
        result.len()
    );
    let asked = FUNCTIONS.map(|(name, _)| name);
    module(&manifest("hostile", &asked, &[]), &imports, &definitions)
}

/// End of a build with a step of this plugin, to which all that it asks for is granted.
fn run(engine: &Engine, calls: &[Call]) -> Ran {
    run_beside(engine, calls, &[], &[])
}

/// The same, with further steps, and further arguments.
fn run_beside(engine: &Engine, calls: &[Call], others: &[Value], args: &[&str]) -> Ran {
    let mut hostile = step("hostile", "true");
    hostile["runner"] = json!("hostile");
    let project = engine.reached_from(Project::with_steps(&json!([&[hostile], others].concat())));
    let file = project.home().join("hostile.wasm");
    fs::write(&file, plugin(calls)).expect("a plugin");
    project.run(&["plugin", "install", file.to_str().expect("text"), "--yes"]).expect_code(0);
    project.run(&[&["build", "--format", "json"], args].concat())
}

fn start(image: &str) -> Call {
    start_with(image, "/workspace", &json!({}))
}

/// The same, with further fields.
fn start_with(image: &str, workdir: &str, more: &Value) -> Call {
    let mut args = json!({"image": image, "env": {}, "workdir": workdir, "name_hint": "../../x y\n\"'"});
    args.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    ("hm_docker_start_container", args.to_string())
}

fn exec(container: &str, cmd: &[&str]) -> Call {
    let args =
        json!({"container_id": container, "cmd": cmd, "env": {}, "workdir": "/", "stdin_archive_id": null});
    ("hm_docker_exec", args.to_string())
}

fn commit(container: &str, tag: &str) -> Call {
    ("hm_docker_commit", json!({"container_id": container, "tag": tag}).to_string())
}

#[test]
fn the_plugin_of_these_tests_can_do_what_is_its_own() {
    let Some(engine) = Engine::get() else { return };
    let calls = [
        start(BUSYBOX),
        exec(OWN, &["sh", "-c", "echo it runs"]),
        commit(OWN, "mine:1"),
        ("hm_docker_remove_image", "mine:1".into()),
        ("hm_docker_stop_remove", OWN.into()),
    ];
    let without_saving = [&calls[..2], &calls[4..]].concat();
    let ran = run(engine, &without_saving).expect_code(0);
    assert!(ran.stdout.contains("it runs"), "{}", ran.stdout);
    assert!(!engine.has("mine:1"));
}

#[test]
fn containers_of_others_are_out_of_reach() {
    let Some(engine) = Engine::get() else { return };
    let unique = uuid::Uuid::new_v4().simple().to_string();
    let name = format!("hm-{}-1-victim", &unique[..8]);
    let id = engine.foreign_container(&name, &[]);
    let project = engine.project(&json!([root("victim", "echo secret > /secret; sleep 8870001")]));
    let mut build = project.hm(&["build"]);
    build.stdout(Stdio::null()).stderr(Stdio::null());
    let build = Running::start(build);
    let secret = |container: &str| engine.try_docker(&["exec", container, "cat", "/secret"]);
    let mut of_build = Vec::new();
    wait_until("the other build runs", || {
        of_build = engine.running(build.0.id());
        of_build.first().is_some_and(|container| secret(container).is_ok())
    });
    let relative = format!("{OWN}/../{name}");
    for victim in [&name, &id, &of_build[0], &relative] {
        let extract = json!({"container_id": victim, "archive_id": uuid::Uuid::nil(), "workdir": "/"});
        let artifacts = json!({"container_id": victim, "paths": ["**"], "workdir": "/"});
        let calls: [Call; 5] = [
            exec(victim, &["rm", "-rf", "/bin/sleep", "/secret"]),
            commit(victim, "stolen:1"),
            ("hm_docker_stop_remove", victim.clone()),
            ("hm_docker_extract_workspace", extract.to_string()),
            ("hm_docker_artifacts", artifacts.to_string()),
        ];
        for call in calls {
            let what = call.0;
            let ran = run(engine, &[start(BUSYBOX), call]).expect_code(6);
            assert!(ran.stdout.contains(what), "{what} of {victim}: {}", ran.stdout);
        }
    }
    for victim in [&id, &of_build[0]] {
        assert_eq!(engine.inspect(victim)["State"]["Running"], true);
        engine.docker(&["exec", victim, "/bin/sleep", "0"]);
    }
    assert_eq!(secret(&of_build[0]).as_deref(), Ok("secret"));
    assert!(!engine.has("stolen:1"));
    engine.docker(&["rm", "-f", &id]);
}

#[test]
fn images_of_others_are_not_removed_replaced_or_looked_into() {
    let Some(engine) = Engine::get() else { return };
    let other = engine.project(&json!([forever(root("root", "echo secret > /secret"))]));
    Built::of(&other, &[]).expect("", "root");
    let list = other.run(&["cache", "list", "--json"]).expect_code(0).stdout;
    let list: Value = serde_json::from_str(&list).expect("JSON");
    let kept = list["results"][0]["tag"].as_str().expect("a tag").to_owned();
    let images = [BUSYBOX.to_owned(), kept.clone()];
    let ids = || images.each_ref().map(|image| engine.inspect(image)["Id"].clone());
    let before = ids();

    for image in &images {
        run(engine, &[("hm_docker_remove_image", image.clone())]).expect_code(6);
        // What it calls a state of its own never gets to the engine.
        run(engine, &[start(BUSYBOX), exec(OWN, &["touch", "/evil"]), commit(OWN, image)]);
        run(engine, &[start(BUSYBOX), commit(OWN, image), ("hm_docker_remove_image", image.clone())]);
        assert_eq!(ids(), before, "{image}");
    }
    for before in
        ["", "library/", "docker.io/library/", "index.docker.io/library/", "docker.io/", "localhost/"]
    {
        let name = format!("{before}{kept}");
        let ran = run(engine, &[start(&name), exec(OWN, &["cat", "/secret"])]);
        assert!(ran.code != Some(0) && !ran.stdout.contains("\"secret\""), "{name}: {}", ran.stdout);
    }
    assert_eq!(ids(), before);
    Built::of(&other, &[]).expect("root", "");
    other.run(&["cache", "clear"]).expect_code(0);
}

#[test]
fn a_state_does_not_become_what_other_steps_call_their_image() {
    let Some(engine) = Engine::get() else { return };
    let id = engine.inspect(BUSYBOX)["Id"].as_str().expect("an id").to_owned();
    for image in [BUSYBOX, &format!("docker.io/{BUSYBOX}"), &id] {
        let calls =
            [start(BUSYBOX), exec(OWN, &["sh", "-c", "echo x > /evil; echo made"]), commit(OWN, image)];
        let victim = in_image(image, "victim", "test -e /evil && echo evil || echo fine");
        // What nobody builds in is not saved; and who builds in it does the same once more.
        let others = [child("child", "hostile", "true"), victim];
        let ran = run_beside(engine, &calls, &others, &["-j1", "--keep-going"]);
        let lines = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("an event"));
        let said: Vec<_> = lines.filter_map(|event| Some(event["line"].as_str()?.to_owned())).collect();
        assert_eq!(said, ["made", "made", "fine"], "{image}: {}", ran.stdout);
    }
}

#[test]
fn names_are_names_and_not_ways_to_other_parts_of_the_engine() {
    let Some(engine) = Engine::get() else { return };
    let unique = uuid::Uuid::new_v4().simple().to_string();
    let victim = format!("hm-test-{unique}");
    engine.foreign_container(&victim, &[]);
    for name in [
        format!("../containers/{victim}"),
        format!("../containers/{victim}/json?x="),
        format!("{BUSYBOX}/get?x="),
        format!("{BUSYBOX}/json#"),
        format!("{BUSYBOX}?x"),
        "..".to_owned(),
        "../info?".to_owned(),
        "%2e%2e/containers/json".to_owned(),
        String::new(),
        "-".to_owned(),
        "a b".to_owned(),
        "two\nlines".to_owned(),
        "x".repeat(10_000),
        "ü:1".to_owned(),
    ] {
        for call in [start(&name), ("hm_docker_pull", name.clone())] {
            let function = call.0;
            let ran = run(engine, &[call]);
            assert!(ran.code == Some(4), "{function} {name:?}: {:?} {}", ran.code, ran.stdout);
        }
        // It may say no, or refuse to answer.
        let asked = run(engine, &[("hm_docker_image_exists", name.clone())]);
        assert!([Some(0), Some(4)].contains(&asked.code), "{name:?}: {}", asked.stdout);
        assert!(
            asked.stdout.len() < 30_000 && !asked.stdout.contains(&unique[..]) || name.contains(&unique),
            "{name:?}"
        );
    }
    assert_eq!(engine.inspect(&victim)["State"]["Running"], true);
    engine.docker(&["rm", "-f", &victim]);
}

#[test]
fn a_plugin_cannot_give_itself_more_rights_or_strange_places() {
    let Some(engine) = Engine::get() else { return };
    let probe = "mkdir /mnt; mount -t tmpfs none /mnt 2>/dev/null && echo mounted; ls /host; id -u";
    let more = json!({"privileged": true, "binds": ["/:/host"], "user": "0", "cap_add": ["ALL"],
        "HostConfig": {"Privileged": true, "Binds": ["/:/host"]}});
    let ran = run(engine, &[start_with(BUSYBOX, "/workspace", &more), exec(OWN, &["sh", "-c", probe])]);
    assert!(!ran.stdout.contains("\"mounted\""), "{}", ran.stdout);
    assert!(!ran.stdout.contains("\"proc\""), "{}", ran.stdout);
    for workdir in ["", "relative", "../..", "/a/../../../etc", "/two\nlines", "/\u{0}"] {
        // Whatever comes of it comes to an end.
        let calls = [start_with(BUSYBOX, workdir, &json!({})), exec(OWN, &["sh", "-c", "pwd"])];
        let ran = run(engine, &calls);
        assert!([Some(0), Some(4)].contains(&ran.code), "{workdir:?}: {}", ran.stdout);
    }
}
