//! Names and labels of what hm makes on an engine.

use uuid::Uuid;

/// The repository of the images of a run. The tag says whose they are.
pub(crate) const OF_RUN: &str = "hm-run";

/// Label that names whoever made a container.
pub(crate) const LABEL_OWNER: &str = "dev.harmont.hm.owner";

/// Label that names the run of a container or an image.
pub(crate) const LABEL_RUN: &str = "dev.harmont.hm.run";

/// Label that names the step of a container or an image.
pub(crate) const LABEL_STEP: &str = "dev.harmont.hm.step";

/// Label of every image that holds a snapshot.
pub(crate) const LABEL_STATE: &str = "dev.harmont.hm.state";

/// Label that names the cache that an image is kept for.
pub(crate) const LABEL_CACHE: &str = "dev.harmont.hm.cache";

/// The beginning of a run's id.
pub(crate) fn short(run: &Uuid) -> String {
    run.simple().to_string().chars().take(8).collect()
}
