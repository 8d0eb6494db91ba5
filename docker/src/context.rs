//! Docker's contexts: named engines, as Docker's own client keeps them. Reads its files, and connects to nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hm_disk::{read_regular, sha256_hex};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::engine_env::EngineEnv;
use crate::tls::TlsFiles;

/// The largest of its files.
const MAX_FILE: usize = 4 * 1024 * 1024;

/// Most contexts that are looked at for their names.
const MAX_KNOWN: usize = 50;

/// The context that says nothing.
const DEFAULT: &str = "default";

/// Engine of a context, as the context describes it.
pub(crate) struct Context {
    pub(crate) name: String,
    /// Address, in the form of `DOCKER_HOST`.
    pub(crate) host: String,
    /// Files that it has for TLS.
    pub(crate) tls: TlsFiles,
}

/// Failure to learn the engine of a context.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// A file of Docker's client cannot be read.
    #[error("Docker's settings cannot be read: {0}")]
    Settings(SettingsError),
    /// There is no such context.
    #[error("there is no Docker context `{name}`, which {source_name} asks for; there is: {}", known.join(", "))]
    Unknown {
        /// Name of the context.
        name: String,
        /// Setting that asks for it.
        source_name: String,
        /// Contexts that there are.
        known: Vec<String>,
    },
    /// It is not for Docker.
    #[error("the Docker context `{0}` says nothing about where the engine is")]
    Empty(String),
    /// It wants to trust whoever answers.
    #[error(
        "the Docker context `{0}` does not verify whose engine it is (`SkipTLSVerify`), which hm does not do; give it the \
         certificate of the engine's authority (`docker context update {0} --docker host=…,ca=…`)"
    )]
    Unverified(String),
}

/// A file of Docker's client that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct SettingsError {
    path: PathBuf,
    reason: String,
}

#[derive(Deserialize)]
struct Chosen {
    #[serde(default, rename = "currentContext")]
    current: String,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default, rename = "Name")]
    name: String,
    #[serde(default, rename = "Endpoints")]
    endpoints: BTreeMap<String, MetaEndpoint>,
}

#[derive(Deserialize)]
struct MetaEndpoint {
    #[serde(default, rename = "Host")]
    host: String,
    #[serde(default, rename = "SkipTLSVerify")]
    unverified: bool,
}

/// The context that the environment or Docker's settings choose; none if that is the default one.
///
/// # Errors
/// There is no such context, or something cannot be read.
pub(crate) fn chosen(env: &EngineEnv) -> Result<Option<Context>, ContextError> {
    let Some(folder) = env.settings() else { return Ok(None) };
    let (name, source) = match env.variable("DOCKER_CONTEXT") {
        Some(name) => (name.to_owned(), "DOCKER_CONTEXT".to_owned()),
        None => {
            let path = folder.join("config.json");
            let chosen: Option<Chosen> = read_json(&path).map_err(ContextError::Settings)?;
            (chosen.map(|chosen| chosen.current).unwrap_or_default(), path.display().to_string())
        }
    };
    if name.is_empty() || name == DEFAULT {
        Ok(None)
    } else {
        named(&folder.join("contexts"), name, source).map(Some)
    }
}

fn named(folder: &Path, name: String, source_name: String) -> Result<Context, ContextError> {
    // Their directories are called by digests, so that any name will do.
    let digest = sha256_hex(&name);
    let meta = read_json::<Meta>(&folder.join("meta").join(&digest).join("meta.json"));
    let Some(mut meta) = meta.map_err(ContextError::Settings)? else {
        return Err(ContextError::Unknown { name, source_name, known: known(folder) });
    };
    match meta.endpoints.remove("docker") {
        Some(place) if place.unverified => Err(ContextError::Unverified(name)),
        Some(place) if !place.host.is_empty() => {
            let tls = TlsFiles::of(&folder.join("tls").join(digest).join("docker"));
            Ok(Context { name, host: place.host, tls })
        }
        _ => Err(ContextError::Empty(name)),
    }
}

/// The names of the contexts that are there, as far as they can be read.
fn known(folder: &Path) -> Vec<String> {
    let folders = folder.join("meta").read_dir().into_iter().flatten().flatten().take(MAX_KNOWN);
    let metas = folders.filter_map(|folder| read_json(&folder.path().join("meta.json")).ok().flatten());
    let names = metas.map(|meta: Meta| meta.name).filter(|name| !name.is_empty());
    let names: BTreeSet<String> = names.chain([DEFAULT.to_owned()]).collect();
    names.into_iter().collect()
}

/// Reads one of the files of Docker's client; none if it is not there.
///
/// # Errors
/// It cannot be read, or is not what it should be. The error quotes nothing of it, since there may be passwords in it.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, SettingsError> {
    let failed = |reason: String| SettingsError { path: path.to_owned(), reason };
    let bytes = match read_regular(path, MAX_FILE) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| failed(error.to_string()))?,
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        failed(format!("it is not what it should be in line {}, column {}", error.line(), error.column()))
    })
}
