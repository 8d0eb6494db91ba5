//! Engines of a test's own, on paths and ports of their own, which end with the test. Only there for tests.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::TryStreamExt;
use tempfile::TempDir;

use crate::endpoint::{self, EngineEnv};

/// How long a program may take until it can be used.
const READY: Duration = Duration::from_secs(60);

/// A Docker Engine without any image.
pub(crate) struct Engine {
    pub(crate) dir: TempDir,
    program: Option<Running>,
}

/// Podman's service, without any image.
pub(crate) struct Podman {
    folder: PathBuf,
    program: Option<Running>,
}

/// A program that ends when this is dropped.
pub(crate) struct Running(Child);

impl Engine {
    /// Starts one; none, with a word about it, where that is not possible.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// Starts one with more arguments.
    pub(crate) fn start_with(more: &[String]) -> Option<Self> {
        let rights = rustix::thread::capabilities(None).expect("our own rights").effective;
        if !rights.contains(rustix::thread::CapabilitySet::SYS_ADMIN) {
            return skip("an engine needs the rights of root");
        }
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name).display().to_string();
        let mut command = Command::new("dockerd");
        command.args(["--data-root", &at("root"), "--exec-root", &at("exec"), "--pidfile", &at("pid")]);
        command.args(["-H", &format!("unix://{}", at("docker.sock")), "--storage-driver", "overlay2"]);
        for off in ["iptables", "ip6tables", "ip-forward", "ip-masq", "userland-proxy"] {
            command.arg(format!("--{off}=false"));
        }
        command.args(more);
        let program = Some(run(&mut command)?);
        let engine = Self { dir, program };
        let ready = engine.socket();
        wait_until("dockerd", || std::os::unix::net::UnixStream::connect(&ready).is_ok());
        Some(engine)
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    /// The way to it.
    pub(crate) fn env(&self) -> EngineEnv {
        engine_env(&[("DOCKER_HOST", &format!("unix://{}", self.socket().display()))], self.dir.path())
    }

    /// A client for it.
    pub(crate) async fn client(&self) -> Docker {
        endpoint::connect(&self.env()).await.expect("the engine answers").1
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.program.take());
        detach_below(self.dir.path());
    }
}

impl Podman {
    /// Starts one that keeps its things in a folder; none, with a word about it, where that is not possible.
    pub(crate) fn start(folder: &Path, variables: &[(&str, &Path)]) -> Option<Self> {
        let at = |name: &str| folder.join(name).display().to_string();
        let mut command = Command::new("podman");
        command.args([
            "--root",
            &at("podman"),
            "--runroot",
            &at("podman-run"),
            "--cgroup-manager",
            "cgroupfs",
        ]);
        command.args(["system", "service", "--time=0", &format!("unix://{}", at("podman.sock"))]);
        command.envs(variables.iter().copied());
        let podman = Self { folder: folder.to_owned(), program: Some(run(&mut command)?) };
        wait_until("podman", || std::os::unix::net::UnixStream::connect(at("podman.sock")).is_ok());
        Some(podman)
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.folder.join("podman.sock").display())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        drop(self.program.take());
        detach_below(&self.folder);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(id) = i32::try_from(self.0.id())
            && let Some(id) = rustix::process::Pid::from_raw(id)
        {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        let end = Instant::now() + READY;
        while matches!(self.0.try_wait(), Ok(None)) {
            if Instant::now() > end {
                let _ = self.0.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Takes away what an engine has mounted and left, as it does with containers that run, so that its folder can be removed.
fn detach_below(folder: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let paths = mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    for path in paths.filter(|path| path.starts_with(folder)) {
        let _ = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Starts a program that runs until the test ends; none, with a word about it, if this machine does not have it.
pub(crate) fn run(command: &mut Command) -> Option<Running> {
    let name = command.get_program().to_string_lossy().into_owned();
    // Also when the test itself is killed.
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--pdeathsig", "TERM", "--"]).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        if let Some(value) = value {
            wrapped.env(key, value);
        }
    }
    if !on_path(&name) {
        return skip(&format!("there is no `{name}`"));
    }
    wrapped.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    Some(Running(wrapped.spawn().expect("a program that is there")))
}

/// Whether a program is there.
pub(crate) fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Path::new(name).is_file() || std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// Says that a test cannot be done here. That is an error in CI, which has everything.
pub(crate) fn skip<T>(why: &str) -> Option<T> {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    println!("SKIPPED: {why}");
    None
}

/// Waits for a program to become of use.
pub(crate) fn wait_until(name: &str, ready: impl Fn() -> bool) {
    let end = Instant::now() + READY;
    while !ready() {
        assert!(Instant::now() < end, "{name} is not ready");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port that nobody listens at.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

/// An environment with these variables, and a home directory.
pub(crate) fn engine_env(variables: &[(&str, &str)], home: &Path) -> EngineEnv {
    let path = std::env::var("PATH").unwrap_or_default();
    let all = [("PATH", path.as_str())].into_iter().chain(variables.iter().copied());
    EngineEnv {
        env: all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        home: Some(home.to_owned()),
    }
}

/// Makes an image of busybox, which has `sh` and the usual commands.
pub(crate) async fn image(docker: &Docker, name: &str) {
    let program = std::fs::read("/bin/busybox").expect("busybox-static");
    let list = Command::new("/bin/busybox").arg("--list").output().expect("its commands").stdout;
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(program.len() as u64);
    archive.append_data(&mut header, "bin/busybox", program.as_slice()).expect("packed");
    for command in String::from_utf8_lossy(&list).lines().filter(|name| *name != "busybox") {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, format!("bin/{command}"), "busybox").expect("packed");
    }
    let (repository, tag) = name.rsplit_once(':').expect("a tag");
    let options = CreateImageOptionsBuilder::default().from_src("-").repo(repository).tag(tag).build();
    let archive = bollard::body_full(archive.into_inner().expect("packed").into());
    let made: Vec<_> =
        docker.create_image(Some(options), Some(archive), None).try_collect().await.expect("an image");
    assert!(!made.is_empty());
}
