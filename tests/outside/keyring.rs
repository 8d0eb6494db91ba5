//! Secrets: in a real keyring where there is one, in files that only the user can read where there is none; of each
//! plugin its own.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{granted, strs};
use crate::support::{Project, Ran, installed, ran};

/// The exports of a [`Plugin`].
const GET: &str = "call0";
const SET: &str = "call1";
const DELETE: &str = "call2";

/// No bus: there is no keyring then.
const NO_BUS: &str = "unix:path=/nonexistent/bus";

fn named(service: &str) -> Vec<u8> {
    json!({"service": service, "account": "me"}).to_string().into_bytes()
}

fn kept(service: &str, secret: &str) -> Vec<u8> {
    json!({"service": service, "account": "me", "secret": secret}).to_string().into_bytes()
}

/// Calls that a plugin can make; a plugin of another name is another, since its calls are.
struct Plugin {
    name: String,
    calls: Vec<(&'static str, Vec<u8>, bool)>,
}

impl Plugin {
    /// One that uses this service.
    fn new(name: &str, service: &str) -> Self {
        let calls = vec![
            ("hm_keyring_get", named(service), true),
            ("hm_keyring_set", kept(service, &format!("hunter2 of {name}")), false),
            ("hm_keyring_delete", named(service), false),
        ];
        Self { name: name.to_owned(), calls }
    }

    fn hm(&self, project: &Project, export: &str, more: &[&str]) -> Command {
        let calls: Vec<super::Call<'_>> = self
            .calls
            .iter()
            .map(|(name, argument, answers)| (*name, argument.as_slice(), *answers))
            .collect();
        let args = granted(project, &format!("{}.wasm", self.name), export, &calls);
        let mut hm = project.hm(&strs(&args, more));
        hm.env("DBUS_SESSION_BUS_ADDRESS", NO_BUS);
        hm
    }

    fn run(&self, project: &Project, export: &str, more: &[&str]) -> Ran {
        ran(self.hm(project, export, more).output().expect("hm starts"))
    }

    /// Its secret, or nothing.
    #[track_caller]
    fn get(&self, project: &Project, more: &[&str]) -> Option<String> {
        serde_json::from_str(&self.run(project, GET, more).expect_code(0).stdout).expect("JSON")
    }
}

#[test]
fn without_a_keyring_secrets_are_in_files_of_the_user_alone_and_that_is_said() {
    let project = Project::new();
    let (one, two) = (Plugin::new("one", "s"), Plugin::new("two", "s"));
    let secrets = project.config().join("secrets");
    assert_eq!(one.get(&project, &[]), None);
    // All three calls, and it is said once.
    let ran = one.run(&project, "go", &[]).expect_code(0);
    let told = format!("so secrets are kept in files that only you can read, in {}\n", secrets.display());
    assert_eq!(ran.stderr.matches(&told).count(), 1, "{}", ran.stderr);
    assert_eq!(one.get(&project, &[]), None, "the last of them was to remove it");

    let ran = one.run(&project, SET, &[]).expect_code(0);
    assert!(!ran.stderr.contains("hunter2"));
    assert_eq!(one.get(&project, &[]).as_deref(), Some("hunter2 of one"));
    assert_eq!(two.get(&project, &[]), None, "another plugin has its own");
    two.run(&project, SET, &[]).expect_code(0);
    assert_eq!(two.get(&project, &[]).as_deref(), Some("hunter2 of two"));
    two.run(&project, DELETE, &[]).expect_code(0);
    assert_eq!(two.get(&project, &[]), None);
    assert_eq!(one.get(&project, &[]).as_deref(), Some("hunter2 of one"));

    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o7777;
    assert_eq!(mode(&secrets), 0o700);
    for entry in std::fs::read_dir(&secrets).expect("a directory") {
        let path = entry.expect("an entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_service_of_everybody_is_there_for_whom_it_was_granted_by_name() {
    let project = Project::new();
    let shared = ["--grant", "keyring:canary"];
    let owner = Plugin::new("owner", "canary");
    owner.run(&project, SET, &shared).expect_code(0);
    assert_eq!(Plugin::new("friend", "canary").get(&project, &shared).as_deref(), Some("hunter2 of owner"));
    // Without the grant, or with another, the same words mean an entry of the plugin's own.
    for (service, grant) in [
        ("canary", &[][..]),
        ("canary", &["--grant", "keyring:canar"]),
        ("../_everybody", &[]),
        ("hm/x/canary", &[]),
    ] {
        let other = Plugin::new("other", service);
        assert_eq!(other.get(&project, grant), None, "{service}");
        other.run(&project, SET, grant).expect_code(0);
        other.run(&project, DELETE, grant).expect_code(0);
    }
    assert_eq!(owner.get(&project, &shared).as_deref(), Some("hunter2 of owner"), "the canary is as it was");
}

#[test]
fn no_secret_is_in_an_error() {
    let project = Project::new();
    for argument in [
        b"\"hunter2\"".to_vec(),
        br#"{"service":"s","account":"a","secret":["hunter2"]}"#.to_vec(),
        br#"{"service":{"hunter2":1},"account":"a","secret":"hunter2"}"#.to_vec(),
        br#"{"service":"s\u0000","account":"a","secret":"hunter2"}"#.to_vec(),
        br#"{"service":"","account":"a","secret":"hunter2"}"#.to_vec(),
        kept(&"s".repeat(257), "hunter2"),
        kept("s", &"hunter2".repeat(20_000)),
    ] {
        let plugin = Plugin { name: "p".into(), calls: vec![("hm_keyring_set", argument, false)] };
        let ran = plugin.run(&project, "go", &["--json"]);
        assert_ne!(ran.code, Some(0));
        assert!(!format!("{ran:?}").contains("hunter2"), "{ran:?}");
    }
}

/// Runs shell commands with a keyring of their own.
fn with_keyring(project: &Project, script: &str) -> Option<Ran> {
    if !installed(&["dbus-run-session", "gnome-keyring-daemon"]) {
        return None;
    }
    let mut session = project.hm(&[]);
    let runtime = project.home().join("runtime");
    std::fs::create_dir(&runtime).expect("a directory");
    let start =
        r#"eval "$(printf password | gnome-keyring-daemon --unlock --components=secrets 2>/dev/null)""#;
    let mut command = Command::new("dbus-run-session");
    command.args(["--", "sh", "-ec", &format!("{start}\n{script}")]).current_dir(project.path()).env_clear();
    command.envs(session.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("XDG_RUNTIME_DIR", runtime).env("HM", session.get_program());
    session.env_clear();
    Some(ran(command.output().expect("a session")))
}

/// A command as a line of a shell script.
fn line(command: &Command) -> String {
    let words = command.get_args().map(|word| format!("'{}'", word.to_str().expect("text")));
    format!("\"$HM\" {}; echo\n", words.collect::<Vec<_>>().join(" "))
}

#[test]
fn a_real_keyring_keeps_them_apart() {
    let project = Project::new();
    let (one, two, canary) = (Plugin::new("one", "s"), Plugin::new("two", "s"), Plugin::new("canary", "c"));
    let shared = ["--grant", "keyring:c"];
    let mut script = String::new();
    let mut expected = Vec::new();
    let mut then = |plugin: &Plugin, export: &str, more: &[&str], answer: Option<Value>| {
        script.push_str(&line(&plugin.hm(&project, export, more)));
        expected.extend(answer);
    };
    then(&canary, SET, &shared, None);
    then(&one, GET, &[], Some(Value::Null));
    then(&one, SET, &[], None);
    then(&one, GET, &[], Some("hunter2 of one".into()));
    then(&two, GET, &[], Some(Value::Null));
    then(&two, SET, &[], None);
    then(&two, DELETE, &[], None);
    then(&two, DELETE, &[], None);
    then(&two, GET, &[], Some(Value::Null));
    then(&one, GET, &[], Some("hunter2 of one".into()));
    then(&Plugin::new("thief", "c"), "go", &[], Some(Value::Null));
    then(&canary, GET, &[], Some(Value::Null));
    then(&canary, GET, &shared, Some("hunter2 of canary".into()));
    let Some(ran) = with_keyring(&project, &script) else { return };
    let ran = ran.expect_code(0);
    let answers: Vec<Value> = ran
        .stdout
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    assert_eq!(answers, expected, "{}", ran.stderr);
    assert!(!ran.stderr.contains("warning:"), "{}", ran.stderr);
    assert!(!project.config().join("secrets").exists(), "nothing is in a file");
}

#[test]
fn a_bus_that_hangs_ends_at_the_deadline() {
    let project = Project::new();
    let path = project.home().join("bus");
    // It takes connections, and says nothing.
    let _bus = UnixListener::bind(&path).expect("a socket");
    let mut hm = Plugin::new("p", "s").hm(&project, GET, &["--timeout", "1500"]);
    hm.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", path.display()));
    let started = Instant::now();
    let ran = ran(hm.output().expect("hm starts")).expect_code(6);
    assert!(ran.stderr.contains("the call took longer than"), "{}", ran.stderr);
    assert!(started.elapsed() < Duration::from_secs(60), "it hung");
}
