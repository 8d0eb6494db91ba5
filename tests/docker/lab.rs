//! A Docker Engine for the tests, with images that need no network: the machine's own where there is one, else one that is started here
//! and ends with the test program, however that ends. What is in it is looked at with Docker's own client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use hm_plugin_protocol::BuildEvent;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{Project, skipped, step};

/// Busybox with all its programs; commands run as root.
pub(crate) const BUSYBOX: &str = "hm-test/busybox:1";

/// The same, and commands run as the user 1000.
pub(super) const ORDINARY_USER: &str = "hm-test/user:1";

/// An image with a file and no program at all.
pub(super) const NO_SHELL: &str = "hm-test/bare:1";

/// Starts an engine in a folder with a script and ends it, with everything in it, when nobody holds the other end of standard input any
/// more. What it starts is in a namespace of processes of its own, and what it mounts in one of mounts, so that both are gone with it.
const SUPERVISOR: &str = r#"
    folder=$1; script=$2; shift 2
    unshare --net --mount-proc --pid --fork --kill-child sh -c "$script" "$folder" "$@" >"$folder/log" 2>&1 &
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

/// An engine that answers.
pub(crate) struct Engine {
    /// Its `DOCKER_HOST`.
    pub(crate) host: String,
    started: Option<Started>,
}

/// An engine of ours. It ends with this, and with this program.
struct Started {
    supervisor: Child,
    folder: PathBuf,
}

impl Drop for Started {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        // It is the supervisor's to remove the folder.
        let _ = self.supervisor.wait();
    }
}

impl Started {
    /// Starts an engine with a script that gets these options, in a folder that is made ready for it; why not, if that does not work.
    fn new(script: &str, options: &[&str], prepare: impl FnOnce(&Path)) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("hm-engine-").tempdir().expect("a directory").keep();
        prepare(&folder);
        let supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR, "sh"])
            .arg(&folder)
            .arg(script)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh");
        let mut started = Self { supervisor, folder };
        for _ in 0..300 {
            if answers(&started.host()) {
                return Ok(started);
            }
            // `dockerd` has said why, and is gone.
            if started.supervisor.try_wait().expect("a child").is_some() || started.has_given_up() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let log = fs::read_to_string(started.folder.join("log")).unwrap_or_default();
        Err(log.lines().last().unwrap_or("it says nothing").to_owned())
    }

    fn host(&self) -> String {
        format!("unix://{}", self.folder.join("docker.sock").display())
    }

    /// The engine's own process.
    fn process(&self) -> Pid {
        let root = self.folder.join("root").display().to_string();
        let processes = fs::read_dir("/proc").expect("/proc").flatten().filter(|process| {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let mut words = line.split(|byte| *byte == 0);
            words.next() == Some(b"dockerd") && words.any(|word| word == root.as_bytes())
        });
        let pids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
        pids.last().and_then(Pid::from_raw).expect("the engine runs")
    }

    fn has_given_up(&self) -> bool {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        ["failed to start daemon", "not found", "Operation not permitted"].iter().any(|end| log.contains(end))
    }
}

/// Whether an engine answers there.
fn answers(host: &str) -> bool {
    let version = Command::new("docker").args(["-H", host, "version"]).output();
    version.is_ok_and(|version| version.status.success())
}

impl Engine {
    /// The one that all tests share. None, with a word, where there cannot be one.
    pub(crate) fn get() -> Option<&'static Self> {
        static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
        let engine = ENGINE.get_or_init(|| {
            // Processes of steps are looked for on this machine.
            let given = std::env::var("DOCKER_HOST").ok().filter(|host| host.starts_with("unix:"));
            let places = given.into_iter().chain(["unix:///var/run/docker.sock".to_owned()]);
            match { places }.find(|host| answers(host)) {
                Some(host) => Ok(Self { host, started: None }),
                None => Self::start(),
            }
            .inspect(Self::make_images)
        });
        engine.as_ref().map_err(|why| skipped(why)).ok()
    }

    /// One that is nobody else's, to be killed.
    pub(super) fn alone() -> Option<Self> {
        Self::start().inspect(Self::make_images).map_err(|why| skipped(&why)).ok()
    }

    /// What answers like one: a program that a script starts, in a folder that is made ready for it.
    pub(super) fn of(program: &str, script: &str, prepare: impl FnOnce(&Path)) -> Option<Self> {
        let started = Started::new(script, &[], prepare);
        let engine = started.map(|started| Self { host: started.host(), started: Some(started) });
        engine
            .inspect(Self::make_images)
            .map_err(|why| skipped(&format!("{program} cannot be started: {why}")))
            .ok()
    }

    fn start() -> Result<Self, String> {
        let docker = |options: &[&str]| Started::new(DOCKER, options, |_| {});
        let started = docker(&[]).or_else(|_| docker(&["--bridge=none"]));
        let started = started.map_err(|why| format!("no Docker Engine, and none can be started: {why}"))?;
        Ok(Self { host: started.host(), started: Some(started) })
    }

    /// A project with these steps, a cache of its own, and this engine.
    pub(crate) fn project(&self, steps: &Value) -> Project {
        self.reached_from(Project::with_steps(steps)).alone()
    }

    /// The same project, whose `hm` finds this engine.
    pub(crate) fn reached_from(&self, project: Project) -> Project {
        project.with_variable("DOCKER_HOST", &self.host)
    }

    /// Sends this to the engine's own process, if it was started here.
    pub(super) fn signal(&self, signal: Signal) {
        let started = self.started.as_ref().expect("one of ours");
        kill_process(started.process(), signal).expect("the process is there");
    }

    /// A program for the engine to talk to, on the network that it sees.
    pub(crate) fn beside(&self, program: &str) -> Command {
        let Some(started) = &self.started else { return Command::new(program) };
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", started.process().as_raw_nonzero())).arg(program);
        command
    }

    /// What Docker's client says to this.
    #[track_caller]
    pub(crate) fn docker(&self, args: &[&str]) -> String {
        self.try_docker(args).unwrap_or_else(|why| panic!("docker {args:?}: {why}"))
    }

    /// The same, or why not.
    pub(crate) fn try_docker(&self, args: &[&str]) -> Result<String, String> {
        let output = Command::new("docker").args(["-H", &self.host]).args(args).output().expect("docker");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// What the engine says about a container or an image.
    #[track_caller]
    pub(super) fn inspect(&self, name: &str) -> Value {
        let text = self.docker(&["inspect", name]);
        serde_json::from_str::<Value>(&text).expect("JSON")[0].take()
    }

    /// Whether there is such an image or container.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.try_docker(&["inspect", name]).is_ok()
    }

    /// The containers, running or not, that have this label.
    pub(super) fn containers(&self, label: &str) -> Vec<String> {
        let filter = format!("label={label}");
        lines(&self.docker(&["ps", "-a", "--no-trunc", "--format", "{{.Names}}", "--filter", &filter]))
    }

    /// The images of runs that are or were, by name: what they are called says whose they are.
    fn images_of_runs(&self) -> Vec<String> {
        lines(&self.docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", "hm-run"]))
    }

    /// The containers and images of a run that has these events.
    pub(super) fn left_by(&self, events: &[BuildEvent]) -> Vec<String> {
        let run = events.iter().find_map(|event| match event {
            BuildEvent::BuildStart { run_id, .. } => Some(*run_id),
            _ => None,
        });
        let run = run.expect("a build that began");
        let ours = format!(".{}-", &run.simple().to_string()[..8]);
        let images = self.images_of_runs().into_iter().filter(|name| name.contains(&ours));
        self.containers(&format!("{RUN}={run}")).into_iter().chain(images).collect()
    }

    /// The containers and images of the `hm` that is or was this process.
    pub(super) fn owned_by(&self, pid: u32) -> Vec<String> {
        let pid = pid.to_string();
        let images = self.images_of_runs().into_iter().filter(|name| name.split('.').nth(3) == Some(&*pid));
        self.containers_of(&pid, &["-a"]).into_iter().chain(images).collect()
    }

    /// The containers of the `hm` that is this process in which something runs.
    pub(super) fn running(&self, pid: u32) -> Vec<String> {
        self.containers_of(&pid.to_string(), &[])
    }

    fn containers_of(&self, pid: &str, args: &[&str]) -> Vec<String> {
        let format = format!("{{{{.Names}}}} {{{{.Label \"{OWNER}\"}}}}");
        let found = self.docker(&[&["ps", "--no-trunc", "--format", &format], args].concat());
        let its = found.lines().filter_map(|line| line.split_once(' '));
        let its = its.filter(|(_, owner)| owner.split('.').nth(3) == Some(pid));
        its.map(|(name, _)| name.to_owned()).collect()
    }

    /// A container of somebody else's, which runs until it is removed.
    #[track_caller]
    pub(super) fn foreign_container(&self, name: &str, labels: &[String]) -> String {
        let mut args = vec!["run", "-d", "--name", name, "--network", "none"];
        args.extend(labels.iter().flat_map(|label| ["--label", label]));
        self.docker(&[&args[..], &[BUSYBOX, "sleep", "1000000"]].concat())
    }

    /// An image like another, under a name of its own, with this file on top.
    #[track_caller]
    pub(super) fn image_with(&self, name: &str, file: (&str, &str)) {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join(file.0);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(&path, file.1).expect("a file");
        self.import(folder.path(), name, &[], true);
    }

    fn make_images(&self) {
        let nothing = tempfile::tempdir().expect("a directory");
        for (name, changes) in [(BUSYBOX, &[][..]), (ORDINARY_USER, &["USER user"])] {
            if !self.has(name) {
                self.import(nothing.path(), name, changes, true);
            }
        }
        if !self.has(NO_SHELL) {
            fs::write(nothing.path().join("file"), "not a program\n").expect("a file");
            self.import(nothing.path(), NO_SHELL, &[], false);
        }
    }

    /// Makes an image of what is in a folder, with busybox beside it if that is wanted.
    #[track_caller]
    fn import(&self, folder: &Path, name: &str, changes: &[&str], busybox: bool) {
        let root = tempfile::tempdir().expect("a directory");
        let at = |name: &str| root.path().join(name);
        if busybox {
            for folder in ["bin", "etc", "root", "tmp", "home/user"] {
                fs::create_dir_all(at(folder)).expect("a directory");
            }
            fs::copy("/bin/busybox", at("bin/busybox")).expect("busybox, of Debian's busybox-static");
            let list = Command::new("/bin/busybox").arg("--list").output().expect("busybox").stdout;
            for program in String::from_utf8(list).expect("names").lines().filter(|name| *name != "busybox") {
                std::os::unix::fs::symlink("busybox", at("bin").join(program)).expect("a link");
            }
            let users = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n";
            fs::write(at("etc/passwd"), users).expect("a file");
            fs::write(at("etc/group"), "root:x:0:\nuser:x:1000:\n").expect("a file");
            // What the image has there must be seen in a workspace that is made in it.
            fs::write(at("etc/made-by"), "hm's tests\n").expect("a file");
        }
        let script = "cp -a \"$2/.\" \"$3\"; test ! -d \"$3/tmp\" || chmod 1777 \"$3/tmp\" \"$3/home/user\"
            tar -C \"$3\" --owner=0 --group=0 -cf - . | {
              to=$1; name=$4; shift 4
              docker -H \"$to\" import \"$@\" - \"$name\"
            }";
        let mut import = Command::new("sh");
        import.args(["-ec", script, "sh", &self.host]).arg(folder).arg(root.path()).arg(name);
        import.args(["--change", "ENV PATH=/usr/local/bin:/bin"]);
        import.args(changes.iter().flat_map(|change| ["--change", change]));
        let output = import.output().expect("sh");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// What the engine calls whoever made a container.
pub(super) const OWNER: &str = "dev.harmont.hm.owner";

/// What the engine calls the run that a container or an image is of.
pub(super) const RUN: &str = "dev.harmont.hm.run";

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// A root step in this image.
pub(super) fn in_image(image: &str, key: &str, cmd: &str) -> Value {
    let mut step = step(key, cmd);
    step["image"] = json!(image);
    step
}

/// A root step in busybox.
pub(crate) fn root(key: &str, cmd: &str) -> Value {
    in_image(BUSYBOX, key, cmd)
}

/// A step like this that says so much to its runner.
pub(super) fn told(mut step: Value, args: Value) -> Value {
    step["runner_args"] = args;
    step
}

#[test]
fn an_engine_ends_with_whoever_started_it() {
    let Some(engine) = Engine::alone() else { return };
    let folder = engine.started.as_ref().expect("started here").folder.clone();
    let marker = "88800";
    engine.docker(&["run", "-d", "--network", "none", BUSYBOX, "sleep", marker]);
    crate::support::wait_until("it runs", || crate::support::process_with(&format!("sleep {marker}")));
    drop(engine);
    assert!(!crate::support::process_with(&format!("sleep {marker}")) && !folder.exists());
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    assert!(!mounts.contains(&*folder.to_string_lossy()));
}
