//! An engine that answers, with images that need no network: the machine's own, or one that is started here. What is in
//! it is looked at with Docker's own client.

use std::path::Path;
use std::process::Command;

use rustix::process::{Signal, kill_process};

use crate::image::{import, make_all};
use crate::programs::missing;
use crate::service::{Service, Started};

/// An engine that answers. One that was started here ends with this value.
#[derive(Debug)]
pub struct Engine {
    /// Its address, for `DOCKER_HOST`.
    pub host: String,
    started: Option<Started>,
}

/// True if an engine answers there.
pub(crate) fn answers(host: &str) -> bool {
    let version = Command::new("docker").args(["-H", host, "version"]).output();
    version.is_ok_and(|version| version.status.success())
}

impl Engine {
    /// The machine's own engine if there is one, else one of ours; with the images.
    ///
    /// # Errors
    /// The reason why there cannot be one on this machine.
    pub fn of_the_machine() -> Result<Self, String> {
        if let Some(program) = missing(&["docker", "/bin/busybox"]) {
            return Err(format!("`{program}` is not installed"));
        }
        // Processes of steps are looked for on this machine.
        let given = std::env::var("DOCKER_HOST").ok().filter(|host| host.starts_with("unix:"));
        let mut places = given.into_iter().chain(["unix:///var/run/docker.sock".to_owned()]);
        let own = places.find(|host| answers(host)).map(|host| Self { host, started: None });
        own.map_or_else(Self::alone, |engine| {
            make_all(&engine);
            Ok(engine)
        })
    }

    /// One that is nobody else's, to be killed; with the images.
    ///
    /// # Errors
    /// The reason why there cannot be one on this machine.
    pub fn alone() -> Result<Self, String> {
        // A bridge takes rights that not every container of a CI has.
        let started =
            Service::docker().start().or_else(|_| Service::docker().option("--bridge=none").start());
        started.inspect(make_all)
    }

    /// Podman's service in an engine's place; with the images.
    ///
    /// # Errors
    /// The reason why there cannot be one on this machine.
    pub fn podman() -> Result<Self, String> {
        Service::podman().start().inspect(make_all)
    }

    pub(crate) fn started(started: Started) -> Self {
        Self { host: started.host(), started: Some(started) }
    }

    /// Path of its unix socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        Path::new(self.host.strip_prefix("unix://").unwrap_or_default())
    }

    /// The directory that an engine of ours has all its things in.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.started.as_ref().map(|started| &*started.folder)
    }

    /// Sends this to the engine's own process, if it was started here.
    pub fn signal(&self, signal: Signal) {
        let started = self.started.as_ref().expect("one of ours");
        kill_process(started.process(), signal).expect("the process is there");
    }

    /// A program for the engine to talk to, on the network that it sees.
    #[must_use]
    pub fn beside(&self, program: &str) -> Command {
        let Some(started) = self.started.as_ref().filter(|started| !started.shares_network) else {
            return Command::new(program);
        };
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", started.process().as_raw_nonzero())).arg(program);
        command
    }

    /// Output of Docker's client for these arguments.
    #[track_caller]
    pub fn docker(&self, args: &[&str]) -> String {
        self.try_docker(args).unwrap_or_else(|why| panic!("docker {args:?}: {why}"))
    }

    /// Output of Docker's client for these arguments.
    ///
    /// # Errors
    /// Its words, where it fails.
    pub fn try_docker(&self, args: &[&str]) -> Result<String, String> {
        let output = Command::new("docker").args(["-H", &self.host]).args(args).output().expect("docker");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// True if there is such an image or container.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.try_docker(&["inspect", name]).is_ok()
    }

    /// Makes an image of busybox with this file on top.
    #[track_caller]
    pub fn image_with(&self, name: &str, file: (&str, &str)) {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join(file.0);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(&path, file.1).expect("a file");
        import(&self.host, folder.path(), name, &[], true).expect("an image");
    }
}
