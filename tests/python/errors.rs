//! What people read when pipelines in Python cannot be rendered: their own lines of the traceback, or what to do.

use std::time::Instant;

use rustix::process::Signal;

use super::lab::{NEW, OLD, environment};
use crate::support::{Project, Ran, Running, process_with, wait_until};

/// A project with a Python that has harmont, whose file is this.
fn project(version: &str, file: &str) -> Option<Project> {
    let project = Project::new();
    environment(&project.path().join(".venv"), Some(version))?;
    project.write(".hm/ci.py", &format!("import harmont as hm\n{file}"));
    Some(project)
}

/// Words about a file that cannot be rendered.
fn said(version: &str, file: &str) -> Option<String> {
    let project = project(version, file)?;
    Some(told(&project))
}

fn told(project: &Project) -> String {
    refused(project).stderr.replace(&project.path().display().to_string(), "PROJECT")
}

fn refused(project: &Project) -> Ran {
    project.run(&["build", "--format", "json"]).expect_code(7)
}

#[test]
fn an_exception_is_told_with_the_users_own_lines() {
    let file =
        "def half(x):\n    return 1 / x\n\n@hm.pipeline('ci')\ndef ci():\n    return hm.sh('x' * half(0))\n";
    for version in [OLD, NEW] {
        let Some(said) = said(version, file) else { return };
        let lines: Vec<_> =
            said.lines().filter(|line| !line.trim_end_matches(['~', '^']).ends_with(' ')).collect();
        let expected = "\
error: the pipelines in PROJECT/.hm cannot be rendered
  1: Traceback (most recent call last):
    |   File \".hm/ci.py\", line 7, in ci
    |     return hm.sh('x' * half(0))
    |   File \".hm/ci.py\", line 3, in half
    |     return 1 / x
    | ZeroDivisionError: division by zero";
        assert_eq!(lines.join("\n"), expected);
    }
}

#[test]
fn a_syntax_error_keeps_its_caret() {
    let Some(said) = said(NEW, "def ci(:\n    pass\n") else { return };
    assert!(
        said.contains(
            "File \".hm/ci.py\", line 2\n    |     def ci(:\n    |            ^\n    | SyntaxError: "
        ),
        "{said}"
    );
    assert!(!said.contains("Traceback") && !said.contains("importlib"), "{said}");
}

#[test]
fn what_harmont_refuses_names_the_pipeline() {
    // This version wants the files of a cache policy to be there.
    let file = "@hm.pipeline('ci')\ndef ci():\n    return hm.sh('x', cache=hm.on_change('none.txt'))\n";
    let Some(said) = said(OLD, file) else { return };
    let expected = "\
error: the pipelines in PROJECT/.hm cannot be rendered
  1: pipeline 'ci' (.hm/ci.py:2): FileNotFoundError: on_change path does not exist: none.txt
";
    assert_eq!(said, expected);
}

#[test]
fn two_pipelines_of_one_name_are_both_named() {
    let pipeline = "@hm.pipeline('ci')\ndef ci():\n    return hm.sh('x')\n";
    let Some(project) = project(NEW, pipeline) else { return };
    project.write(".hm/more.py", &format!("import harmont as hm\n\n\n{pipeline}"));
    let twice = refused(&project).stderr;
    assert!(twice.contains("File \".hm/more.py\", line 4, in <module>"), "{twice}");
    assert!(twice.contains("the first is at .hm/ci.py:2\n"), "{twice}");

    std::fs::remove_file(project.path().join(".hm/more.py")).expect("there");
    project.write(".hm/ci.json", r#"{"version":"0","steps":[]}"#);
    let twice = refused(&project).stderr;
    let folder = project.path().join(".hm").display().to_string();
    let expected =
        format!("error: pipeline `ci` is defined twice, in {folder}/ci.json and in {folder}/ci.py:2\n");
    assert_eq!(twice, expected);
}

#[test]
fn whatever_a_file_does_it_is_an_error_with_a_word() {
    let Some(project) = project(NEW, "") else { return };
    for (file, expected) in [
        ("raise SystemExit(0)", "line 2, in <module>\n    |     raise SystemExit(0)\n    | SystemExit: 0\n"),
        ("import os\nos._exit(0)", "ended early: PROJECT/.venv/bin/python3 exited with 0\n"),
        ("import os\nos.abort()", "/.venv/bin/python3 exited with 134\n"),
        (
            "def f(n): return f(n)\nf(1)",
            "more times]\n    | RecursionError: maximum recursion depth exceeded",
        ),
        ("def f(n): return g(n)\ndef g(n): return f(n)\nf(1)", "\n    |   ...\n"),
        ("import nothing_like_it", "ModuleNotFoundError: No module named 'nothing_like_it'\n"),
        ("raise ValueError('ä\\x1b[2J\\nerror: no')", "ValueError: ä"),
        ("raise ValueError('x' * 10**7)", "xxx ... xxx"),
        (
            "try:\n    x = {}['key']\nexcept KeyError as e:\n    raise ValueError('outer') from e",
            "direct cause",
        ),
        ("hm.sh('x', cwd='')", "hm.sh('x', cwd='')\n"),
        ("", "error: no file in PROJECT/.hm registers a pipeline\nhint: "),
        (
            "hm.dump_registry_json = lambda: 'no'",
            "PROJECT/.hm is not right\n  1: PROJECT/.hm is not valid JSON at line 1",
        ),
        ("hm.dump_registry_json = lambda: None", "TypeError: "),
        ("hm.dump_registry_json = lambda: '{}'", "missing field `version`"),
        ("hm.dump_registry_json = lambda: '\\ud800'", "is not valid JSON"),
        ("while True: print('x' * 1000)", "gave more than 16777216 bytes of output\n"),
        ("hm.dump_registry_json = lambda: ' ' * (1 << 28)", "gave more than 134217728 bytes of pipelines\n"),
        ("import sys\nsys.stdout = sys.stderr = None\nraise KeyboardInterrupt", "KeyboardInterrupt\n"),
        ("@hm.pipeline('ci')\ndef ci():\n    return 7", "pipeline 'ci' (.hm/ci.py:2): TypeError: "),
    ] {
        project.write(".hm/ci.py", &format!("import harmont as hm\n{file}"));
        let said = told(&project);
        assert!(said.contains(expected), "{file}: {said}");
        assert!(said.contains("error: ") && !said.contains("site-packages"), "{file}: {said}");
        assert!(
            !said.contains("\nerror: no\n") && !said.contains("<string>") && !said.contains('\x1b'),
            "{file}: {said}"
        );
        assert!(said.len() < 60_000, "{file}: {} bytes", said.len());
    }
}

#[test]
fn a_file_that_does_not_end_is_killed_with_all_that_it_started() {
    let marker = "sleep 98765.4321";
    let file = format!(
        "import subprocess\nsubprocess.Popen('{marker} & setsid {marker}', shell=True)\nprint('waits')\nwhile True: pass\n"
    );
    let Some(project) = project(NEW, &file) else { return };
    let start = Instant::now();
    let ran = refused(&project);
    assert!(start.elapsed().as_secs() >= 29, "{ran:?}");
    assert!(ran.stderr.contains("/.hm were not rendered within 30 s\nhint: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("    | waits\n"), "{}", ran.stderr);
    wait_until("all of it is dead", || !process_with(marker));
}

#[test]
fn rendering_can_be_interrupted() {
    let marker = "sleep 98765.1234";
    let file = format!("import subprocess\nsubprocess.run('{marker}', shell=True)\n");
    let Some(project) = project(NEW, &file) else { return };
    for (command, signal, code) in
        [("build", Signal::INT, Some(130)), ("plan", Signal::TERM, Some(130)), ("build", Signal::KILL, None)]
    {
        let mut build = Running::start(project.hm(&[command]));
        wait_until("the file is read", || process_with(marker));
        build.signal(signal);
        assert_eq!(build.ended(), code);
        wait_until("all of it is dead", || !process_with(marker));
    }
}

#[test]
fn a_missing_package_is_named_with_its_interpreter() {
    let project = Project::new();
    let python =
        environment(&project.path().join(".venv"), None).expect("an interpreter").display().to_string();
    project.write(".hm/ci.py", "import harmont");
    let said = project.run(&["build"]).expect_code(2).stderr;
    assert!(
        said.starts_with(&format!("error: the package harmont is not installed for {python} (Python 3.")),
        "{said}"
    );
    assert!(said.contains(&format!("hint: install it: {python} -m pip install harmont; or ")), "{said}");
}

#[test]
fn an_interpreter_that_is_not_there_is_named() {
    let project = Project::new();
    project.write(".hm/ci.py", "import harmont");
    let with = |variables: &[(&str, &str)]| {
        let mut command = project.hm(&["build"]);
        command.env("PATH", project.home()).envs(variables.iter().copied());
        crate::support::ran(command.output().expect("hm")).expect_code(2).stderr
    };
    assert!(
        with(&[]).starts_with("error: there are pipelines in Python, and no python3 to render them\nhint: ")
    );
    for variable in ["HARMONT_PYTHON", "VIRTUAL_ENV"] {
        let said = with(&[(variable, "/no/such")]);
        assert!(
            said.starts_with(&format!("error: {variable} is `/no/such`, and there is no Python\n")),
            "{said}"
        );
    }
}

#[test]
fn a_file_that_is_ignored_is_not_passed_over_silently() {
    let Some(project) = project(NEW, "") else { return };
    project.write(".hmignore", "ci.py\n");
    let said = project.run(&["build"]).expect_code(2).stderr;
    assert!(said.contains("/.hm/ci.py is not part of the project as steps see it"), "{said}");
}
