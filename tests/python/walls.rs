//! What files in Python cannot do while they are rendered, whatever they try; with namespaces and without.

use std::fs;
use std::net::TcpListener;

use hm_step_sandbox::Mode;

use super::lab::{NEW, environment, render};
use crate::support::Project;

/// Tries what it must not be able to, and says what worked in the name of the pipeline.
const FILE: &str = r#"
import os, socket, subprocess
import harmont as hm

worked = []

def attempt(name, what):
    try:
        what()
        worked.append(name)
    except OSError:
        pass

def connect():
    socket.create_connection(("127.0.0.1", PORT), timeout=5).close()

def write(path):
    with open(path, "w") as file:
        file.write("x")

here = os.path.dirname(os.path.abspath(__file__))
attempt("connect", connect)
attempt("beside", lambda: write(os.path.join(here, "new.txt")))
attempt("over", lambda: write(__file__))
attempt("remove", lambda: os.remove(os.path.join(os.getcwd(), "file.txt")))
attempt("mode", lambda: os.mkdir("made"))
try:
    # With namespaces this is in a /tmp of its own.
    write("PROJECT/new.txt")
except OSError:
    pass
attempt("environment", lambda: write("PROJECT/.venv/new.txt"))
attempt("secret", lambda: open("HOME/canary").read())
attempt("cache", lambda: write("HOME/cache/new.txt"))
# What is its own.
write(os.path.join(os.environ["HOME"], "mine"))
subprocess.run(["sh", "-c", "echo from a program; cat file.txt"], check=True)
variables = [name for name in os.environ if name not in ("CI", "GIT_OPTIONAL_LOCKS", "HOME", "PATH", "PWD", "TMPDIR", "USER", "LC_CTYPE")]

@hm.pipeline("ok" + "-".join([""] + worked + variables).lower())
def ok():
    return hm.sh("true")
"#;

async fn is_held(mode: Mode) {
    let project = Project::new();
    let Some(_) = environment(&project.path().join(".venv"), Some(NEW)) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("mine");
    let port = listener.local_addr().expect("bound").port();
    fs::write(project.home().join("canary"), "secret").expect("a file");
    project.write("file.txt", "content of the file\n");
    let file = FILE
        .replace("PORT", &port.to_string())
        .replace("PROJECT", &project.path().display().to_string())
        .replace("HOME/", &format!("{}/", project.home().display()));
    project.write(".hm/ci.py", &file);
    let listing = || {
        let list = std::process::Command::new("find")
            .arg(project.path())
            .args(["-printf", "%p %s %T@ %m\n"])
            .output();
        let text = String::from_utf8(list.expect("find").stdout).expect("text");
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let before = listing();
    let Some(rendered) = render(&project, mode).await else { return };
    let slugs: Vec<_> = rendered.pipelines.expect("rendered").into_iter().map(|one| one.slug).collect();
    assert_eq!(slugs, ["ok"], "nothing worked and no other variable is there: {}", rendered.printed);
    assert_eq!(rendered.printed, "from a program\ncontent of the file");
    assert!(listener.accept().is_err(), "somebody has connected");
    assert_eq!(listing(), before, "the project is as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_holds_in_namespaces() {
    is_held(Mode::Namespaces).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_holds_without_namespaces() {
    is_held(Mode::Fallback).await;
}
