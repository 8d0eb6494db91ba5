//! What a person sees: help, versions, lists, and the output of a build at 80 columns.

use serde_json::json;

use crate::support::{Project, child, ran, step};

#[test]
fn help_fits_a_small_terminal() {
    for args in [&["--help"][..], &["build", "--help"], &["plugin", "--help"], &["plugin", "info", "--help"]]
    {
        let output = Project::new().hm(args).env("COLUMNS", "80").output().expect("hm");
        let ran = ran(output).expect_code(0);
        assert!(ran.stdout.lines().all(|l| l.chars().count() <= 80), "{}", ran.stdout);
        assert!(ran.stdout.contains("Usage: hm"), "{}", ran.stdout);
    }
    let none = Project::new().run(&[]).expect_code(2);
    assert!(none.stderr.contains("Usage: hm"), "{}", none.stderr);
}

#[test]
fn versions_are_told() {
    let version = Project::new().run(&["version"]).expect_code(0);
    let lines: Vec<&str> = version.stdout.lines().collect();
    assert_eq!(lines, [concat!("hm ", env!("CARGO_PKG_VERSION")), "plugin API 1"]);
    assert_eq!(Project::new().run(&["--version"]).expect_code(0).stdout.trim_end(), lines[0]);
}

#[test]
fn plugins_are_listed_and_described() {
    let list = Project::new().run(&["plugin", "list"]).expect_code(0);
    let provides: Vec<(&str, String)> = list
        .stdout
        .lines()
        .map(|l| {
            (
                l.split_whitespace().next().expect("a name"),
                l.split_whitespace().skip(2).collect::<Vec<_>>().join(" "),
            )
        })
        .collect();
    assert_eq!(
        provides,
        [
            ("docker", "runner docker built in".to_owned()),
            ("human", "format human built in".to_owned()),
            ("json", "format json built in".to_owned()),
            ("local", "runner local (default) built in".to_owned()),
        ]
    );
    let info = Project::new().run(&["plugin", "info", "local"]).expect_code(0);
    for part in [
        "name:        local\n",
        "origin:      built in\n",
        "hm_sandbox_exec (granted)\n",
        "hosts:       nothing\n",
    ] {
        assert!(info.stdout.contains(part), "{part:?} is not in\n{}", info.stdout);
    }
    let none = Project::new().run(&["plugin", "info", "nobody"]).expect_code(5);
    assert_eq!(
        none.stderr,
        "error: there is no plugin `nobody`; there is: docker, human, json, local\nhint: see what there is: hm plugin list\n"
    );
}

/// Durations differ from run to run.
fn without_durations(text: &str) -> String {
    let words = text.split_inclusive([' ', '\n']).map(|word| {
        let core = word.trim_end().trim_end_matches([')', ':']).trim_start_matches('(');
        let is_duration = core.starts_with(|c: char| c.is_ascii_digit()) && core.ends_with(['s', 'm']);
        if is_duration { word.replace(core, "TIME") } else { word.to_owned() }
    });
    words.collect()
}

#[test]
fn a_build_reads_like_a_log() {
    let project = Project::with_steps(&json!([
        step("setup", "echo preparing"), child("unit", "setup", "echo 12 tests; sleep 0.3; echo careful >&2"), {"type": "wait"}, step("bad", "echo oh no; exit 2"), step("never", "true"),
    ]));
    let ran = project.run(&["build", "-j1"]).expect_code(1);
    assert_eq!(ran.stderr, "");
    assert!(ran.stdout.lines().all(|l| l.chars().count() <= 80), "{}", ran.stdout);
    let shown = without_durations(&ran.stdout);
    let file = crate::support::repository().join("tests/data/human_log.txt");
    if std::env::var_os("HM_BLESS").is_some() {
        std::fs::write(&file, &shown).expect("the snapshot");
    }
    assert_eq!(shown, std::fs::read_to_string(file).expect("the snapshot"), "HM_BLESS=1 rewrites it");
}
