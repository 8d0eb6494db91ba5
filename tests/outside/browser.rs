//! Logging in through a browser: pages that are opened and pages that are not, with a program that stands in for a
//! browser; and the whole way, with a real one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{granted, strs};
use crate::support::{Project, free_port, installed, ran};

/// A program that opens pages, as `$BROWSER` names it.
fn browser(project: &Project, script: &str) -> PathBuf {
    let path = project.home().join("browser");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("executable");
    path
}

#[test]
fn pages_are_opened_as_one_argument_and_nothing_else_is() {
    let project = Project::new();
    let path = browser(&project, "printf '%s\\n' \"$#\" \"$@\" >> \"$0.opened\"");
    let log = project.home().join("browser.opened");
    for (url, opened) in [
        (
            "https://a.example/?code=1&x=$(touch${IFS}pwned)#;id",
            Some("https://a.example/?code=1&x=$(touch${IFS}pwned)#;id"),
        ),
        ("http://127.0.0.1:1/", Some("http://127.0.0.1:1/")),
        ("http://a.example/", None),
        ("https://user:password@a.example/", None),
        ("file:///etc/passwd", None),
        ("--new-window", None),
    ] {
        let args = granted(&project, "guest.wasm", "go", &[("hm_browser_open", url.as_bytes(), true)]);
        let ran = ran(project.hm(&strs(&args, &[])).env("BROWSER", &path).output().expect("hm starts"));
        let seen = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(&log);
        match opened {
            Some(page) => {
                let ran = ran.expect_code(0);
                assert_eq!(ran.stdout.as_bytes(), 1_u32.to_le_bytes());
                assert_eq!(seen, format!("1\n{page}\n"));
                // What may be a secret is not said.
                assert!(
                    ran.stderr.contains(": opens http") && !ran.stderr.contains("code=1"),
                    "{}",
                    ran.stderr
                );
            }
            None => {
                let ran = ran.expect_code(6);
                assert!(ran.stderr.contains("hm_browser_open: "), "{}", ran.stderr);
                assert_eq!(seen, "", "{url} was opened");
            }
        }
    }
    assert!(!project.path().join("pwned").exists());
}

#[test]
fn where_there_is_no_browser_that_is_no_error() {
    let project = Project::new();
    let args = granted(&project, "guest.wasm", "go", &[("hm_browser_open", b"https://a.example/", true)]);
    let ran = project.run(&strs(&args, &[])).expect_code(0);
    assert_eq!(ran.stdout.as_bytes(), 0_u32.to_le_bytes());
}

#[test]
fn a_guest_opens_only_so_many_pages_and_one_server() {
    let project = Project::new();
    let path = browser(&project, "echo >> \"$0.opened\"");
    let args = granted(
        &project,
        "guest.wasm",
        "go",
        &[("hm_browser_open", b"https://a.example/".as_slice(), true); 9],
    );
    let ran =
        ran(project.hm(&strs(&args, &[])).env("BROWSER", &path).output().expect("hm starts")).expect_code(6);
    assert!(ran.stderr.contains("pages opened by an instance"), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(project.home().join("browser.opened")).expect("a log").len(), 8);

    let args = granted(&project, "guest.wasm", "go", &[("hm_spawn_loopback", b"null".as_slice(), true); 2]);
    let ran = project.run(&strs(&args, &[])).expect_code(6);
    assert!(ran.stderr.contains("callback servers of an instance"), "{}", ran.stderr);
}

#[test]
fn waiting_for_ever_ends_at_the_deadline() {
    let project = Project::new();
    let port = free_port();
    let port = port.to_string();
    let receive = json!({"h": port.parse::<u16>().expect("a port"), "timeout_ms": u32::MAX}).to_string();
    let spawn = ("hm_spawn_loopback", port.as_bytes(), true);
    let args =
        granted(&project, "guest.wasm", "go", &[spawn, ("hm_loopback_recv", receive.as_bytes(), true)]);
    let ran = project.run(&strs(&args, &["--timeout", "1000"])).expect_code(6);
    assert!(ran.stderr.contains("the call took longer than"), "{}", ran.stderr);
    // And what has not come in time is null.
    let receive = receive.replace(&u32::MAX.to_string(), "10");
    let args =
        granted(&project, "guest.wasm", "go", &[spawn, ("hm_loopback_recv", receive.as_bytes(), true)]);
    assert_eq!(project.run(&strs(&args, &[])).expect_code(0).stdout, "null");
    // Only its own server.
    let other = receive.replace(&port, "1");
    let args = granted(&project, "guest.wasm", "go", &[spawn, ("hm_loopback_recv", other.as_bytes(), true)]);
    let ran = project.run(&strs(&args, &[])).expect_code(6);
    assert!(ran.stderr.contains("there is no callback server 1"), "{}", ran.stderr);
}

#[test]
fn a_real_browser_brings_the_callback() {
    if !installed(&["chromium"]) {
        return;
    }
    let project = Project::new();
    let path = browser(
        &project,
        "exec chromium --headless --no-sandbox --disable-gpu --user-data-dir=\"$0.profile\" --dump-dom \"$1\" > \"$0.dom\"",
    );
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/cb?code=s%26cret&state=1");
    let port = port.to_string();
    let receive = json!({"h": port.parse::<u16>().expect("a port"), "timeout_ms": 120_000}).to_string();
    let calls = [
        ("hm_spawn_loopback", port.as_bytes(), true),
        ("hm_browser_open", url.as_bytes(), true),
        ("hm_loopback_recv", receive.as_bytes(), true),
    ];
    let args = granted(&project, "guest.wasm", "go", &calls);
    let mut hm = project.hm(&strs(&args, &["--timeout", "120000"]));
    let ran = ran(hm.env("BROWSER", &path).output().expect("hm starts")).expect_code(0);
    let callback: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(callback, json!({"path": "/cb", "query": {"code": "s&cret", "state": "1"}}));
}
