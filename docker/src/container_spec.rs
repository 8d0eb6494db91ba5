//! A container that is wanted.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::snapshot::Image;

/// Description of a container to be made.
#[derive(Debug, Clone)]
pub struct ContainerSpec {
    /// Image that it is made from.
    pub image: Image,
    /// The step that it is for.
    pub step: Uuid,
    /// Environment that its commands start with.
    pub env: BTreeMap<String, String>,
    /// Directory of the workspace.
    pub workdir: String,
    /// Goes into its name, for people.
    pub hint: String,
    /// True if it asks for the network.
    pub network: bool,
    /// True if its result is to be kept for later runs.
    pub keep: bool,
}
