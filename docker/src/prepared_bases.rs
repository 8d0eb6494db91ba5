//! Snapshots with the project's files of this run, each made once, for all steps that start alike.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::snapshot::Snapshot;

/// Snapshots with the project's files of this run.
#[derive(Default)]
pub(crate) struct PreparedBases(Mutex<HashMap<BaseKey, Arc<OnceCell<Snapshot>>>>);

/// Key of a prepared base: the image that it was made from, by which name, and where the workspace is. One image may
/// have several names, each of which may mean another one later.
pub(crate) type BaseKey = (String, String, String);

impl PreparedBases {
    /// The place of such a snapshot. Where there is none, it is made if that is `wanted`.
    pub(crate) fn place(&self, key: BaseKey, wanted: bool) -> Option<Arc<OnceCell<Snapshot>>> {
        let mut known = self.0.lock();
        match known.get(&key) {
            Some(place) => Some(place.clone()),
            None if wanted => Some(known.entry(key).or_default().clone()),
            None => None,
        }
    }
}
