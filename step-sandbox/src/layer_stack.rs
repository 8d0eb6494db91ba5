//! The stacks of layers that snapshots are made of, with the layers that former runs have kept, and flattening stacks
//! that are too high for a mount. This file does not know what is in a layer.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use hm_disk::{make_directory, one_line, remove_tree};
use hm_plugin_protocol::SnapshotRef;
use hm_workspace::SnapshotProblem;
use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use crate::{
    SandboxError, SandboxRun, blocking,
    kept::{self, KeptLayers, Tag},
    merge,
    run::Sandbox,
    sandbox_template,
    shadowed::Contents,
};

/// The most layers in a stack, before it is flattened: a mount's options have to fit one page, and each layer costs
/// something at every look-up.
const STACK_MAX: usize = 48;

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
    kept: KeptLayers,
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
    pub(crate) fn new(kept: KeptLayers, run: &Path) -> Self {
        Self { kept, run: run.to_owned(), known: Mutex::default(), contents: Contents::default() }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Tag, Link>> {
        self.known.lock()
    }

    /// Problem with a layer: it or a layer below it is missing, or one of them shadows something that the project has
    /// changed since. If there is no problem, all of them stay until the run ends.
    fn borrow(&self, tag: Tag, base: &Path) -> Result<Option<SnapshotProblem>, SandboxError> {
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
    fn keep(&self, layer: &str, tag: Tag, below: Option<Tag>, base: &Path) -> Result<String, SandboxError> {
        let layer = self.run.join(layer);
        kept::describe(&layer, below, &self.contents.list(&layer.join(sandbox_template::TREE), base)?)?;
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
    fn stack(&self, tag: Tag, settled: &BTreeMap<String, Stack>) -> Stack {
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

impl SandboxRun {
    /// True if there is such a snapshot: one of this run, or one that a former run has kept. A kept one counts if all
    /// layers below it are there, and if it shadows nothing that has changed in the project. It then stays until this
    /// run ends.
    pub async fn exists(&self, snapshot: &SnapshotRef) -> bool {
        self.snapshot_problem(snapshot).await.is_none()
    }

    /// Reason why no sandbox can start from a snapshot; `None` if one can.
    pub async fn snapshot_problem(&self, snapshot: &SnapshotRef) -> Option<SnapshotProblem> {
        if self.state().snapshots.contains_key(&snapshot.0) {
            return None;
        }
        let Some(tag) = Tag::of(snapshot).filter(|_| self.keeps()) else {
            return Some(SnapshotProblem::Gone);
        };
        let borrowed = match self.workspace.tree().await {
            Ok(base) => {
                let (refs, base) = (Arc::clone(&self.borrowed), base.to_owned());
                blocking(move || refs.borrow(tag, &base)).await
            }
            Err(error) => Err(error.into()),
        };
        // What cannot be read is as good as gone.
        borrowed.unwrap_or_else(|error| Some(SnapshotProblem::Other(one_line(&error))))
    }

    /// Stack below a sandbox on this snapshot, ready to be mounted.
    pub(crate) async fn stack(&self, snapshot: &SnapshotRef) -> Result<Stack, SandboxError> {
        let stack = self.layers_of(snapshot).await?;
        if stack.layers.len() <= STACK_MAX {
            return Ok(stack);
        }
        // Several children of one parent need it flattened only once.
        let _one = self.flattening.lock().await;
        let mut stack = self.layers_of(snapshot).await?;
        if stack.layers.len() > STACK_MAX {
            stack = self.flatten(&stack).await?;
            self.state().snapshots.insert(snapshot.0.clone(), stack.clone());
        }
        Ok(stack)
    }

    async fn layers_of(&self, snapshot: &SnapshotRef) -> Result<Stack, SandboxError> {
        if let Some(stack) = self.state().snapshots.get(&snapshot.0) {
            return Ok(stack.clone());
        }
        let tag = Tag::of(snapshot).ok_or_else(|| SandboxError::UnknownSnapshot(snapshot.0.clone()))?;
        self.workspace.tree().await?;
        if !self.exists(snapshot).await {
            return Err(SandboxError::UnknownSnapshot(snapshot.0.clone()));
        }
        let mut state = self.state();
        let stack = self.borrowed.stack(tag, &state.snapshots);
        // A stack that is too high is noted only once it is flattened, since the stacks above it take over noted ones.
        if stack.layers.len() <= STACK_MAX {
            state.snapshots.insert(snapshot.0.clone(), stack.clone());
        }
        Ok(stack)
    }

    /// Tag under which a sandbox's layer is to be kept, and tag of the layer below; `None` where nothing is kept.
    pub(crate) fn place_for(
        &self,
        sandbox: &Sandbox,
        keep_as: &SnapshotRef,
    ) -> Result<Option<(Tag, Option<Tag>)>, SandboxError> {
        let tag = Tag::of(keep_as).ok_or_else(|| SandboxError::NotATag(keep_as.0.clone()))?;
        if !self.keeps() {
            return Ok(None);
        }
        let below = sandbox
            .parent
            .as_ref()
            .map(|parent| Tag::of(parent).ok_or_else(|| SandboxError::NotKept(parent.0.clone())));
        Ok(Some((tag, below.transpose()?)))
    }

    /// Makes a layer, in which nothing runs any more, part of a snapshot, and keeps it if that is wanted and works.
    /// Returns the layer's name in the run, and the snapshot's name.
    pub(crate) async fn settle(
        &self,
        layer: String,
        keep: Option<(Tag, Option<Tag>)>,
    ) -> (String, SnapshotRef) {
        if let Some((tag, below)) = keep {
            match self.keep(layer.clone(), tag, below).await {
                Ok(name) => return (name, SnapshotRef(tag.to_string())),
                Err(error) => drop(self.trouble.set(one_line(&error))),
            }
        }
        (layer, SnapshotRef(format!("local-{}", Uuid::new_v4().simple())))
    }

    async fn keep(&self, layer: String, tag: Tag, below: Option<Tag>) -> Result<String, SandboxError> {
        let base = self.workspace.tree().await?.to_owned();
        // Otherwise the next builds would take what has changed since to be older than what this step has made.
        if !self.workspace.is_last() {
            return Err(SandboxError::Outdated);
        }
        let borrowed = Arc::clone(&self.borrowed);
        blocking(move || borrowed.keep(&layer, tag, below, &base)).await
    }

    /// The trees of a stack, as a mount wants them: relative to the run's directory, if they are in it.
    pub(crate) fn lower_names(&self, stack: &Stack) -> Vec<PathBuf> {
        let layers = stack.layers.iter().map(|layer| Path::new(layer).join(sandbox_template::TREE));
        let base = self.workspace.known_tree().filter(|_| stack.on_base).map(Path::to_owned);
        layers.chain(base).collect()
    }

    /// The trees of a stack, topmost first.
    pub(crate) fn lower(&self, stack: &Stack) -> Vec<PathBuf> {
        self.lower_names(stack).into_iter().map(|path| self.run.path().join(path)).collect()
    }

    async fn flatten(&self, stack: &Stack) -> Result<Stack, SandboxError> {
        let layer = self.new_layer();
        let (trees, target) = (self.lower(stack), self.run.path().join(&layer));
        let kept = self.borrowed.kept.clone();
        blocking(move || {
            // Merging opens closed directories and closes them again. Nobody else may work in them meanwhile.
            let _alone = kept.alone();
            make_directory(&target)?;
            merge::merge(&trees, &target.join(sandbox_template::TREE))
        })
        .await?;
        Ok(Stack { layers: vec![layer], on_base: false })
    }
}
