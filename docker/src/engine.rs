//! One engine that answers: its clock, its name for itself, and questions about its images. What is done on it is the
//! affair of the files beside this one.

use std::time::Duration;

use bollard::Docker;
use bollard::models::{ImageInspect, SystemInfo, SystemVersion};
use chrono::Utc;

use crate::cached_images::CachedImages;
use crate::clock::Clock;
use crate::endpoint::{self, Endpoint};
use crate::engine_env::EngineEnv;
use crate::error::{DockerError, is_missing};
use crate::names::LABEL_STATE;
use crate::owner::Owner;
use crate::reference;

/// Time in which one that has answered has to say what it is.
pub(crate) const ABOUT: Duration = Duration::from_secs(30);

/// An engine that answers.
#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) docker: Docker,
    pub(crate) endpoint: Endpoint,
    /// Its own name for itself.
    pub(crate) id: String,
    pub(crate) has_init: bool,
    /// Number of its processors.
    pub(crate) cpus: Option<i64>,
    pub(crate) clock: Clock,
    pub(crate) owner: Owner,
}

impl Engine {
    /// Finds an engine, to be used on behalf of a cache.
    pub(crate) async fn connect(env: &EngineEnv, kept: &CachedImages) -> Result<Self, DockerError> {
        let (endpoint, docker) = endpoint::connect(env).await?;
        let before = Utc::now();
        let (info, version) = about(&docker, &endpoint, ABOUT).await?;
        let clock = Clock::of(before, info.system_time.as_deref(), Utc::now());
        let cache = kept.id().map_err(DockerError::io("write to the cache"))?;
        let owner = Owner::this(&cache).map_err(DockerError::io("find out who this process is"))?;
        let has_init = info.init_binary.is_some_and(|name| !name.is_empty());
        // Podman has another id each time that it is asked.
        let is_podman = version.components.iter().flatten().any(|part| part.name.starts_with("Podman"));
        let place = format!("{} {}", info.name.unwrap_or_default(), info.docker_root_dir.unwrap_or_default());
        let id = info.id.filter(|_| !is_podman).unwrap_or(place);
        Ok(Self { docker, endpoint, id, has_init, cpus: info.ncpu, clock, owner })
    }

    /// Description that the engine gives of an image; none if it has no such image.
    pub(crate) async fn image(&self, name: &str) -> Result<Option<ImageInspect>, DockerError> {
        match self.docker.inspect_image(name).await {
            Err(error) if is_missing(&error) => Ok(None),
            found => found.map(Some).map_err(self.failed(format!("look for the image `{name}`"))),
        }
    }

    /// Description of an image that is really called this: engines take the beginning of any id for a name. What a step
    /// has saved is not for whoever finds out what it is called.
    pub(crate) async fn named(&self, name: &str) -> Result<Option<ImageInspect>, DockerError> {
        if !reference::is_name(name) {
            return Ok(None);
        }
        let is_called = |image: &ImageInspect| {
            let names = image.repo_tags.iter().chain(&image.repo_digests).flatten();
            let is_state = image.config.as_ref().and_then(|config| config.labels.as_ref());
            let is_state = is_state.is_some_and(|labels| labels.contains_key(LABEL_STATE));
            !is_state && image.id.as_deref() == Some(name)
                || names.into_iter().any(|own| reference::is_same(name, own))
        };
        Ok(self.image(name).await?.filter(is_called))
    }

    /// For `map_err`: what could not be done here.
    pub(crate) fn failed(
        &self,
        what: impl Into<String>,
    ) -> impl FnOnce(bollard::errors::Error) -> DockerError {
        DockerError::engine(&self.endpoint.url, what)
    }
}

/// Description that the engine there gives of itself.
///
/// # Errors
/// It does not say so, or not in time.
pub(crate) async fn about(
    docker: &Docker,
    at: &Endpoint,
    limit: Duration,
) -> Result<(SystemInfo, SystemVersion), DockerError> {
    let what = "say what it is";
    let asking = async { Ok((docker.info().await?, docker.version().await?)) };
    match tokio::time::timeout(limit, asking).await {
        Ok(said) => said.map_err(DockerError::engine(&at.url, what)),
        Err(_) => Err(DockerError::Refused {
            what: what.into(),
            message: format!("it has not answered within {} s", limit.as_secs()),
        }),
    }
}
