//! Directories and hosts of `allowed_hosts`: a plugin reaches what it asked for and was granted, and nothing beside it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::foreign_plugins::module;
use crate::support::{Project, Ran, exits, logs, step};

/// Answer of a runner, with room for an exit code of two digits at [`CODE_AT`].
const RESULT: &str = r#"{"exit_code":   ,"committed_snapshot":null,"artifacts":[]}"#;
const CODE_AT: usize = 14;

/// BADF: there is no such directory.
const NOT_THERE: i32 = 8;

/// A server on this machine that answers every request with these bytes, and counts who connects.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn answering(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (address, connections) =
            (listener.local_addr().expect("an address"), Arc::<AtomicUsize>::default());
        let (answer, count) = (answer.to_owned(), connections.clone());
        // It ends with the program.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                count.fetch_add(1, Ordering::SeqCst);
                let mut request = [0; 4096];
                // Whoever goes away early is answered no more.
                let _ = stream.read(&mut request);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { address, connections }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// The manifest of a plugin that runs steps.
pub(crate) fn manifest(name: &str, functions: &[&str], hosts: &[&str]) -> String {
    let runner = json!([{"kind": "step_executor", "runner": name, "default": false, "step_schema": null}]);
    json!({"api_version": 1, "name": name, "version": "0.1.0", "description": "", "config_schema": null,
           "required_host_fns": functions, "capabilities": runner, "allowed_hosts": hosts})
    .to_string()
}

/// A plugin that sends a request for each step, with a path, a query and a body that are nobody's business.
pub(crate) fn sender(name: &str, hosts: &[&str], server: SocketAddr) -> Vec<u8> {
    let request = json!({"url": format!("http://{server}/private-path?token=private-query"),
                         "headers": {"authorization": "private-header"}, "method": "POST"})
    .to_string();
    let result = RESULT.replace("   ", " 0");
    let imports = r#"(import "extism:host/env" "http_request" (func $http (param i64 i64) (result i64)))"#;
    let definitions = format!(
        r#"(data (i32.const 8192) "{}")
           (data (i32.const 12288) "{}")
           (data (i32.const 16384) "private-body")
           (func (export "hm_executor_run") (result i32)
             (drop (call $http (call $block (i32.const 8192) (i64.const {}))
                               (call $block (i32.const 16384) (i64.const 12))))
             (call $give (i32.const 12288) (i64.const {}))
             (i32.const 0))"#,
        request.replace('"', "\\22"),
        result.replace('"', "\\22"),
        request.len(),
        result.len()
    );
    module(&manifest(name, &[], hosts), imports, &definitions)
}

/// A plugin that opens `file` in its first directory for each step, and says what is in it; its exit code is WASI's.
/// `write` makes the file instead, and so does `read` answer what is in it.
fn reader(hosts: &[&str], write: bool) -> Vec<u8> {
    let imports = r#"
        (import "extism:host/user" "hm_emit_step_log" (func $say (param i64 i64)))
        (import "wasi_snapshot_preview1" "path_open"
          (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))"#;
    let (how, rights, act) = if write { (1, 64, "$write") } else { (0, 2, "$read") };
    let definitions = format!(
        r#"(data (i32.const 8192) "file")
           (data (i32.const 8200) "\22stdout\22")
           (data (i32.const 12288) "{}")
           (data (i32.const 20480) "written")
           (func $content (result i32) (local $answer i32)
             ;; A list of one buffer: where it is, and its length.
             (i32.store (i32.const 16384) (i32.const 20480))
             (i32.store (i32.const 16388) (i32.const {}))
             (local.set $answer (call $open (i32.const 3) (i32.const 1) (i32.const 8192) (i32.const 4)
               (i32.const {how}) (i64.const {rights}) (i64.const {rights}) (i32.const 0) (i32.const 16392)))
             (if (i32.eqz (local.get $answer)) (then
               (local.set $answer
                 (call {act} (i32.load (i32.const 16392)) (i32.const 16384) (i32.const 1) (i32.const 16396)))))
             (local.get $answer))
           (func (export "read") (result i32) (local $answer i32)
             (local.set $answer (call $content))
             (call $give (i32.const 20480) (i64.extend_i32_u (i32.load (i32.const 16396))))
             (local.get $answer))
           (func (export "hm_executor_run") (result i32) (local $answer i32)
             (local.set $answer (call $content))
             (if (i32.eqz (local.get $answer)) (then
               (call $say (call $block (i32.const 8200) (i64.const 8))
                 (call $block (i32.const 20480) (i64.extend_i32_u (i32.load (i32.const 16396)))))))
             (if (i32.ge_u (local.get $answer) (i32.const 10)) (then
               (i32.store8 (i32.const {}) (i32.add (i32.const 48) (i32.div_u (local.get $answer) (i32.const 10))))))
             (i32.store8 (i32.const {}) (i32.add (i32.const 48) (i32.rem_u (local.get $answer) (i32.const 10))))
             (call $give (i32.const 12288) (i64.const {}))
             (i32.const 0))"#,
        RESULT.replace('"', "\\22"),
        if write { 7 } else { 100 },
        12288 + CODE_AT - 1,
        12288 + CODE_AT,
        RESULT.len(),
    );
    module(&manifest("reader", &["hm_emit_step_log"], hosts), imports, &definitions)
}

/// Way on which the user came to have a plugin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Had {
    /// By putting its file into the directory: nothing is granted.
    Found,
    /// By installing it: what it asks for is granted.
    Installed,
    /// The same, and then the configuration denies this.
    Denied(&'static str),
}

/// A project with a step for each of these plugins.
pub(crate) fn project(plugins: &[(&str, Vec<u8>)], had: Had) -> Project {
    let steps: Vec<Value> = plugins
        .iter()
        .map(|(name, _)| {
            let mut step = step(&format!("with-{name}"), "true");
            step["runner"] = json!(name);
            step
        })
        .collect();
    let project = Project::with_steps(&json!(steps));
    let folder = project.config().join("plugins");
    fs::create_dir_all(&folder).expect("a directory");
    for (name, wasm) in plugins {
        let file = format!("{name}.wasm");
        if had == Had::Found {
            fs::write(folder.join(&file), wasm).expect("a plugin");
        } else {
            fs::write(project.home().join(&file), wasm).expect("a plugin");
            let path = project.home().join(&file);
            project.run(&["plugin", "install", path.to_str().expect("text"), "--yes"]).expect_code(0);
        }
        if let Had::Denied(entry) = had {
            let toml = format!("[plugin.{name}]\ndeny = [{entry:?}]\n");
            fs::write(project.config().join("plugins.toml"), toml).expect("a file");
        }
    }
    project
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";

/// Builds with the plugin that sends requests: whether its step came to a good end.
fn sent(hosts: &[&str], had: Had, server: SocketAddr) -> (bool, Ran) {
    let (ran, events) = project(&[("sender", sender("sender", hosts, server))], had).events(&[]);
    (exits(&events).get("with-sender") == Some(&0), ran)
}

#[test]
fn a_host_is_reached_if_it_was_asked_for_and_granted() {
    for (hosts, had, reached) in [
        (&["127.0.0.1"][..], Had::Installed, true),
        (&["127.0.0.1"], Had::Found, false),
        (&["127.0.0.1"], Had::Denied("127.0.0.1"), false),
        (&[], Had::Installed, false),
        (&["localhost", "*", "unix:/127.0.0.1", "dir:127.0.0.1"], Had::Installed, false),
    ] {
        let server = Server::answering(OK);
        let (good, ran) = sent(hosts, had, server.address);
        assert_eq!((good, server.connections() > 0), (reached, reached), "{hosts:?} {had:?}: {}", ran.stderr);
    }
}

#[test]
fn a_redirect_leads_to_no_other_host() {
    let canary = Server::answering(OK);
    let to_canary = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://localhost:{}/\r\nconnection: close\r\n\r\n",
        canary.address.port()
    );
    let server = Server::answering(&to_canary);
    let (good, _) = sent(&["127.0.0.1"], Had::Installed, server.address);
    assert_eq!((good, server.connections(), canary.connections()), (false, 1, 0));
    // With a grant for both it does.
    assert!(sent(&["127.0.0.1", "localhost"], Had::Installed, server.address).0);
    assert_eq!(canary.connections(), 1);
}

/// Builds with the plugin that opens a file: WASI's answer, and what it read.
fn opened(project: &Project) -> (Option<i32>, Vec<String>) {
    let (ran, events) = project.events(&[]);
    let read = logs(&events).remove("with-reader").unwrap_or_default();
    assert_eq!(ran.stderr, "");
    (exits(&events).remove("with-reader"), read)
}

#[test]
fn a_directory_is_there_if_it_was_asked_for_and_granted() {
    for (hosts, had, expected) in [
        (&["dir:docs"][..], Had::Installed, 0),
        (&["dir:docs"], Had::Found, NOT_THERE),
        (&["dir:docs"], Had::Denied("dir:docs"), NOT_THERE),
        (&[], Had::Installed, NOT_THERE),
        (&["dir:missing"], Had::Installed, NOT_THERE),
        // Nothing of these is a directory below the project.
        (&["dir:../project/docs", "dir:/docs", "dir:.", "docs"], Had::Installed, NOT_THERE),
        (&["dir+rw:docs"], Had::Installed, 0),
    ] {
        let project = project(&[("reader", reader(hosts, false))], had);
        project.write("docs/file", "what is in it");
        let read = if expected == 0 { vec!["what is in it".to_owned()] } else { Vec::new() };
        assert_eq!(opened(&project), (Some(expected), read), "{hosts:?} {had:?}");
        assert!(!project.path().join("missing").exists());
    }
}

#[test]
fn a_directory_is_written_only_where_that_was_granted_and_then_made() {
    // PERM, where it is there for reading.
    for (entry, had, expected) in [
        ("dir+rw:out/reports", Had::Installed, 0),
        ("dir+rw:out/reports", Had::Found, NOT_THERE),
        ("dir:out/reports", Had::Installed, NOT_THERE),
        ("dir:docs", Had::Installed, 63),
        // Whoever writes there has others run commands.
        ("dir+rw:.git", Had::Installed, NOT_THERE),
        ("dir+rw:.hm/hooks", Had::Installed, NOT_THERE),
    ] {
        let project = project(&[("reader", reader(&[entry], true))], had);
        fs::create_dir(project.path().join("docs")).expect("a directory");
        assert_eq!(opened(&project).0, Some(expected), "{entry} {had:?}");
        let file = project.path().join("out/reports/file");
        assert_eq!(fs::read_to_string(&file).ok().as_deref(), (expected == 0).then_some("written"));
        assert_eq!(project.path().join("out").exists(), expected == 0, "{entry} {had:?}");
        assert!(!project.path().join("docs/file").exists());
    }
}

#[test]
fn a_link_that_leads_out_is_no_directory() {
    for (entry, write) in [("dir:docs", false), ("dir+rw:docs", true), ("dir+rw:docs/new", true)] {
        let project = project(&[("reader", reader(&[entry], write))], Had::Installed);
        fs::write(project.home().join("file"), "canary").expect("a file");
        symlink("../home", project.path().join("docs")).expect("a link");
        let (_, events) = project.events(&[]);
        assert_eq!(exits(&events).remove("with-reader"), Some(NOT_THERE), "{entry}");
        assert_eq!(fs::read_to_string(project.home().join("file")).expect("a file"), "canary");
        assert!(!project.home().join("new").exists());
        let ran = project.run(&["build"]);
        let warning = format!("warning: plugin reader: {entry} cannot be opened: ");
        assert!(ran.stderr.contains(&warning), "{}", ran.stderr);
    }
}

#[test]
fn a_link_in_the_project_does_not_make_another_directory_of_a_granted_one() {
    for (entry, write) in [("dir:docs", false), ("dir+rw:docs", true), ("dir+rw:docs/new", true)] {
        let project = project(&[("reader", reader(&[entry], write))], Had::Installed);
        project.write(".git/file", "canary");
        symlink(".git", project.path().join("docs")).expect("a link");
        let (_, events) = project.events(&[]);
        assert_eq!(exits(&events).remove("with-reader"), Some(NOT_THERE), "{entry}");
        assert_eq!(fs::read_to_string(project.path().join(".git/file")).expect("a file"), "canary");
        assert!(!project.path().join(".git/new").exists());
    }
}

#[test]
fn plugin_call_opens_directories_below_the_current_one() {
    let project = Project::new();
    project.write("docs/file", "what is in it");
    fs::write(project.path().join("reader.wasm"), reader(&[], false)).expect("a file");
    let read = ["plugin", "call", "reader.wasm", "read"];
    let ran = project.run(&[&read[..], &["--allow-host", "dir:docs"]].concat()).expect_code(0);
    assert_eq!(ran.stdout, "what is in it");
    for others in [&[][..], &["--allow-host", "dir:other"]] {
        let ran = project.run(&[&read[..], others].concat()).expect_code(6);
        assert!(ran.stderr.contains("returned code 8"), "{}", ran.stderr);
    }
}
