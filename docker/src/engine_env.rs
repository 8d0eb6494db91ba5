//! Environment variables and directories that decide which engine is used, and how.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Environment that the search for an engine depends on.
#[derive(Clone)]
pub struct EngineEnv {
    /// Environment variables of the process.
    pub env: BTreeMap<String, String>,
    /// The user's home directory.
    pub home: Option<PathBuf>,
}

impl EngineEnv {
    /// A variable; one that is empty counts as none.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The directory of Docker's own client.
    pub(crate) fn settings(&self) -> Option<PathBuf> {
        let said = self.variable("DOCKER_CONFIG").map(PathBuf::from);
        said.or_else(|| self.home.as_ref().map(|home| home.join(".docker")))
    }

    /// Sockets at which engines usually listen: Docker's of the system, of the user, of Docker Desktop, and Podman's
    /// service.
    pub(crate) fn usual_places(&self) -> Vec<PathBuf> {
        let runtime = self.variable("XDG_RUNTIME_DIR").map(Path::new);
        let home = self.home.as_deref();
        let places = [
            Some(PathBuf::from("/var/run/docker.sock")),
            runtime.map(|runtime| runtime.join("docker.sock")),
            home.map(|home| home.join(".docker/run/docker.sock")),
            home.map(|home| home.join(".docker/desktop/docker.sock")),
            runtime.map(|runtime| runtime.join("podman/podman.sock")),
            Some(PathBuf::from("/run/podman/podman.sock")),
        ];
        places.into_iter().flatten().collect()
    }
}
