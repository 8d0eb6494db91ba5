//! Where interpreters are: in virtual environments, in home directories, on `PATH`, or where a variable says.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::lab::{NEW, OLD, copy, environment, environment_of, packages, python, system_python};
use crate::support::{Project, Ran, ran, skipped};

/// Says, by way of an error, which Python it is and what there is in a directory that it has no business in.
fn file(canary: &Path) -> String {
    format!(
        "import harmont, os, sys\nseen = os.path.exists({:?})\n\
         raise ValueError('%s %s %s' % (sys.executable, harmont.__file__, seen))\n",
        canary.display().to_string()
    )
}

fn build(project: &Project, variables: &[(&str, &Path)]) -> Ran {
    let mut command = project.hm(&["build"]);
    command.envs(variables.iter().map(|(name, value)| (*name, *value)));
    ran(command.output().expect("hm"))
}

#[track_caller]
fn is_by(project: &Project, variables: &[(&str, &Path)], python: &Path) {
    let said = build(project, variables).expect_code(7).stderr;
    let prefix = python.parent().and_then(Path::parent).expect("a prefix").display().to_string();
    // What begins with the project is told without it.
    let project = format!("{}/", project.path().display());
    let told = said.lines().find(|line| line.contains("ValueError: ")).unwrap_or_else(|| panic!("{said}"));
    assert!(
        told.contains(&format!("ValueError: {} {prefix}/lib", python.display())),
        "{told} and not {project}"
    );
    assert!(told.ends_with("False"), "the canary is seen: {told}");
}

#[test]
fn a_variable_goes_before_the_projects_own_and_that_before_the_path() {
    let project = Project::new();
    let own = project.path().join("venv");
    let (active, named) = (project.home().join("active"), project.home().join("named"));
    for at in [&own, &active, &named] {
        if environment(at, Some(NEW)).is_none() {
            return;
        }
    }
    let canary = project.home().join("canary");
    fs::write(&canary, "").expect("a file");
    project.write(".hm/ci.py", &file(&canary));
    let named = named.join("bin/python3");
    is_by(&project, &[], &own.join("bin/python3"));
    is_by(&project, &[("VIRTUAL_ENV", &active)], &active.join("bin/python3"));
    is_by(&project, &[("VIRTUAL_ENV", &active), ("HARMONT_PYTHON", &named)], &named);
    fs::remove_dir_all(&own).expect("mine");
    let path = PathBuf::from(format!("{}:/usr/bin:/bin", active.join("bin").display()));
    is_by(&project, &[("PATH", &path)], &active.join("bin/python3"));
}

/// An installation of Python as pyenv makes them, in a home directory that is not ours.
fn installation(home: &Path) -> Option<PathBuf> {
    let (program, version) = system_python();
    let ask = "import sysconfig; print(sysconfig.get_path('stdlib'))";
    let output = Command::new(&program).args(["-c", ask]).output().expect("python3");
    let library = PathBuf::from(String::from_utf8(output.stdout).expect("text").trim());
    let libraries = Command::new("ldd").arg(&program).output().expect("ldd").stdout;
    if String::from_utf8_lossy(&libraries).contains("libpython") {
        skipped("python3 is not of one piece, so it cannot be copied");
        return None;
    }
    let prefix = home.join(".pyenv/versions/3.x");
    fs::create_dir_all(prefix.join("bin")).expect("a directory");
    let lib = prefix.join("lib").join(&version);
    fs::create_dir_all(&lib).expect("a directory");
    for entry in fs::read_dir(&library).expect("the standard library") {
        let entry = entry.expect("readable");
        if !["test", "site-packages", "dist-packages", "idlelib", "__pycache__"]
            .iter()
            .any(|name| entry.file_name() == *name)
        {
            copy(&entry.path(), &lib);
        }
    }
    fs::create_dir_all(lib.join("site-packages")).expect("a directory");
    let python = prefix.join("bin").join(&version);
    fs::copy(program.canonicalize().expect("there"), &python).expect("a copy");
    symlink(&version, prefix.join("bin/python3")).expect("a link");
    symlink("3.x", home.join(".pyenv/versions/3")).expect("a link");
    let works =
        Command::new(&python).args(["-I", "-c", "import venv, ctypes, hashlib"]).output().expect("python3");
    if !works.status.success() {
        skipped(&format!("a copy of python3 does not work: {}", String::from_utf8_lossy(&works.stderr)));
        return None;
    }
    Some(home.join(".pyenv/versions/3/bin/python3"))
}

#[test]
fn an_interpreter_below_a_home_directory_works_also_through_an_environment_made_of_it() {
    let project = Project::new();
    let elsewhere = tempfile::tempdir().expect("a directory");
    let home = elsewhere.path().join("somebody");
    let canary = home.join(".pyenv/canary");
    let Some(python) = installation(&home) else { return };
    fs::write(&canary, "").expect("a file");
    project.write(".hm/ci.py", &file(&canary));
    let own = project.path().join(".venv");
    if environment_of(&python, &own, Some(NEW)).is_none() {
        return;
    }
    // A link in the project counts if it leads to a Python that the user has.
    let refused = build(&project, &[]).expect_code(2).stderr;
    assert!(refused.contains("/.venv/bin/python3 leads to "), "{refused}");
    let shims = home.join(".pyenv/shims");
    fs::create_dir(&shims).expect("a directory");
    let path = PathBuf::from(format!("{}:/usr/bin:/bin", shims.display()));
    is_by(&project, &[("PATH", &path)], &own.join("bin/python3"));

    // And directly, with the package in the installation itself.
    let Some(packages) = packages(OLD) else { return };
    let ask = "import site; print(site.getsitepackages()[-1])";
    let output = Command::new(&python).args(["-c", ask]).output().expect("python3");
    let site = PathBuf::from(String::from_utf8(output.stdout).expect("text").trim());
    fs::create_dir_all(&site).expect("a directory");
    copy(&packages.join("."), &site);
    let said = build(&project, &[("HARMONT_PYTHON", &python)]).expect_code(7).stderr;
    assert!(said.contains(&format!("ValueError: {} ", python.display())) && said.contains("False"), "{said}");
}

#[test]
fn packages_that_the_user_installed_are_found() {
    let project = Project::new();
    let Some(packages) = packages(NEW) else { return };
    let (program, version) = python();
    let Some(canary) = Some(project.home().join(".local/lib/canary")) else { return };
    let site = project.home().join(".local/lib").join(version).join("site-packages");
    fs::create_dir_all(&site).expect("a directory");
    fs::write(&canary, "").expect("a file");
    copy(&packages.join("."), &site);
    project.write(".hm/ci.py", &file(&canary));
    let said = build(&project, &[("HARMONT_PYTHON", &program)]).expect_code(7).stderr;
    assert!(said.contains(&format!(" {}/harmont/__init__.py False", site.display())), "{said}");
}
