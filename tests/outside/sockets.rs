//! Unix sockets: a plugin talks to a real server at the path that it was granted, and to nobody else.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;

use serde_json::json;

use super::{granted, strs};
use crate::support::Project;

/// A server that nobody may reach.
struct Canary(UnixListener);

impl Canary {
    fn at(path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("a socket");
        listener.set_nonblocking(true).expect("a socket");
        Self(listener)
    }

    #[track_caller]
    fn untouched(&self) {
        assert!(self.0.accept().is_err(), "somebody has connected");
    }
}

#[test]
fn a_plugin_talks_to_the_server_that_it_was_granted() {
    let project = Project::new();
    let path = project.path().join("server.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut question = [0; 4];
        stream.read_exact(&mut question).expect("a question");
        stream.write_all(&question.map(|byte| byte.to_ascii_uppercase())).expect("an answer");
        // Nothing but its end of the connection is closed.
        stream.shutdown(std::net::Shutdown::Write).expect("a socket");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("the end");
        rest
    });
    let (write, read) =
        (json!({"h": 1, "bytes": b"ping"}).to_string(), json!({"h": 1, "max": u64::MAX}).to_string());
    let path = path.to_str().expect("a path");
    let calls = [
        ("hm_unix_socket_connect", path.as_bytes(), true),
        ("hm_socket_write", write.as_bytes(), true),
        ("hm_socket_read", read.as_bytes(), true),
    ];
    let args = granted(&project, "guest.wasm", "go", &calls);
    let reach = format!("unix:{path}");
    let ran = project.run(&strs(&args, &["--allow-host", &reach])).expect_code(0);
    assert_eq!(ran.stdout, "PING");
    assert_eq!(server.join().expect("no panic"), b"");
}

#[test]
fn no_other_path_is_reached() {
    let project = Project::new();
    let dir = project.path();
    std::fs::create_dir(dir.join("real")).expect("a directory");
    let canary = Canary::at(&dir.join("real/docker.sock"));
    let allowed = dir.join("allowed.sock");
    std::os::unix::fs::symlink(dir.join("real/docker.sock"), &allowed).expect("a link");
    std::os::unix::fs::symlink(dir.join("real"), dir.join("linked")).expect("a link");
    let path = |name: &str| dir.join(name).to_str().expect("a path").to_owned();
    for (named, reach, error) in [
        // Not granted; granted, but spelled in another way.
        (path("real/docker.sock"), None, "is not a socket that it asked for and was granted"),
        (path("real/docker.sock"), Some(path("real")), "is not a socket that it asked for and was granted"),
        (
            path("real/../real/docker.sock"),
            Some(path("real/docker.sock")),
            "is not a socket that it asked for",
        ),
        (path("real//docker.sock"), Some(path("real/docker.sock")), "is not a socket that it asked for"),
        (path("real/docker.sock/"), Some(path("real/docker.sock")), "is not a socket that it asked for"),
        ("real/docker.sock".into(), Some(path("real/docker.sock")), "is not a socket that it asked for"),
        // Granted, but links that somebody has made lead to another.
        (path("allowed.sock"), Some(path("allowed.sock")), "is a symbolic link"),
        (path("linked/docker.sock"), Some(path("linked/docker.sock")), "is a symbolic link"),
    ] {
        let args =
            granted(&project, "guest.wasm", "go", &[("hm_unix_socket_connect", named.as_bytes(), true)]);
        let reach: Vec<String> =
            reach.iter().flat_map(|path| ["--allow-host".into(), format!("unix:{path}")]).collect();
        let ran = project.run(&strs(&args, &strs(&reach, &[]))).expect_code(6);
        assert!(ran.stderr.contains(error), "{named}: {}", ran.stderr);
        canary.untouched();
    }
    // The path is granted, and the function is not.
    let target = path("real/docker.sock");
    std::fs::write(
        dir.join("guest.wasm"),
        super::guest(&[("hm_unix_socket_connect", target.as_bytes(), true)]),
    )
    .expect("a file");
    let reach = format!("unix:{target}");
    project.run(&["plugin", "call", "guest.wasm", "go", "--allow-host", &reach]).expect_code(6);
    canary.untouched();
}

#[test]
fn a_server_that_says_nothing_ends_at_the_deadline_and_too_much_is_refused() {
    let project = Project::new();
    let path = project.path().join("silent.sock");
    let _silent = Canary::at(&path);
    let path = path.to_str().expect("a path");
    let reach = format!("unix:{path}");
    let connect = ("hm_unix_socket_connect", path.as_bytes(), true);
    let run = |calls: &[super::Call<'_>], timeout: &str| {
        let args = granted(&project, "guest.wasm", "go", calls);
        project.run(&strs(&args, &["--allow-host", &reach, "--timeout", timeout])).expect_code(6).stderr
    };
    let error = run(&[connect, ("hm_socket_read", br#"{"h":1,"max":10}"#, true)], "1000");
    assert!(error.contains("the call took longer than"), "{error}");
    let error = run(&[connect; 17], "30000");
    assert!(error.contains("open sockets of an instance"), "{error}");
    let error = run(&[connect, ("hm_socket_read", br#"{"h":2,"max":10}"#, true)], "30000");
    assert!(error.contains("there is no open socket 2"), "{error}");
    let close = ("hm_socket_close", b"1".as_slice(), false);
    let error = run(&[connect, close, close, ("hm_socket_read", br#"{"h":1,"max":10}"#, true)], "30000");
    assert!(error.contains("there is no open socket 1"), "{error}");
    let large = json!({"h": 1, "bytes": vec![0; (1 << 20) + 1]}).to_string();
    let error = run(&[connect, ("hm_socket_write", large.as_bytes(), true)], "30000");
    assert!(error.contains("bytes of one hm_socket_write"), "{error}");
}
