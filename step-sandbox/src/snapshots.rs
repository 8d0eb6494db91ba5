//! Snapshots of one run, each a stack of layers: keeping those that are to outlive it, and merging layers where a mount
//! cannot take so many. What is in a layer, and what commands do with it, is not known here.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use hm_disk::{make_directory, one_line};
use hm_plugin_protocol::SnapshotRef;
use hm_workspace::{SnapshotProblem, Workspace};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::{
    cached_layers::{CachedLayers, Tag},
    error::{SandboxError, blocking},
    layer_stack::{LayerRefs, Stack},
    merge, sandbox_template,
};

/// The most layers in a stack, before it is flattened: a mount's options have to fit one page, and each layer costs
/// something at every look-up.
const STACK_MAX: usize = 48;

/// The snapshots of one run, and those of former runs that it uses.
pub(crate) struct Snapshots {
    workspace: Arc<Workspace>,
    /// Directory of the run.
    run: PathBuf,
    borrowed: Arc<LayerRefs>,
    /// True if layers can outlive the run. It is known once the kind of isolation is.
    pub(crate) keeps: bool,
    stacks: Mutex<BTreeMap<String, Stack>>,
    /// Held while a stack is flattened.
    flattening: tokio::sync::Mutex<()>,
    /// First reason why a layer could not be kept.
    trouble: OnceLock<String>,
    /// Number of layers that have got a name.
    layers: AtomicU32,
}

impl Snapshots {
    /// Those of a run that works in this directory. None of a former run is known yet.
    pub(crate) fn new(workspace: Arc<Workspace>, run: &Path) -> Self {
        Self {
            borrowed: Arc::new(LayerRefs::new(CachedLayers::open(workspace.cache()), run)),
            workspace,
            run: run.to_owned(),
            keeps: false,
            stacks: Mutex::default(),
            flattening: tokio::sync::Mutex::default(),
            trouble: OnceLock::new(),
            layers: AtomicU32::new(0),
        }
    }

    /// The name of the next layer: short, for the sake of mount options.
    pub(crate) fn new_layer(&self) -> String {
        format!("{:x}", self.layers.fetch_add(1, Ordering::Relaxed).wrapping_add(1))
    }

    /// Adds a snapshot that sandboxes can start from.
    pub(crate) fn add(&self, snapshot: &SnapshotRef, stack: Stack) {
        self.stacks.lock().insert(snapshot.0.clone(), stack);
    }

    /// First reason why a layer that was to be kept is not, for people.
    pub(crate) fn not_kept(&self) -> Option<&str> {
        self.trouble.get().map(String::as_str)
    }

    /// Reason why no sandbox can start from a snapshot; `None` if one can.
    pub(crate) async fn problem(&self, snapshot: &SnapshotRef) -> Option<SnapshotProblem> {
        if self.stacks.lock().contains_key(&snapshot.0) {
            return None;
        }
        let Some(tag) = Tag::of(snapshot).filter(|_| self.keeps) else {
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
            self.add(snapshot, stack.clone());
        }
        Ok(stack)
    }

    async fn layers_of(&self, snapshot: &SnapshotRef) -> Result<Stack, SandboxError> {
        let known = self.stacks.lock().get(&snapshot.0).cloned();
        if let Some(stack) = known {
            return Ok(stack);
        }
        let tag = Tag::of(snapshot).ok_or_else(|| SandboxError::UnknownSnapshot(snapshot.0.clone()))?;
        self.workspace.tree().await?;
        if self.problem(snapshot).await.is_some() {
            return Err(SandboxError::UnknownSnapshot(snapshot.0.clone()));
        }
        let mut stacks = self.stacks.lock();
        let stack = self.borrowed.stack(tag, &stacks);
        if stack.layers.len() <= STACK_MAX {
            stacks.insert(snapshot.0.clone(), stack.clone());
        }
        Ok(stack)
    }

    /// Name under which the layer of a sandbox on this snapshot is to be kept, and the one below it; none where nothing
    /// is kept.
    pub(crate) fn place_for(
        &self,
        parent: Option<&SnapshotRef>,
        keep_as: &SnapshotRef,
    ) -> Result<Option<(Tag, Option<Tag>)>, SandboxError> {
        let tag = Tag::of(keep_as).ok_or_else(|| SandboxError::NotATag(keep_as.0.clone()))?;
        if !self.keeps {
            return Ok(None);
        }
        let below =
            parent.map(|parent| Tag::of(parent).ok_or_else(|| SandboxError::NotKept(parent.0.clone())));
        Ok(Some((tag, below.transpose()?)))
    }

    /// Makes a layer that nothing uses a part of a snapshot: a kept one if that is wanted and works. Answers with what
    /// the layer is called in the run and with the snapshot's name.
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
        self.lower_names(stack).into_iter().map(|path| self.run.join(path)).collect()
    }

    async fn flatten(&self, stack: &Stack) -> Result<Stack, SandboxError> {
        let layer = self.new_layer();
        let (trees, target) = (self.lower(stack), self.run.join(&layer));
        let kept = self.borrowed.kept.clone();
        blocking(move || {
            let _alone = kept.alone();
            make_directory(&target)?;
            merge::merge(&trees, &target.join(sandbox_template::TREE))
        })
        .await?;
        Ok(Stack { layers: vec![layer], on_base: false })
    }
}
