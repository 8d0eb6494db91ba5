//! Removing what runs have left on an engine: those that are no more, and this one at its end. What others have made is
//! not touched.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{ContainerSummary, ImageSummary};
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder,
};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use uuid::Uuid;

use crate::engine::Engine;
use crate::error::{DockerError, is_missing, status};
use crate::names::{LABEL_OWNER, LABEL_RUN, OF_RUN, short};
use crate::owner::Owner;
use crate::reference::plain;

/// Number that is removed at a time.
const AT_ONCE: usize = 4;

/// Attempts at something that engines are confused by.
const AGAIN: u32 = 5;

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// True if a container is called as one of the run that it is labelled with: an image that was made of one hands labels
/// on, and names not.
fn has_our_name(container: &ContainerSummary) -> bool {
    let run = container.labels.as_ref().and_then(|labels| labels.get(LABEL_RUN)?.parse::<Uuid>().ok());
    let names = container.names.iter().flatten();
    run.is_some_and(|run| {
        let ours = format!("/hm-{}-", short(&run));
        names.into_iter().any(|name| name.starts_with(&ours))
    })
}

impl Engine {
    /// Removes the containers and images of runs that are no more; how many.
    ///
    /// # Errors
    /// The engine does not list or remove them.
    pub(crate) async fn remove_abandoned(&self) -> Result<usize, DockerError> {
        let is_dead = |owner: &str| Owner::read(owner).is_some_and(|owner| owner.is_dead(&self.owner));
        let containers = self.containers(LABEL_OWNER.to_owned()).await?;
        let containers = containers.into_iter().filter(|container| {
            let labels = container.labels.as_ref();
            has_our_name(container)
                && labels.and_then(|labels| labels.get(LABEL_OWNER)).is_some_and(|owner| is_dead(owner))
        });
        let images = self.images_of_runs().await?;
        let images = images.into_iter().filter(|name| owner_of(name).is_some_and(is_dead));
        self.remove_both(containers.collect(), images.collect()).await
    }

    /// Removes all containers and images of a run.
    pub(crate) async fn remove_all_of(&self, run: &Uuid) -> Result<(), DockerError> {
        let mut containers = self.containers(format!("{LABEL_RUN}={run}")).await?;
        containers.retain(has_our_name);
        let ours = format!("{OF_RUN}:{}.{}-", self.owner, short(run));
        let images = self.images_of_runs().await?.into_iter().filter(|name| name.starts_with(&ours));
        self.remove_both(containers, images.collect()).await.map(|_| ())
    }

    async fn remove_both(
        &self,
        containers: Vec<ContainerSummary>,
        mut images: Vec<String>,
    ) -> Result<usize, DockerError> {
        let number = containers.len() + images.len();
        // Those that were made last first: they may be made of others, and engines are confused by removing both at a
        // time.
        images.sort_by_key(|name| Reverse(number_of(name)));
        let names: Vec<String> = containers.into_iter().filter_map(|container| container.id).collect();
        let mut removals: Vec<BoxFuture<'_, Result<(), DockerError>>> = Vec::new();
        for id in &names {
            removals.push(Box::pin(self.remove(id)));
        }
        let removed: Vec<_> = stream::iter(removals).buffer_unordered(AT_ONCE).collect().await;
        removed.into_iter().collect::<Result<(), _>>()?;
        for name in &images {
            self.remove_image(name).await?;
        }
        Ok(number)
    }

    /// Removes a name of an image, and the image if it has no other and nobody uses it.
    pub(crate) async fn remove_image(&self, name: &str) -> Result<(), DockerError> {
        let mut again = AGAIN;
        loop {
            let options = RemoveImageOptionsBuilder::default().build();
            match self.docker.remove_image(name, Some(options), None).await {
                // Gone; or a container is still on its way out, and the image goes with the next run's cleaning.
                Err(error) if is_missing(&error) || status(&error) == Some(409) => return Ok(()),
                // Somebody else removes an image that this one is made of, or that is made of it.
                Err(error) if status(&error) == Some(500) && again > 0 => {
                    again -= 1;
                    if self.image(name).await?.is_none() {
                        return Ok(());
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                removed => {
                    return removed.map(|_| ()).map_err(self.failed(format!("remove the image `{name}`")));
                }
            }
        }
    }

    async fn containers(&self, label: String) -> Result<Vec<ContainerSummary>, DockerError> {
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        self.docker.list_containers(Some(options)).await.map_err(self.failed("list containers"))
    }

    /// The names of images of any run.
    async fn images_of_runs(&self) -> Result<Vec<String>, DockerError> {
        // All of them, as engines do not agree on what a filter by name means.
        let options = ListImagesOptionsBuilder::default().build();
        let images: Vec<ImageSummary> =
            self.docker.list_images(Some(options)).await.map_err(self.failed("list images"))?;
        let names = images.into_iter().flat_map(|image| image.repo_tags);
        Ok(names.map(|name| plain(&name).to_owned()).filter(|name| owner_of(name).is_some()).collect())
    }
}

/// Owner of an image of a run, as its name says.
pub(crate) fn owner_of(name: &str) -> Option<&str> {
    let tag = name.strip_prefix(OF_RUN)?.strip_prefix(':')?;
    Some(tag.rsplit_once('.')?.0)
}

/// Number of an image among those of its run.
fn number_of(name: &str) -> Option<u32> {
    name.rsplit_once('-')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_image_says_whose_it_is() {
        let owner = Owner::this("cache").unwrap();
        let name = format!("{OF_RUN}:{owner}.{}-7", short(&Uuid::new_v4()));
        assert_eq!(owner_of(&name).and_then(Owner::read), Some(owner));
        for name in ["hm-run", "hm-run:x", "hm-running:a.b.1.2.3.x-1", "alpine:3.20"] {
            assert_eq!(owner_of(name).and_then(Owner::read), None, "{name}");
        }
    }
}
