//! Giving up images that nobody wants any more, in the records and on the engine. Which are wanted is decided
//! elsewhere.

use std::collections::BTreeSet;

use bollard::query_parameters::ListImagesOptionsBuilder;
use hm_plugin_protocol::SnapshotRef;
use hm_workspace::CACHE_TAG_PREFIX;

use crate::cached_images::CachedImages;
use crate::engine::Engine;
use crate::engine_env::EngineEnv;
use crate::error::DockerError;
use crate::names::LABEL_CACHE;
use crate::reference::plain;

/// Outcome of removing images that nobody wants.
#[derive(Debug, Default)]
pub struct Cleared {
    /// Number of images that are gone.
    pub images: usize,
    /// Bytes that they took on the engine's disk.
    pub bytes: u64,
    /// Number of containers and images of dead runs that are gone.
    pub abandoned: usize,
    /// Number of images that stay, as they are on another engine than this one.
    pub elsewhere: usize,
    /// Number of images that stay since no engine can be asked, and why.
    pub left: Option<(usize, DockerError)>,
}

impl CachedImages {
    /// Gives up all images but these, and what runs that are no more have left. What an engine cannot be told now stays
    /// written down. No engine is asked for anything if none ever was for this cache.
    ///
    /// # Errors
    /// The cache cannot be read or written, or an engine refuses.
    pub async fn keep_only(&self, live: &BTreeSet<String>, env: &EngineEnv) -> Result<Cleared, DockerError> {
        let mut cleared = Cleared::default();
        if !self.has_id() {
            return Ok(cleared);
        }
        let listed = self.list().map_err(DockerError::io("read what images are kept"))?;
        let unwanted: Vec<_> = listed.into_iter().filter(|(tag, _)| !live.contains(&tag.0)).collect();
        self.empty_trash().map_err(DockerError::io("write to the cache"))?;
        let engine = match Engine::connect(env, self).await {
            Ok(engine) => engine,
            Err(error) => {
                cleared.left = Some((unwanted.len(), error));
                return Ok(cleared);
            }
        };
        cleared.abandoned = engine.remove_abandoned().await?;
        for (tag, bytes) in unwanted {
            if self.about(&tag).is_some_and(|about| about.engine != engine.id) {
                cleared.elsewhere += 1;
                continue;
            }
            engine.remove_image(&tag.0).await?;
            self.forget(&tag).map_err(DockerError::io("write to the cache"))?;
            cleared.images += 1;
            cleared.bytes = cleared.bytes.saturating_add(bytes);
        }
        // Those that were made and never written down.
        for tag in engine.kept_for(&self.id().map_err(DockerError::io("read the cache"))?).await? {
            if !live.contains(&tag) && self.about(&SnapshotRef(tag.clone())).is_none() {
                engine.remove_image(&tag).await?;
                cleared.images += 1;
            }
        }
        Ok(cleared)
    }
}

impl Engine {
    /// The names of images that are kept for a cache.
    async fn kept_for(&self, cache: &str) -> Result<Vec<String>, DockerError> {
        let filters = [("label", vec![format!("{LABEL_CACHE}={cache}")])].into();
        let options = ListImagesOptionsBuilder::default().filters(&filters).build();
        let images = self.docker.list_images(Some(options)).await.map_err(self.failed("list images"))?;
        let tags = images.into_iter().flat_map(|image| image.repo_tags);
        Ok(tags.map(|tag| plain(&tag).to_owned()).filter(|tag| tag.starts_with(CACHE_TAG_PREFIX)).collect())
    }
}
