//! Engines that are started here: the programs, how each is told where to keep its things, and the supervisor that ends
//! an engine with whoever started it, however that ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Pid;
use rustix::thread::CapabilitySet;

use crate::engine::{Engine, answers};
use crate::programs::missing;

/// Starts an engine in a directory with a script and ends it, with everything in it, when nobody holds the other end of
/// standard input any more. What it starts is in a namespace of processes of its own, and what it mounts in one of
/// mounts, so that both are gone with it.
const SUPERVISOR: &str = r#"
    folder=$1; net=$2; script=$3; shift 3
    unshare $net --mount-proc --pid --fork --kill-child sh -c "$script" "$folder" "$@" >"$folder/log" 2>&1 &
    read -r end
    kill -KILL $!
    wait
    # What was in the namespace may take a moment longer.
    until rm -rf "$folder" || [ $((tries += 1)) -gt 100 ]; do sleep 0.1; done
"#;

/// Starts Docker's engine in the folder `$0`.
const DOCKER: &str = r#"
    /bin/busybox ip link set lo up
    dockerd --data-root "$0/root" --exec-root "$0/exec" --pidfile "$0/pid" -H "unix://$0/docker.sock" \
      --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false --userland-proxy=false "$@" &
    wait
"#;

/// Starts Podman's service in the folder `$0`. Its locks are in `/dev/shm`, and not to be those of the machine's own.
const PODMAN: &str = r#"
    mount -t tmpfs tmpfs /dev/shm
    {
      echo '[engine]'
      echo 'cgroup_manager = "cgroupfs"'
      echo 'events_logger = "file"'
      [ ! -e "$0/runtime" ] || printf 'runtime = "here"\n[engine.runtimes]\nhere = ["%s"]\n' "$0/runtime"
    } >"$0/containers.conf"
    export CONTAINERS_CONF="$0/containers.conf"
    podman --root "$0/root" --runroot "$0/run" --tmpdir "$0/tmp" system service --time=0 "unix://$0/docker.sock" &
    wait
"#;

/// Wrapper of `runc` for Podman, without the limits that every container is to get: whoever may not raise limits cannot
/// start one.
const RUNTIME: &str = r#"#!/bin/sh
for word; do
  case $before in
    --bundle | -b) file=$word/config.json ;;
    --process | -p) file=$word ;;
    *) file=${word#--process=} && [ "$file" != "$word" ] || file= ;;
  esac
  [ -z "$file" ] || sed -i -z 's/"rlimits":[[:space:]]*\[[^]]*\]/"rlimits":[]/' "$file"
  before=$word
done
exec runc "$@"
"#;

/// Programs with which each engine is started and asked.
const TOOLS: [&str; 4] = ["unshare", "nsenter", "docker", "/bin/busybox"];

/// An engine to be started, without any image.
#[derive(Debug)]
pub struct Service {
    program: &'static str,
    script: &'static str,
    options: Vec<String>,
    variables: Vec<(String, PathBuf)>,
    shares_network: bool,
}

impl Service {
    /// The engine of Docker itself, `dockerd`.
    #[must_use]
    pub fn docker() -> Self {
        Self::of("dockerd", DOCKER)
    }

    /// Podman's service, which answers as Docker's engine does.
    #[must_use]
    pub fn podman() -> Self {
        Self::of("podman", PODMAN)
    }

    fn of(program: &'static str, script: &'static str) -> Self {
        Self { program, script, options: Vec::new(), variables: Vec::new(), shares_network: false }
    }

    /// The same, started with this option. Podman takes none.
    #[must_use]
    pub fn option(mut self, option: impl Into<String>) -> Self {
        self.options.push(option.into());
        self
    }

    /// The same, with the path of a file in its environment.
    #[must_use]
    pub fn variable(mut self, name: &str, path: &Path) -> Self {
        self.variables.push((name.to_owned(), path.to_owned()));
        self
    }

    /// The same, on the network that the test is on: each reaches the other's ports. Otherwise the engine has one of
    /// its own.
    #[must_use]
    pub fn on_our_network(mut self) -> Self {
        self.shares_network = true;
        self
    }

    /// Starts it, and waits until it answers.
    ///
    /// # Errors
    /// The reason why there cannot be one on this machine.
    pub fn start(&self) -> Result<Engine, String> {
        if let Some(program) = missing(&[self.program]).or_else(|| missing(&TOOLS)) {
            return Err(format!("`{program}` is not installed"));
        }
        let folder = tempfile::Builder::new().prefix("hm-engine-").tempdir().expect("a directory").keep();
        if self.program == "podman" && !may_raise_limits() {
            let runtime = folder.join("runtime");
            fs::write(&runtime, RUNTIME).expect("a file");
            fs::set_permissions(&runtime, PermissionsExt::from_mode(0o755)).expect("a mode");
        }
        let supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR, "sh"])
            .arg(&folder)
            .args([if self.shares_network { "" } else { "--net" }, self.script])
            .args(&self.options)
            .envs(self.variables.iter().map(|(name, path)| (name, path)))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh");
        let mut started =
            Started { supervisor, folder, program: self.program, shares_network: self.shares_network };
        for _ in 0..300 {
            if answers(&started.host()) {
                return Ok(Engine::started(started));
            }
            // The engine has said why, and is gone.
            if started.supervisor.try_wait().expect("a child").is_some() || started.has_given_up() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let log = fs::read_to_string(started.folder.join("log")).unwrap_or_default();
        Err(format!(
            "{} cannot be started: {}",
            self.program,
            log.lines().last().unwrap_or("it says nothing")
        ))
    }
}

/// True if this process may raise the limits of others, as those who start containers want to.
fn may_raise_limits() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|ours| ours.effective.contains(CapabilitySet::SYS_RESOURCE))
}

/// An engine of ours. It ends with this value, and with this program.
#[derive(Debug)]
pub(crate) struct Started {
    supervisor: Child,
    pub(crate) folder: PathBuf,
    program: &'static str,
    pub(crate) shares_network: bool,
}

impl Drop for Started {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        // It is the supervisor's to remove the directory.
        let _ = self.supervisor.wait();
    }
}

impl Started {
    /// Its address, for `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.folder.join("docker.sock").display())
    }

    /// The engine's own process.
    pub(crate) fn process(&self) -> Pid {
        let root = self.folder.join("root").display().to_string();
        let processes = fs::read_dir("/proc").expect("/proc").flatten().filter(|process| {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let mut words = line.split(|byte| *byte == 0);
            words.next() == Some(self.program.as_bytes()) && words.any(|word| word == root.as_bytes())
        });
        let pids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
        pids.last().and_then(Pid::from_raw).expect("the engine runs")
    }

    fn has_given_up(&self) -> bool {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        ["failed to start daemon", "not found", "Operation not permitted"].iter().any(|end| log.contains(end))
    }
}
