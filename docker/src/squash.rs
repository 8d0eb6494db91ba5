//! Deep snapshots made flat: engines take no image of more than about 125 layers, and each step of a chain adds one.

use bollard::body_try_stream;
use bollard::models::{ContainerCreateBody, ImageInspect};
use bollard::query_parameters::{CreateContainerOptionsBuilder, CreateImageOptionsBuilder};
use futures_util::{StreamExt, TryStreamExt};

use crate::backend::DockerBackend;
use crate::engine::Engine;
use crate::error::DockerError;
use crate::names::{LABEL_OWNER, LABEL_RUN, OF_RUN, short};

/// An image with more layers than this is made flat before another one is put on top.
const DEEPEST: usize = 100;

impl DockerBackend {
    /// A container with the files of another one, which is removed, in one layer, and with the configuration of the
    /// image that both are made of; none if that is not called for. Nothing runs in either.
    pub(crate) async fn flattened(
        &self,
        engine: &Engine,
        container: &str,
        image: &str,
    ) -> Result<Option<String>, DockerError> {
        let about = engine.image(image).await?.ok_or_else(|| DockerError::NoImage(image.to_owned()))?;
        let layers = about.root_fs.as_ref().and_then(|fs| fs.layers.as_ref()).map_or(0, Vec::len);
        if layers < DEEPEST {
            return Ok(None);
        }
        let flat = format!("{}:{}", OF_RUN, self.run_tag(engine));
        let (repo, tag) = flat.split_once(':').unwrap_or((&flat, ""));
        // From the engine to the engine, and no more of it here than a few pieces.
        let files = engine.docker.export_container(container).map_err(std::io::Error::other);
        let options = CreateImageOptionsBuilder::default().from_src("-").repo(repo).tag(tag).build();
        let mut made = engine.docker.create_image(Some(options), Some(body_try_stream(files)), None);
        while let Some(progress) = made.next().await {
            progress.map_err(engine.failed("make an image of one layer"))?;
        }
        drop(made);
        let name = format!("hm-{}-{}-flat", short(&self.config.run_id), self.number());
        let body = self.like(engine, &about, &flat);
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let docker = engine.docker.clone();
        let created = self.to_the_end(async move { docker.create_container(Some(options), body).await });
        created.await?.map_err(engine.failed("make a container"))?;
        engine.remove(container).await?;
        Ok(Some(name))
    }

    /// A container of an image that has lost its configuration.
    fn like(&self, engine: &Engine, about: &ImageInspect, image: &str) -> ContainerCreateBody {
        let config = about.config.clone().unwrap_or_default();
        let labels = [(LABEL_RUN, self.config.run_id.to_string()), (LABEL_OWNER, engine.owner.to_string())];
        ContainerCreateBody {
            image: Some(image.to_owned()),
            // An image without any program for it cannot be started, and this is not to be.
            cmd: Some(vec!["sh".into()]),
            env: config.env,
            user: config.user,
            working_dir: config.working_dir,
            labels: Some(labels.map(|(name, value)| (name.to_owned(), value)).into()),
            ..ContainerCreateBody::default()
        }
    }
}
