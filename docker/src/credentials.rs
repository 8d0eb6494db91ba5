//! Credentials for registries: names and passwords as `docker login` keeps them, in a file or with a
//! helper program. They are given to the engine and shown to nobody.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::context::{SettingsError, read_json};
use crate::engine_env::EngineEnv;

/// Name that Docker's client has for its own registry here.
const HUB: &str = "https://index.docker.io/v1/";

/// Time that a helper may take.
const HELPER: Duration = Duration::from_secs(30);

/// The longest answer of a helper; tokens take a few thousand bytes.
const MAX_ANSWER: u64 = 1024 * 1024;

/// A user that stands for "the secret is a token".
const TOKEN: &str = "<token>";

/// Answer of a helper that has nothing, in all its makers' versions.
const NOTHING: &str = "credentials not found";

/// Failure to get the credentials for a registry. It quotes neither files nor helpers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    /// Docker's settings cannot be read.
    #[error("Docker's settings cannot be read: {0}")]
    Settings(#[from] SettingsError),
    /// Content of the file that makes no sense.
    #[error("what Docker's settings have for the registry `{0}` is malformed")]
    Malformed(String),
    /// A helper of Docker's client failed.
    #[error("`{program}`, which is to know the password for the registry `{registry}`, {reason}")]
    Helper {
        /// Name of the helper.
        program: String,
        /// Registry that it was asked about.
        registry: String,
        /// Complaint about what it did.
        reason: String,
    },
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Settings {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Credentials that the user has for a registry (`docker.io` is Docker's own); without any, one asks without.
///
/// # Errors
/// It cannot be found out.
pub(crate) async fn of(
    registry: &str,
    env: &EngineEnv,
) -> Result<Option<DockerCredentials>, CredentialsError> {
    let Some(folder) = env.settings() else { return Ok(None) };
    let Some(settings) = read_json::<Settings>(&folder.join("config.json"))? else { return Ok(None) };
    let key = if registry == "docker.io" { HUB } else { registry };
    let helper =
        settings.cred_helpers.get(key).filter(|name| !name.is_empty()).unwrap_or(&settings.creds_store);
    if !helper.is_empty() {
        return ask(helper, key, env).await;
    }
    let exact = settings.auths.get(key);
    let Some(entry) =
        exact.or_else(|| settings.auths.iter().find(|(name, _)| host(name) == host(key)).map(|(_, e)| e))
    else {
        return Ok(None);
    };
    entry.credentials(key).map_err(|()| CredentialsError::Malformed(registry.to_owned()))
}

impl Entry {
    fn credentials(&self, key: &str) -> Result<Option<DockerCredentials>, ()> {
        let (mut username, mut password) = (self.username.clone(), self.password.clone());
        if !self.auth.is_empty() {
            let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
            let decoded =
                GeneralPurpose::new(&alphabet::STANDARD, config).decode(&self.auth).map_err(|_| ())?;
            let decoded = String::from_utf8(decoded).map_err(|_| ())?;
            let (name, word) = decoded.split_once(':').ok_or(())?;
            // Docker's client once wrote zeros behind it.
            (username, password) = (name.to_owned(), word.trim_end_matches('\0').to_owned());
        }
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let found = DockerCredentials {
            username: some(&username),
            password: some(&password),
            identitytoken: some(&self.identitytoken),
            registrytoken: some(&self.registrytoken),
            ..DockerCredentials::default()
        };
        // With a helper, there are empty entries, which only say where one is logged in.
        let nothing = found == DockerCredentials::default();
        Ok((!nothing).then(|| DockerCredentials { serveraddress: Some(key.to_owned()), ..found }))
    }
}

/// The name of the machine: people log in with `https://`, with a path behind it, or with neither.
fn host(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    bare.split('/').next().unwrap_or(bare)
}

/// Asks a helper: the registry's name into it, JSON out of it.
async fn ask(
    helper: &str,
    key: &str,
    env: &EngineEnv,
) -> Result<Option<DockerCredentials>, CredentialsError> {
    let program = format!("docker-credential-{helper}");
    let failed = |reason: &str| CredentialsError::Helper {
        program: program.clone(),
        registry: host(key).to_owned(),
        reason: reason.to_owned(),
    };
    if helper.contains('/') {
        return Err(failed("is no name of a program"));
    }
    let mut child = Command::new(&program)
        .arg("get")
        .env_clear()
        .envs(&env.env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(&format!("cannot be started: {error}")))?;
    let talk = async {
        if let Some(mut question) = child.stdin.take() {
            // One that does not read its question answers without it, or not at all.
            let _ = question.write_all(key.as_bytes()).await;
        }
        let mut answer = Vec::new();
        if let Some(out) = child.stdout.take() {
            out.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        }
        Ok::<_, std::io::Error>((answer, child.wait().await?))
    };
    let Ok(talked) = tokio::time::timeout(HELPER, talk).await else {
        return Err(failed(&format!("has not answered within {} s", HELPER.as_secs())));
    };
    let (answer, status) = talked.map_err(|error| failed(&format!("cannot be asked: {error}")))?;
    if !status.success() {
        let nothing = String::from_utf8_lossy(&answer).contains(NOTHING);
        return if nothing { Ok(None) } else { Err(failed(&format!("has failed ({status})"))) };
    }
    let answer: Answer = serde_json::from_slice(&answer).map_err(|_| failed("has answered nonsense"))?;
    let server = Some(key.to_owned());
    Ok(Some(if answer.username == TOKEN {
        DockerCredentials {
            identitytoken: Some(answer.secret),
            serveraddress: server,
            ..DockerCredentials::default()
        }
    } else {
        let (username, password) = (Some(answer.username), Some(answer.secret));
        DockerCredentials { username, password, serveraddress: server, ..DockerCredentials::default() }
    }))
}

#[cfg(test)]
mod tests;
