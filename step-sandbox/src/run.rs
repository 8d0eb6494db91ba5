//! Sandboxes and snapshots of one run: which ones there are, and what each command sees. `layer_stack` knows what
//! snapshots are made of, and `kept` what outlives the run. Helper processes run the commands.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, OnceLock},
};

use hm_disk::{remove_later, remove_tree};
use hm_plugin_protocol::{SnapshotRef, StdStream};
use hm_workspace::{WORKSPACE, Workspace, snapshot};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

use crate::{
    ExecSpec, KeptLayers, Mode, SandboxConfig, SandboxError, blocking, exec,
    layer_stack::{LayerRefs, Stack},
    projects,
    run_directory::RunDirectory,
    sandbox_template::{self, Kind, SandboxTemplate},
    view::View,
    wire::Spec,
};

/// The most commands at a time. No run reaches it; `close` waits until all of these permits are free.
const COMMANDS_MAX: u32 = 1 << 16;

/// The sandboxes and snapshots of one run.
pub struct SandboxRun {
    pub(crate) config: SandboxConfig,
    pub(crate) workspace: Arc<Workspace>,
    pub(crate) template: SandboxTemplate,
    notice: Option<String>,
    state: Mutex<RunState>,
    pub(crate) borrowed: Arc<LayerRefs>,
    /// Held while a stack is flattened.
    pub(crate) flattening: tokio::sync::Mutex<()>,
    /// First reason why a layer could not be kept.
    pub(crate) trouble: OnceLock<String>,
    commands: Arc<Semaphore>,
    pub(crate) run: RunDirectory,
}

/// The sandboxes and snapshots that exist at the moment.
#[derive(Debug, Default)]
pub(crate) struct RunState {
    sandboxes: BTreeMap<String, Sandbox>,
    pub(crate) snapshots: BTreeMap<String, Stack>,
    /// Number of the next layer.
    number: u32,
}

/// A workspace that commands can run in.
#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    /// Its directory, within the run's.
    pub(crate) layer: String,
    /// Snapshot that it was made on, and the layers of that.
    pub(crate) parent: Option<SnapshotRef>,
    pub(crate) below: Stack,
    /// Held while a command runs.
    pub(crate) busy: Arc<tokio::sync::Mutex<()>>,
}

impl SandboxRun {
    /// Prepares a run and finds out what this machine can do. The project is not looked at yet.
    ///
    /// # Errors
    /// The cache cannot be used, or no isolation works here.
    pub async fn open(config: SandboxConfig, workspace: Arc<Workspace>) -> Result<Self, SandboxError> {
        let (directory, template) = {
            let (config, workspace) = (config.clone(), Arc::clone(&workspace));
            blocking(move || prepare(&config, &workspace)).await?
        };
        let borrowed = LayerRefs::new(KeptLayers::open(workspace.cache()), directory.path());
        let mut run = Self {
            config,
            workspace,
            template,
            notice: None,
            state: Mutex::default(),
            borrowed: Arc::new(borrowed),
            flattening: tokio::sync::Mutex::default(),
            trouble: OnceLock::new(),
            commands: Arc::new(Semaphore::new(COMMANDS_MAX as usize)),
            run: directory,
        };
        match run.config.mode {
            Mode::Namespaces => run.probe(Kind::Namespaces).await?,
            Mode::Fallback => run.fall_back("the fallback was asked for").await?,
            Mode::Auto => match run.probe(Kind::Namespaces).await {
                Ok(()) => {}
                Err(SandboxError::Setup(reason)) => run.fall_back(&reason).await?,
                Err(other) => return Err(other),
            },
        }
        Ok(run)
    }

    /// Something that a step does not get here, which the user should be told once.
    #[must_use]
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// True if layers can outlive the run. False in the fallback, where each is a copy of the whole workspace.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.template.kind == Kind::Namespaces
    }

    /// First reason why a layer that was to be kept is not, for people.
    #[must_use]
    pub fn not_kept(&self) -> Option<&str> {
        self.trouble.get().map(String::as_str)
    }

    /// The project's files, on which sandboxes without a parent start.
    #[must_use]
    pub fn workspace(&self) -> &Arc<Workspace> {
        &self.workspace
    }

    /// Makes a sandbox, and returns its id. It starts from the snapshot `parent`, of this run or kept by a former one.
    /// Without a parent, it starts from the project as this run first saw it. A kept snapshot lies on the project as it
    /// is in this run.
    ///
    /// # Errors
    /// There is no such snapshot, or the project cannot be read.
    pub async fn start(&self, parent: Option<&SnapshotRef>) -> Result<String, SandboxError> {
        let below = match parent {
            Some(parent) => self.stack(parent).await?,
            None => {
                self.workspace.tree().await?;
                Stack { layers: Vec::new(), on_base: true }
            }
        };
        let layer = self.new_layer();
        let directory = self.run.path().join(&layer);
        let source = match self.template.kind {
            Kind::Namespaces => None,
            Kind::Landlock => self.lower(&below).into_iter().next(),
        };
        let sandbox = Sandbox { layer, parent: parent.cloned(), below, busy: Arc::default() };
        blocking(move || sandbox_template::make_layer(&directory, source.as_deref())).await?;
        let id = format!("sandbox-{}", Uuid::new_v4().simple());
        self.state().sandboxes.insert(id.clone(), sandbox);
        Ok(id)
    }

    /// Runs a command, one at a time in each sandbox, and returns its exit code: 128 + n for signal n. Output is passed
    /// on as it comes, and no faster than it is taken. Everything that the command started is dead when this returns;
    /// dropping the future kills it.
    ///
    /// # Errors
    /// The command could not be run. A command that fails is no error.
    pub async fn exec(
        &self,
        id: &str,
        command: ExecSpec,
        output: mpsc::Sender<(StdStream, Vec<u8>)>,
    ) -> Result<i32, SandboxError> {
        let busy = self.sandbox(id)?.busy.try_lock_owned().map_err(|_| SandboxError::Busy(id.to_owned()))?;
        // Looked up again: it may have been committed before we had the lock.
        let sandbox = self.sandbox(id)?;
        let directory = self.run.path().join(&sandbox.layer);
        let scratch = blocking(move || sandbox_template::make_scratch(&directory)).await?;
        self.template.open_home()?;
        let network = self.config.network && command.network;
        let spec = self.template.spec(
            self.run.path(),
            &sandbox.layer,
            &scratch,
            self.lower_names(&sandbox.below),
            network,
        );
        let program = self.template.program(command, &self.run.path().join(&sandbox.layer), &scratch);
        self.run_helper(Spec { isolation: spec, program: Some(program) }, output, busy).await
    }

    /// Makes the sandbox a snapshot; the sandbox is gone afterwards. With `keep_as` (`hm-cache:` and 32 hexadecimal
    /// digits), the snapshot outlives the run and has that name. Where that does not work, it belongs to this run and
    /// has another name.
    ///
    /// # Errors
    /// There is no such sandbox, or its files cannot be put in order. With `keep_as` also: the name has another form,
    /// or the sandbox stands on a snapshot that is not kept itself. These two leave the sandbox as it is.
    pub async fn commit(&self, id: &str, keep_as: Option<&SnapshotRef>) -> Result<SnapshotRef, SandboxError> {
        let keep = match keep_as {
            Some(tag) => self.place_for(&self.sandbox(id)?, tag)?,
            None => None,
        };
        let sandbox = self.take(id)?;
        let _idle = sandbox.busy.lock().await;
        let directory = self.run.path().join(&sandbox.layer);
        blocking(move || sandbox_template::seal_layer(&directory)).await?;
        let mut stack = match self.template.kind {
            Kind::Namespaces => sandbox.below,
            Kind::Landlock => Stack::default(),
        };
        let (layer, snapshot) = self.settle(sandbox.layer, keep).await;
        stack.layers.insert(0, layer);
        self.state().snapshots.insert(snapshot.0.clone(), stack);
        Ok(snapshot)
    }

    /// Removes a sandbox, when nothing runs in it any more.
    ///
    /// # Errors
    /// There is no such sandbox, or it cannot be removed.
    pub async fn discard(&self, id: &str) -> Result<(), SandboxError> {
        let sandbox = self.take(id)?;
        let _idle = sandbox.busy.lock().await;
        let directory = self.run.path().join(&sandbox.layer);
        blocking(move || remove_tree(&directory)).await
    }

    /// Waits until every command is dead, and removes what the run left.
    ///
    /// # Errors
    /// Something cannot be removed. The next run will try again.
    pub async fn close(self) -> Result<(), SandboxError> {
        // The semaphore is never closed, so this cannot fail.
        let _all = self.commands.acquire_many(COMMANDS_MAX).await;
        let run = self.run;
        blocking(move || run.remove()).await
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, RunState> {
        self.state.lock()
    }

    pub(crate) fn sandbox(&self, id: &str) -> Result<Sandbox, SandboxError> {
        self.state().sandboxes.get(id).cloned().ok_or_else(|| SandboxError::UnknownSandbox(id.to_owned()))
    }

    fn take(&self, id: &str) -> Result<Sandbox, SandboxError> {
        self.state().sandboxes.remove(id).ok_or_else(|| SandboxError::UnknownSandbox(id.to_owned()))
    }

    /// Name of a new layer. It is short, because mount options have little room.
    pub(crate) fn new_layer(&self) -> String {
        let mut state = self.state();
        state.number = state.number.wrapping_add(1);
        format!("{:x}", state.number)
    }

    pub(crate) async fn run_helper(
        &self,
        spec: Spec,
        output: exec::Output,
        guard: impl Send + 'static,
    ) -> Result<i32, SandboxError> {
        let permit = Arc::clone(&self.commands).acquire_owned().await;
        exec::run(&self.config.helper, &spec, output, (guard, permit)).await
    }

    /// Tries out a kind of isolation: sets up a sandbox, and runs nothing in it.
    async fn probe(&mut self, kind: Kind) -> Result<(), SandboxError> {
        self.template.kind = kind;
        let layer = self.new_layer();
        let directory = self.run.path().join(&layer);
        let scratch = {
            let directory = directory.clone();
            blocking(move || {
                sandbox_template::make_layer(&directory, None)?;
                sandbox_template::make_scratch(&directory)
            })
            .await?
        };
        let lower = vec![self.template.empty.clone()];
        // The least demanding in the fallback, the most demanding otherwise: without network, there is one more
        // namespace.
        let network = kind == Kind::Landlock;
        let isolation = self.template.spec(self.run.path(), &layer, &scratch, lower, network);
        let (output, _unread) = mpsc::channel(1);
        self.run_helper(Spec { isolation, program: None }, output, ()).await?;
        blocking(move || remove_tree(&directory)).await
    }

    async fn fall_back(&mut self, why: &str) -> Result<(), SandboxError> {
        match self.probe(Kind::Landlock).await {
            Ok(()) => {}
            Err(SandboxError::Setup(landlock)) => {
                return Err(SandboxError::NoIsolation { namespaces: why.to_owned(), landlock });
            }
            Err(other) => return Err(other),
        }
        self.notice = Some(format!(
            "steps run without namespaces ({why}): on a full copy of the workspace, which is not at {WORKSPACE}, with \
             Landlock in front of your other files; they see other processes, can connect to unix sockets, can change \
             the modes and times of your files, offline steps lose TCP only, and no step's result is kept for later builds"
        ));
        Ok(())
    }
}

/// Reads and makes what the first command needs.
fn prepare(
    config: &SandboxConfig,
    workspace: &Workspace,
) -> Result<(RunDirectory, SandboxTemplate), SandboxError> {
    let (project, cache) = (workspace.project(), workspace.cache());
    // First of all: what the run directory links to stays from then on.
    let run = RunDirectory::create(&cache.join("layers"), config.run_id, &projects::link(project))?;
    remove_later(projects::trash(cache));
    project.note(cache)?;
    let view = View::new(&config.host_env, config.home.as_deref(), workspace.path(), &[]);
    let etc = snapshot::take_public(Path::new(sandbox_template::ETC), &cache.join("etc"))?;
    let template = SandboxTemplate::new(view, run.path(), projects::home(project, cache), etc)?;
    Ok((run, template))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_may_move_between_threads() {
        fn shared<T: Send + Sync>() {}
        fn moved<T: Send>(_: impl FnOnce(&'static SandboxRun, ExecSpec) -> T) {}
        shared::<SandboxRun>();
        moved(|backend, _| backend.start(None));
        moved(|backend, command| backend.exec("", command, mpsc::channel(1).0));
        moved(|backend, _| backend.commit("", None));
        moved(|backend, _| backend.discard(""));
    }
}
