//! What a stranger's project gets to see by what it has where an environment is expected: links and words that lead to
//! other places of the user. Nothing of them is shown, in the sandbox that the interpreter runs in.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::lab::{NEW, environment, python};
use crate::support::Project;

/// Tries to read a file and to connect to a socket at each of these places, and says what worked.
const FILE: &str = r#"
import os, socket
import harmont
worked = []
for place in (PLACES):
    try:
        worked.append(open(os.path.join(place, "canary")).read())
    except OSError:
        pass
    try:
        socket.socket(socket.AF_UNIX).connect(os.path.join(place, "socket"))
        worked.append("socket")
    except OSError:
        pass
raise ValueError("worked: %r" % worked)
"#;

/// A directory of the user with a file and a socket that somebody listens on.
struct Kept {
    at: PathBuf,
    listener: UnixListener,
}

impl Kept {
    fn new(project: &Project) -> Self {
        let at = project.home().join("kept");
        fs::create_dir(&at).expect("a directory");
        fs::write(at.join("canary"), "the canary").expect("a file");
        let listener = UnixListener::bind(at.join("socket")).expect("a socket");
        listener.set_nonblocking(true).expect("mine");
        Self { at, listener }
    }

    #[track_caller]
    fn was_left_alone(&self) {
        let error = self.listener.accept().expect_err("somebody has connected");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
}

fn program(path: &Path) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    fs::write(path, "#!/bin/sh\ncat \"$HOME\"/*\n").expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("mine");
}

/// Puts links in the place of parts of an environment, and asks what is behind them.
fn links_show_nothing(links: &[&str], program: impl FnOnce(&Path, &Path, &Path)) {
    let project = Project::new();
    let venv = project.path().join(".venv");
    let Some(python) = environment(&venv, Some(NEW)) else { return };
    let python = python.canonicalize().expect("a Python");
    let kept = Kept::new(&project);
    program(&python, &venv, &kept.at);
    for link in links {
        let _ = fs::remove_file(venv.join(link));
        symlink(&kept.at, venv.join(link)).expect("a link");
    }
    // Of the environment itself, a socket is not shown either.
    let of_environment = UnixListener::bind(venv.join("socket")).expect("a socket");
    of_environment.set_nonblocking(true).expect("mine");
    let places = links.iter().chain([&""]).map(|place| venv.join(place)).chain([kept.at.clone()]);
    let places: Vec<_> = places.map(|place| format!("{:?},", place.display().to_string())).collect();
    project.write(".hm/ci.py", &FILE.replace("PLACES", &places.concat()));
    let said = project.run(&["plan"]).expect_code(7).stderr;
    assert!(said.contains("worked: []"), "{said}");
    kept.was_left_alone();
    assert!(of_environment.accept().is_err(), "somebody has connected");
}

#[test]
fn links_in_an_environment_with_a_program_of_its_own_show_nothing() {
    links_show_nothing(&["share", "lib64", "lib/kept"], |python, venv, _| {
        let own = venv.join("bin/python3");
        fs::remove_file(&own).expect("a link");
        fs::copy(python, &own).expect("a copy");
    });
}

#[test]
fn links_in_an_environment_with_its_programs_elsewhere_show_nothing() {
    links_show_nothing(&["share", "lib64", "lib/kept", "bin"], |python, venv, kept| {
        symlink(python, kept.join("python3")).expect("a link");
        fs::remove_dir_all(venv.join("bin")).expect("mine");
    });
}

#[test]
fn what_only_looks_like_a_python_is_refused() {
    let (of_user, version) = python();
    let bin = of_user.canonicalize().expect("there").parent().expect("a directory").display().to_string();
    let above = format!("{bin}/../bin");
    let (local, tool) = ("../../../home/.local/bin", "../../../home/.local/bin/tool");
    for (python, home) in [
        // A program of its own, with an empty library, and odd places that it says to be from.
        (None, "/nowhere"),
        (None, "/proc/self/cwd/.venv/bin"),
        (None, local),
        (None, &above),
        (Some(tool), "/usr/bin"),
        (Some("../../../home/kept/python3"), "/usr/bin"),
    ] {
        let project = Project::new();
        let kept = Kept::new(&project);
        program(&kept.at.join("python3"));
        program(&project.home().join(".local/bin/tool"));
        fs::create_dir_all(project.home().join(".local/share/keyrings")).expect("a directory");
        let venv = project.path().join(".venv");
        fs::create_dir_all(venv.join("lib").join(&version)).expect("a directory");
        fs::write(venv.join("pyvenv.cfg"), format!("home = {home}\n")).expect("a file");
        match python {
            Some(target) => {
                fs::create_dir(venv.join("bin")).expect("a directory");
                symlink(target, venv.join("bin/python3")).expect("a link");
            }
            None => program(&venv.join("bin/python3")),
        }
        project.write(".hm/ci.py", "");
        let said = project.run(&["plan"]).expect_code(2).stderr;
        assert!(said.contains(".venv/bin/python3 leads to ") && said.contains("hint: "), "{home}: {said}");
        kept.was_left_alone();
    }
}

#[test]
fn an_environment_that_is_a_link_is_refused_and_one_of_the_users_is_not() {
    let project = Project::new();
    let at = project.home().join("environment");
    let Some(_) = environment(&at, Some(NEW)) else { return };
    symlink(&at, project.path().join(".venv")).expect("a link");
    project.write(".hm/ci.py", "import harmont as hm\n\n@hm.pipeline('ci')\ndef ci():\n    return hm.scratch().sh('true', runner='local')\n");
    let said = project.run(&["plan"]).expect_code(2).stderr;
    assert!(said.contains("/.venv leads to ") && said.contains("/home/environment, which"), "{said}");
    let mut command = project.hm(&["plan"]);
    let output = command.env("VIRTUAL_ENV", &at).output().expect("hm");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
