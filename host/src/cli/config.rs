//! The configuration files: `config.toml` in the user's configuration folder and in the project's `.hm/`. A project can
//! take away, never give: whatever either file forbids is forbidden. What is for all projects is the user's.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hm_disk::read_regular;
use hm_docker as docker;
use serde::Deserialize;

use super::error::CliError;
use super::units::Size;
use crate::cache::CacheLimits;
use crate::pipeline::DefaultRunner;

/// A configuration larger than this is none.
const MAX_BYTES: usize = 1 << 20;
/// Bytes that the cache may hold.
const MAX_CACHE_BYTES: u64 = 20_000_000_000;
/// Days for which a result is kept that nobody uses.
const MAX_AGE_DAYS: u32 = 30;
/// Processes and threads that a container may have, unless the user says otherwise.
const MAX_PIDS: u32 = 4096;
/// The least memory of a container, in bytes; engines refuse 6 MiB and less.
const LEAST_MEMORY: u64 = 7_000_000;
/// Least part of a processor that engines take.
const LEAST_CPUS: f64 = 0.01;

/// Configuration of the user and the project together.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Config {
    /// Steps get no network.
    pub(super) offline: bool,
    /// File that names the runner.
    runner: Option<String>,
    /// The file that says so.
    #[serde(skip)]
    runner_from: PathBuf,
    /// Limits of the cache.
    cache: Option<CacheConfig>,
    /// Limits of a container.
    docker: DockerConfig,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CacheConfig {
    /// Text such as `20GB`.
    max_size: Option<Size>,
    max_age_days: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DockerConfig {
    memory: Option<Memory>,
    cpus: Option<Cpus>,
    pids: Option<NonZeroU32>,
}

/// Bytes, written like `4GB`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Deserialize)]
#[serde(try_from = "Size")]
struct Memory(u64);

impl TryFrom<Size> for Memory {
    type Error = &'static str;

    fn try_from(Size(bytes): Size) -> Result<Self, Self::Error> {
        if bytes < LEAST_MEMORY { Err("a container needs 7MB of memory or more") } else { Ok(Self(bytes)) }
    }
}

/// Processors, such as 2 or 1.5.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Deserialize)]
#[serde(try_from = "f64")]
struct Cpus(f64);

impl TryFrom<f64> for Cpus {
    type Error = &'static str;

    fn try_from(cpus: f64) -> Result<Self, Self::Error> {
        let fits = cpus.is_finite() && cpus >= LEAST_CPUS;
        if fits { Ok(Self(cpus)) } else { Err("it has to be a number of processors, 0.01 or more") }
    }
}

impl DockerConfig {
    /// The user's limits, as far as the project does not lower them.
    fn within(self, project: Self) -> Self {
        Self {
            memory: smaller(self.memory, project.memory),
            cpus: smaller(self.cpus, project.cpus),
            pids: smaller(self.pids.or(NonZeroU32::new(MAX_PIDS)), project.pids),
        }
    }
}

/// The smaller of two limits; one that is not there is none.
fn smaller<T: PartialOrd>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other < one { other } else { one }),
        (one, other) => one.or(other),
    }
}

impl Config {
    /// Reads both files, as far as they exist.
    pub(super) fn read(user: &Path, project: &Path) -> Result<Self, CliError> {
        let mut merged = Self::of_user(user)?;
        for path in [project.join(".hm/config.toml"), project.join(".harmont/config.toml")] {
            let config = read(&path)?;
            merged.offline |= config.offline;
            // It gives no rights, and the project knows best what its steps need.
            if config.runner.is_some() {
                (merged.runner, merged.runner_from) = (config.runner, config.runner_from);
            }
            merged.docker = merged.docker.within(config.docker);
            if config.cache.is_some() {
                let source =
                    "the cache is for all projects, so [cache] belongs in the user's own configuration";
                return Err(CliError::Config { path, source: source.into() });
            }
        }
        Ok(merged)
    }

    /// Reads the user's file, if there is one.
    pub(super) fn of_user(user: &Path) -> Result<Self, CliError> {
        read(&user.join("config.toml"))
    }

    /// The runner for all steps that name none.
    pub(super) fn runner(&self) -> Option<DefaultRunner> {
        let name = self.runner.clone()?;
        Some(DefaultRunner { name, by: self.runner_from.display().to_string() })
    }

    /// Limits of the cache.
    pub(super) fn limits(&self) -> CacheLimits {
        let CacheConfig { max_size, max_age_days } = self.cache.unwrap_or_default();
        let days = max_age_days.unwrap_or(MAX_AGE_DAYS);
        CacheLimits {
            max_bytes: max_size.map_or(MAX_CACHE_BYTES, |size| size.0),
            max_age: Duration::from_secs(u64::from(days) * 86_400),
        }
    }

    /// Limits of a container.
    pub(super) fn docker(&self) -> docker::Limits {
        let DockerConfig { memory, cpus, pids } = self.docker;
        docker::Limits {
            memory: memory.map(|Memory(bytes)| bytes),
            cpus: cpus.map(|Cpus(cpus)| cpus),
            pids: Some(pids.map_or(MAX_PIDS, NonZeroU32::get).into()),
        }
    }
}

fn read(path: &Path) -> Result<Config, CliError> {
    let failed = |source| CliError::Config { path: path.into(), source };
    match read_regular(path, MAX_BYTES) {
        Ok(text) => {
            let config = toml::from_slice(&text).map_err(|e| failed(e.into()))?;
            Ok(Config { runner_from: path.to_owned(), ..config })
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Config::default()),
        Err(e) => Err(failed(e.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_file_can_forbid_and_typos_are_refused() {
        let dir = tempfile::tempdir().expect("directory");
        let (user, project) = (dir.path().join("user"), dir.path().join("project"));
        std::fs::create_dir_all(project.join(".hm")).expect("directory");
        std::fs::create_dir_all(&user).expect("directory");
        let read = || Config::read(&user, &project).map(|c| c.offline).map_err(|e| e.to_string());
        assert_eq!(read(), Ok(false));
        std::fs::write(user.join("config.toml"), "offline = true\n").expect("file");
        std::fs::write(project.join(".hm/config.toml"), "offline = false\n").expect("file");
        assert_eq!(read(), Ok(true));
        std::fs::write(user.join("config.toml"), "runner = \"a\"\n").expect("file");
        let runner = || Config::read(&user, &project).expect("valid").runner().map(|it| (it.name, it.by));
        let expected = |name: &str, path: &Path| Some((name.to_owned(), path.display().to_string()));
        assert_eq!(runner(), expected("a", &user.join("config.toml")));
        std::fs::write(project.join(".hm/config.toml"), "runner = \"b\"\n").expect("file");
        assert_eq!(runner(), expected("b", &project.join(".hm/config.toml")));
        std::fs::write(project.join(".hm/config.toml"), "ofline = true\n").expect("file");
        assert!(read().expect_err("a typo").contains(".hm/config.toml"));
    }

    #[test]
    fn the_limits_of_the_cache_are_the_users() {
        let dir = tempfile::tempdir().expect("directory");
        let (user, project) = (dir.path().join("user"), dir.path().join("project"));
        std::fs::create_dir_all(project.join(".hm")).expect("directory");
        std::fs::create_dir_all(&user).expect("directory");
        let days = |days: u64| Duration::from_secs(days * 86_400);
        let read = || Config::read(&user, &project).map(|config| config.limits());
        let error =
            || std::error::Error::source(&read().expect_err("refused")).expect("a source").to_string();
        let expected = CacheLimits { max_bytes: 20_000_000_000, max_age: days(30) };
        assert_eq!(read().expect("nothing is set"), expected);
        std::fs::write(user.join("config.toml"), "[cache]\nmax_size = \"500MB\"\n").expect("file");
        assert_eq!(read().expect("fine"), CacheLimits { max_bytes: 500_000_000, ..expected });
        std::fs::write(user.join("config.toml"), "cache = { max_age_days = 7 }").expect("file");
        assert_eq!(read().expect("fine"), CacheLimits { max_age: days(7), ..expected });
        for (text, reason) in [
            ("[cache]\nmax_size = \"5 GB\"\n", "500MB or 5GB"),
            ("[cache]\nmax_size = 5\n", "a string"),
            ("[cache]\nmax_age_days = -1\n", "u32"),
            ("[cache]\nmaxsize = \"5GB\"\n", "maxsize"),
        ] {
            std::fs::write(user.join("config.toml"), text).expect("file");
            assert!(error().contains(reason), "{}", error());
        }
        std::fs::remove_file(user.join("config.toml")).expect("removed");
        std::fs::write(project.join(".hm/config.toml"), "[cache]\n").expect("file");
        assert!(error().contains("belongs in the user's own configuration"));
    }

    #[test]
    fn a_project_only_lowers_what_containers_may_use() {
        let dir = tempfile::tempdir().expect("directory");
        let (user, project) = (dir.path().join("user"), dir.path().join("project"));
        std::fs::create_dir_all(project.join(".hm")).expect("directory");
        std::fs::create_dir_all(&user).expect("directory");
        let limits = |users: &str, projects: &str| {
            std::fs::write(user.join("config.toml"), users).expect("file");
            std::fs::write(project.join(".hm/config.toml"), projects).expect("file");
            let docker::Limits { memory, cpus, pids } =
                Config::read(&user, &project).expect("valid").docker();
            (memory, cpus, pids)
        };
        let all = "[docker]\nmemory = \"4GB\"\ncpus = 2\npids = 10000\n";
        let less = "[docker]\nmemory = \"1GB\"\ncpus = 0.5\npids = 100\n";
        let (of_all, of_less) =
            ((Some(4_000_000_000), Some(2.0), Some(10_000)), (Some(1_000_000_000), Some(0.5), Some(100)));
        assert_eq!(limits("", ""), (None, None, Some(4096)));
        assert_eq!(limits(all, ""), of_all);
        assert_eq!(limits(all, less), of_less);
        assert_eq!(limits(less, all), of_less);
        assert_eq!(limits("", less), of_less);
        assert_eq!(limits("", all).2, Some(4096), "what the user has not said counts too");
        assert_eq!(limits("[docker]\ncpus = 3\n", less), of_less);

        let error = |text: &str| {
            std::fs::write(user.join("config.toml"), text).expect("file");
            let error = Config::read(&user, &project).expect_err(text);
            std::error::Error::source(&error).expect("a source").to_string()
        };
        for (text, reason) in [
            ("memory = \"6MB\"", "a container needs 7MB of memory or more"),
            ("memory = 4000000000", "expected a string"),
            ("memory = \"4GiB\"", "500MB or 5GB"),
            ("cpus = 0", "a number of processors, 0.01 or more"),
            ("cpus = -1.5", "a number of processors, 0.01 or more"),
            ("cpus = nan", "a number of processors, 0.01 or more"),
            ("cpus = inf", "a number of processors, 0.01 or more"),
            ("cpus = \"2\"", "expected f64"),
            ("pids = 0", "nonzero u32"),
            ("pids = -1", "nonzero u32"),
            ("pid = 1", "pid"),
        ] {
            let error = error(&format!("[docker]\n{text}\n"));
            assert!(error.contains(reason), "{error}");
        }
    }
}
