//! Pulls images, and says how far that is. Whether one is needed is decided elsewhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::credentials;
use crate::engine_env::EngineEnv;
use crate::reference::{Reference, ReferenceError};

/// The time between two lines about how far it is.
const PACE: Duration = Duration::from_secs(3);

/// Most layers that are counted; images have at most 127.
const MAX_LAYERS: usize = 1000;

/// Failure to pull an image.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// It is no name of an image.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The registry does not hand it out.
    #[error(
        "the image `{image}` cannot be pulled: it does not exist, or only for those who are logged in (`docker login{login}`): \
         {message}"
    )]
    Refused {
        /// Name of the image.
        image: String,
        /// Registry to log in to, with a blank before it; empty for Docker's own.
        login: String,
        /// Words of the registry.
        message: String,
    },
    /// The pull failed in another way.
    #[error("the image `{image}` cannot be pulled: {message}")]
    Failed {
        /// Name of the image.
        image: String,
        /// Words of the engine.
        message: String,
    },
}

/// Has the engine pull an image. Few lines go to `lines`: one at the beginning, one at the end, and between them one
/// every few seconds at most. That nobody reads them stops nothing; dropping the future does.
///
/// # Errors
/// [`PullError`], with the name as it was given.
pub(crate) async fn pull(
    docker: &Docker,
    env: &EngineEnv,
    image: &str,
    lines: mpsc::Sender<String>,
) -> Result<(), PullError> {
    let reference = Reference::parse(image)?;
    let _ = lines.send(format!("Pulling {image}")).await;
    let credentials = match credentials::of(&reference.registry, env).await {
        Ok(credentials) => credentials,
        Err(error) => {
            let _ = lines.send(format!("Pulling without a password: {error}")).await;
            None
        }
    };
    let failed = |error: &Error| failure(image, &reference.registry, error);
    // The whole name, since not every engine takes a short one for Docker's own registry's.
    let name = reference.name();
    let options = CreateImageOptionsBuilder::default().from_image(&name).tag(&reference.version).build();
    let mut coming = std::pin::pin!(docker.create_image(Some(options), None, credentials));
    let mut progress = Progress::default();
    let mut said = (Instant::now(), String::new());
    while let Some(next) = coming.next().await {
        progress.take(next.map_err(|error| failed(&error))?);
        if said.0.elapsed() >= PACE {
            let line = progress.line().filter(|line| *line != said.1);
            if let Some(line) = line {
                let _ = lines.send(line.clone()).await;
                said = (Instant::now(), line);
            }
        }
    }
    // An engine may report an error in a way of its own, and then only the image is missing.
    let whole = reference.whole();
    if let Err(error) = docker.inspect_image(&whole).await {
        return Err(failed(&error));
    }
    let _ = lines.send(format!("Pulled {image}")).await;
    Ok(())
}

/// Progress of a pull, layer by layer.
#[derive(Default)]
struct Progress {
    /// Bytes that have come, and all of them.
    layers: BTreeMap<String, (u64, u64)>,
    /// The first layer that is there is being unpacked.
    unpacking: bool,
}

impl Progress {
    fn take(&mut self, info: CreateImageInfo) {
        let (Some(id), Some(status)) = (info.id, info.status) else { return };
        match status.as_str() {
            "Downloading" if self.layers.len() < MAX_LAYERS => {
                let bytes =
                    |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
                let detail = info.progress_detail.unwrap_or_default();
                self.layers.insert(id, (bytes(detail.current), bytes(detail.total)));
            }
            "Download complete" | "Extracting" | "Pull complete" => {
                self.unpacking |= status == "Extracting";
                if let Some(layer) = self.layers.get_mut(&id) {
                    layer.0 = layer.0.max(layer.1);
                }
            }
            _ => {}
        }
    }

    /// None before anything has come.
    fn line(&self) -> Option<String> {
        let sum = |part: fn(&(u64, u64)) -> u64| self.layers.values().map(part).fold(0, u64::saturating_add);
        let (here, all) = (sum(|layer| layer.0), sum(|layer| layer.1));
        if self.unpacking && here >= all {
            return Some("… unpacking".into());
        }
        // An engine may not know how long a layer is.
        if all < here || all == 0 {
            return (here > 0).then(|| format!("… {} MB", megabytes(here)));
        }
        Some(format!("… {} of {} MB", megabytes(here), megabytes(all)))
    }
}

/// With one digit behind the point.
fn megabytes(bytes: u64) -> String {
    let tenths = bytes / 100_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn failure(image: &str, registry: &str, error: &Error) -> PullError {
    let (status, message) = match error {
        Error::DockerResponseServerError { status_code, message } => (*status_code, message.clone()),
        Error::DockerStreamError { error } => (0, error.clone()),
        other => (0, other.to_string()),
    };
    let image = image.to_owned();
    // Engines answer this with different numbers, and within a stream without any.
    let words = [
        "denied",
        "unauthorized",
        "no basic auth",
        "not found",
        "manifest unknown",
        "authentication required",
    ];
    let lower = message.to_lowercase();
    if [401, 403, 404].contains(&status) || words.iter().any(|word| lower.contains(word)) {
        let login = if registry == "docker.io" { String::new() } else { format!(" {registry}") };
        return PullError::Refused { image, login, message };
    }
    PullError::Failed { image, message }
}

#[cfg(test)]
mod tests;
