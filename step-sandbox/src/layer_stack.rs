//! Stacks of layers that snapshots are made of, and the layers in them that former runs have kept. What is in a layer
//! is not known here.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use hm_disk::remove_tree;
use hm_workspace::SnapshotProblem;
use parking_lot::{Mutex, MutexGuard};

use crate::{
    cached_layers::{self, CachedLayers, Tag},
    error::SandboxError,
    sandbox_template,
    shadowed::Contents,
};

/// Layers of a snapshot, topmost first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stack {
    /// Their directories, or links to them, within the run's.
    pub(crate) layers: Vec<String>,
    /// True if the project's snapshot is at the bottom.
    pub(crate) on_base: bool,
}

/// The kept layers that one run uses. Each has a link in the run's directory, by which it is mounted, and which keeps
/// it from being removed.
#[derive(Debug)]
pub(crate) struct LayerRefs {
    pub(crate) kept: CachedLayers,
    run: PathBuf,
    /// Links by tag. If a layer is here, so is everything that it stands on.
    known: Mutex<BTreeMap<Tag, Link>>,
    /// Contents of the project snapshot.
    contents: Contents,
}

#[derive(Debug, Clone)]
struct Link {
    name: String,
    below: Option<Tag>,
}

impl Link {
    /// Its name is short, because mount options have little room, and is never that of one of the run's own layers.
    fn new(known: &BTreeMap<Tag, Self>, below: Option<Tag>) -> Self {
        Self { name: format!("k{:x}", known.len()), below }
    }
}

impl LayerRefs {
    pub(crate) fn new(kept: CachedLayers, run: &Path) -> Self {
        Self { kept, run: run.to_owned(), known: Mutex::default(), contents: Contents::default() }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Tag, Link>> {
        self.known.lock()
    }

    /// Problem with a layer: it or a layer below it is missing, or one of them shadows something that the project has
    /// changed since. If there is no problem, all of them stay until the run ends.
    pub(crate) fn borrow(&self, tag: Tag, base: &Path) -> Result<Option<SnapshotProblem>, SandboxError> {
        if self.known().contains_key(&tag) {
            return Ok(None);
        }
        // Held until the links are there. From then on these keep the layers from being removed.
        let Some(_held) = self.kept.hold()? else { return Ok(Some(SnapshotProblem::Gone)) };
        let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
        let mut next = Some(tag);
        while let Some(tag) = next.filter(|tag| !self.known().contains_key(tag)) {
            let (Some(about), Some(covers)) = (self.kept.find(tag), self.kept.covers(tag)) else {
                return Ok(Some(self.kept.lost(tag)));
            };
            // Only damage makes a layer stand on itself.
            if !seen.insert(tag) {
                return Ok(Some(SnapshotProblem::Damaged));
            }
            if let Some(unfit) = self.contents.snapshot_problem(&covers, base)? {
                return Ok(Some(unfit));
            }
            next = about.below;
            found.push((tag, next));
        }
        // From the bottom, so that a layer with a link has all that it stands on, wherever we are stopped.
        let mut known = self.known();
        for (tag, below) in found.into_iter().rev() {
            // Another thread may have linked it meanwhile.
            if !known.contains_key(&tag) {
                let link = Link::new(&known, below);
                let path = self.run.join(&link.name);
                // An earlier attempt may have failed halfway.
                remove_tree(&path)?;
                self.kept.link(tag, &path)?;
                known.insert(tag, link);
            }
        }
        Ok(None)
    }

    /// Keeps a layer of the run, and returns its new name in the run. `base` is the run's project snapshot.
    pub(crate) fn keep(
        &self,
        layer: &str,
        tag: Tag,
        below: Option<Tag>,
        base: &Path,
    ) -> Result<String, SandboxError> {
        let layer = self.run.join(layer);
        cached_layers::describe(
            &layer,
            below,
            &self.contents.list(&layer.join(sandbox_template::TREE), base)?,
        )?;
        // Locked until the link is there: its name is made from the number of known layers.
        let mut known = self.known();
        let link = Link::new(&known, below);
        let path = self.run.join(&link.name);
        remove_tree(&path)?;
        self.kept.keep(&layer, tag, &path)?;
        let name = link.name.clone();
        known.insert(tag, link);
        Ok(name)
    }

    /// The stack from this layer down. Where `settled` has the stack of a layer, that is the rest.
    pub(crate) fn stack(&self, tag: Tag, settled: &BTreeMap<String, Stack>) -> Stack {
        let known = self.known();
        let mut stack = Stack { layers: Vec::new(), on_base: true };
        let mut next = Some(tag);
        while let Some(tag) = next {
            if let Some(rest) = settled.get(&tag.to_string()) {
                stack.layers.extend(rest.layers.iter().cloned());
                stack.on_base = rest.on_base;
                break;
            }
            next = known.get(&tag).and_then(|link| {
                stack.layers.push(link.name.clone());
                link.below
            });
        }
        stack
    }
}
