//! Sandboxes of one run: which there are, and what each command sees. What they start from and become is the business
//! of `snapshots`; the work on commands is done in helper processes.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use hm_disk::{remove_later, remove_tree};
use hm_plugin_protocol::{SnapshotRef, StdStream};
use hm_workspace::{SnapshotProblem, WORKSPACE, Workspace, snapshot};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

use crate::{
    config::{ExecSpec, Mode, SandboxConfig},
    error::{SandboxError, blocking},
    exec,
    layer_stack::Stack,
    projects,
    run_directory::RunDirectory,
    sandbox_template::{self, Kind, SandboxTemplate},
    snapshots::Snapshots,
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
    sandboxes: Mutex<BTreeMap<String, Sandbox>>,
    pub(crate) snapshots: Snapshots,
    commands: Arc<Semaphore>,
    pub(crate) run: RunDirectory,
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
        let snapshots = Snapshots::new(Arc::clone(&workspace), directory.path());
        let mut run = Self {
            config,
            workspace,
            template,
            notice: None,
            sandboxes: Mutex::default(),
            snapshots,
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
        run.snapshots.keeps = run.keeps();
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
        self.snapshots.not_kept()
    }

    /// True if there is such a snapshot: one of this run, or one that a former run has kept, with all that it stands
    /// on, and that hides nothing of the project that is new. A kept one that is there stays there as long as this run.
    pub async fn exists(&self, snapshot: &SnapshotRef) -> bool {
        self.snapshot_problem(snapshot).await.is_none()
    }

    /// Reason why no sandbox can start from a snapshot; `None` if one can.
    pub async fn snapshot_problem(&self, snapshot: &SnapshotRef) -> Option<SnapshotProblem> {
        self.snapshots.problem(snapshot).await
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
            Some(parent) => self.snapshots.stack(parent).await?,
            None => {
                self.workspace.tree().await?;
                Stack { layers: Vec::new(), on_base: true }
            }
        };
        let layer = self.snapshots.new_layer();
        let directory = self.run.path().join(&layer);
        let source = match self.template.kind {
            Kind::Namespaces => None,
            Kind::Landlock => self.snapshots.lower(&below).into_iter().next(),
        };
        let sandbox = Sandbox { layer, parent: parent.cloned(), below, busy: Arc::default() };
        blocking(move || sandbox_template::make_layer(&directory, source.as_deref())).await?;
        let id = format!("sandbox-{}", Uuid::new_v4().simple());
        self.sandboxes.lock().insert(id.clone(), sandbox);
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
            self.snapshots.lower_names(&sandbox.below),
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
            Some(tag) => self.snapshots.place_for(self.sandbox(id)?.parent.as_ref(), tag)?,
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
        let (layer, snapshot) = self.snapshots.settle(sandbox.layer, keep).await;
        stack.layers.insert(0, layer);
        self.snapshots.add(&snapshot, stack);
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

    pub(crate) fn sandbox(&self, id: &str) -> Result<Sandbox, SandboxError> {
        self.sandboxes.lock().get(id).cloned().ok_or_else(|| SandboxError::UnknownSandbox(id.to_owned()))
    }

    fn take(&self, id: &str) -> Result<Sandbox, SandboxError> {
        self.sandboxes.lock().remove(id).ok_or_else(|| SandboxError::UnknownSandbox(id.to_owned()))
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
        let layer = self.snapshots.new_layer();
        let directory = self.run.path().join(&layer);
        let scratch = {
            let directory = directory.clone();
            blocking(move || sandbox_template::make_empty_layer(&directory)).await?
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
