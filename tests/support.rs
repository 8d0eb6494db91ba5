//! Runs `hm` in an environment of its own: empty home, no configuration, nothing of the caller's variables but PATH.
//! Compiled plugins are shared between tests; everything else is fresh.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use hm_plugin_protocol::BuildEvent;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

pub(crate) use hm_test_lab::{free_port, installed, or_skipped, process_with, skipped, wait_until};

/// A project in a temporary directory, and a home to go with it.
pub(crate) struct Project {
    dir: tempfile::TempDir,
    /// Directory of `cache` and `state`.
    places: PathBuf,
    /// Other variables of the environment.
    variables: BTreeMap<String, String>,
}

/// Exit code and output of a run of `hm`.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Project {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("hm-test-").tempdir().expect("a temporary directory");
        for part in ["project", "home", "config/harmont"] {
            fs::create_dir_all(dir.path().join(part)).expect("a directory");
        }
        Self { dir, places: PathBuf::from(env!("CARGO_TARGET_TMPDIR")), variables: BTreeMap::new() }
    }

    /// A project whose only pipeline has these steps.
    pub(crate) fn with_steps(steps: &Value) -> Self {
        let project = Self::new();
        project.write(".hm/ci.json", &json!({"version": "0", "steps": steps}).to_string());
        project
    }

    /// The same, with a cache and records that are nobody else's. They begin with the compiled plugins alone.
    pub(crate) fn alone(mut self) -> Self {
        self.run(&["plugin", "list"]).expect_code(0);
        let shared = std::mem::replace(&mut self.places, self.dir.path().to_owned());
        let (modules, key) = ("cache/harmont/modules", "state/harmont/modules.key");
        DirBuilder::new().recursive(true).mode(0o700).create(self.places.join(modules)).expect("a directory");
        for entry in fs::read_dir(shared.join(modules)).expect("modules").flatten() {
            let place = self.places.join(modules).join(entry.file_name());
            // One that is missing is merely compiled again.
            let _ = fs::hard_link(entry.path(), &place).or_else(|_| fs::copy(entry.path(), &place).map(drop));
        }
        fs::create_dir_all(self.state()).expect("a directory");
        fs::copy(shared.join(key), self.places.join(key)).expect("a copy");
        self
    }

    /// The same, whose `hm` has this in its environment.
    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    /// Cache directory of hm, `$XDG_CACHE_HOME/harmont`.
    pub(crate) fn cache(&self) -> PathBuf {
        self.places.join("cache/harmont")
    }

    /// State directory of hm, `$XDG_STATE_HOME/harmont`.
    pub(crate) fn state(&self) -> PathBuf {
        self.places.join("state/harmont")
    }

    /// Home directory of the user in this test.
    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Configuration directory of hm, `$XDG_CONFIG_HOME/harmont`.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("config/harmont")
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, content).expect("a file");
    }

    /// A command that is not started yet.
    pub(crate) fn hm(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hm"));
        command.args(args).current_dir(self.path()).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").expect("PATH"));
        command.envs(&self.variables).env("HOME", self.home());
        command.env("XDG_CONFIG_HOME", self.dir.path().join("config"));
        command
            .env("XDG_CACHE_HOME", self.places.join("cache"))
            .env("XDG_STATE_HOME", self.places.join("state"));
        command
    }

    /// Runs `hm` to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ran(self.hm(args).output().expect("hm starts"))
    }

    /// Runs `hm` to its end with this on its standard input.
    pub(crate) fn run_with_input(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut child = self
            .hm(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("hm starts");
        // hm may refuse what it reads before it has read everything.
        let _ = child.stdin.take().expect("a pipe").write_all(input);
        ran(child.wait_with_output().expect("hm ends"))
    }

    /// Runs `hm build --format json` and reads its events.
    pub(crate) fn events(&self, args: &[&str]) -> (Ran, Vec<BuildEvent>) {
        let ran = self.run(&[&["build", "--format", "json"], args].concat());
        let events = ran
            .stdout
            .lines()
            .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e} in {l}")))
            .collect();
        (ran, events)
    }
}

/// Exit code and output of a finished process.
pub(crate) fn ran(output: Output) -> Ran {
    let text = |bytes| String::from_utf8(bytes).expect("hm writes UTF-8");
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Ran {
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// A command step of a pipeline in JSON.
pub(crate) fn step(key: &str, cmd: &str) -> Value {
    json!({"type": "command", "key": key, "cmd": cmd})
}

/// A command step that builds in another.
pub(crate) fn child(key: &str, parent: &str, cmd: &str) -> Value {
    json!({"type": "command", "key": key, "cmd": cmd, "builds_in": parent})
}

/// Output of each step, by key, both streams, in the order of the events.
pub(crate) fn logs(events: &[BuildEvent]) -> BTreeMap<String, Vec<String>> {
    let mut keys = BTreeMap::new();
    let mut logs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in events {
        match event {
            BuildEvent::StepQueued { step_id, key, .. } => {
                keys.insert(*step_id, key.clone());
            }
            BuildEvent::StepLog { step_id, line, .. } => {
                logs.entry(keys[step_id].clone()).or_default().push(line.clone());
            }
            _ => {}
        }
    }
    logs
}

/// The exit code of each step that came to an end, by key.
pub(crate) fn exits(events: &[BuildEvent]) -> BTreeMap<String, i32> {
    let mut keys = BTreeMap::new();
    let mut exits = BTreeMap::new();
    for event in events {
        match event {
            BuildEvent::StepQueued { step_id, key, .. } => {
                keys.insert(*step_id, key.clone());
            }
            BuildEvent::StepEnd { step_id, exit_code, .. } => {
                exits.insert(keys[step_id].clone(), *exit_code);
            }
            _ => {}
        }
    }
    exits
}

/// Root directory of this repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("host is in a folder").to_owned()
}

/// A running `hm` that does not outlive its test.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        Self(command.spawn().expect("hm starts"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("the process is there");
    }

    /// Waits for its end, with a bound.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until("the process ends", || {
            status = self.0.try_wait().expect("a child");
            status.is_some()
        });
        status.and_then(|s| s.code())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has usually ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program that runs another one: with that one's name and arguments at the end, in its directory and its environment
/// alone.
pub(crate) fn run_by(mut outer: Command, inner: &Command) -> Command {
    outer.arg(inner.get_program()).args(inner.get_args());
    outer.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer.current_dir(inner.get_current_dir().expect("a directory"));
    outer
}

/// The same command at another time, as the program sees it, by `faketime`, which has to be installed.
pub(crate) fn at_time(when: &str, command: &Command) -> Command {
    let mut faketime = Command::new("faketime");
    faketime.args(["-f", when]);
    let mut command = run_by(faketime, command);
    // What waits for a span of time is not to be troubled, and files have the times that they have.
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
    command
}

/// End of a command, or of a shell that gets it as `"$@"`, where a folder, the shell's `$0`, is a disk of 64 KiB. None,
/// with a word, where that cannot be.
pub(crate) fn on_a_small_disk(folder: &Path, shell: &str, command: &Command) -> Option<Output> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    unshare.arg(format!("mount -t tmpfs -o size=64k tmpfs \"$0\" || exit 77; {shell}")).arg(folder);
    match run_by(unshare, command).output() {
        Ok(output) if output.status.code() == Some(77) => skipped("nothing can be mounted here"),
        Ok(output) if String::from_utf8_lossy(&output.stderr).starts_with("unshare: ") => {
            skipped("there are no user namespaces here");
        }
        Ok(output) => return Some(output),
        Err(error) => skipped(&format!("unshare: {error}")),
    }
    None
}

/// A file system of its own in the place of a directory, which goes with this.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// In memory, of this size, with what was in the directory. None, with a word, where that cannot be.
    pub(crate) fn in_memory(folder: &Path, size: &str) -> Option<Self> {
        let aside = folder.with_file_name("aside");
        fs::create_dir_all(folder).expect("a folder");
        let copy = |from: &Path, to: &Path| {
            assert!(Command::new("cp").arg("-a").args([from, to]).status().expect("cp").success());
        };
        copy(folder, &aside);
        let mounted = Self::mount(&["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "tmpfs"], folder)?;
        copy(&aside.join("."), folder);
        fs::remove_dir_all(aside).expect("gone");
        Some(mounted)
    }

    /// The directory itself, for reading only.
    pub(crate) fn for_reading(folder: &Path) -> Option<Self> {
        let text = folder.to_str().expect("text");
        let mounted = Self::mount(&["--bind", text], folder)?;
        assert!(
            Command::new("mount").args(["-o", "remount,bind,ro", text]).status().expect("mount").success()
        );
        Some(mounted)
    }

    fn mount(how: &[&str], folder: &Path) -> Option<Self> {
        if Command::new("mount").args(how).arg(folder).output().is_ok_and(|mount| mount.status.success()) {
            return Some(Self(folder.to_owned()));
        }
        skipped("mounting a file system takes root");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l"]).arg(&self.0).status();
    }
}

/// The folder of the plug-ins and guests that `cargo xtask test` builds in several languages. None, with a word,
/// without it.
#[track_caller]
pub(crate) fn built_guests() -> Option<PathBuf> {
    let folder = std::env::var_os("HM_TEST_GUESTS").map(PathBuf::from);
    or_skipped(folder.ok_or("HM_TEST_GUESTS is not set; `cargo xtask test` builds the guests and sets it"))
}

/// Functions with which guests make Extism blocks: `$block` of bytes of their memory, `$answer` with a block. To stand
/// behind a guest's own imports.
pub(crate) const BLOCKS: &str = r#"
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "length" (func $length (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $store (param i64 i32)))
  (import "extism:host/env" "output_set" (func $output (param i64 i64)))
  (func $block (param $at i32) (param $length i32) (result i64) (local $block i64) (local $i i32)
    (local.set $block (call $alloc (i64.extend_i32_u (local.get $length))))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $i) (local.get $length)))
      (call $store
        (i64.add (local.get $block) (i64.extend_i32_u (local.get $i)))
        (i32.load8_u (i32.add (local.get $at) (local.get $i))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $next)))
    (local.get $block))
  (func $answer (param $offset i64) (call $output (local.get $offset) (call $length (local.get $offset))))
"#;
