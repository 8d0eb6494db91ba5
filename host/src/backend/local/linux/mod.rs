//! The back end on Linux: keeps the books on sandboxes and snapshots of one run, and decides what each command sees.
//! What snapshots are made of is the business of `stacks`, and what outlives the run that of `kept`. The work is done by
//! these and the other modules below, most of it in helper processes.

mod artifacts;
mod confine;
mod covers;
mod exec;
mod git_index;
mod hmignore;
mod init;
mod kept;
mod keyring;
mod layers;
mod look;
mod loopback;
mod manifest;
mod merge;
mod place;
mod process;
mod projects;
mod root;
mod snapshot;
mod stacks;
mod supervisor;
mod tools;
mod trash;
mod tree;
mod view;
mod walk;
mod wire;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use hm_plugin_protocol::{SnapshotRef, StdStream};
use tokio::sync::{OnceCell, Semaphore, mpsc};
use uuid::Uuid;

pub use self::{kept::KeptLayers, projects::forget_vanished, trash::empty_trash};
use self::{
    layers::RunDirectory,
    place::{Kind, Place},
    projects::Project,
    snapshot::Snapshot,
    stacks::{Borrowed, Stack},
    view::View,
    wire::Spec,
};
use super::{ExecSpec, HOME, KEPT, KeptLayer, LocalConfig, Mode, Removed, SandboxError, WORKSPACE};
use crate::backend::archive::Archive;

/// Commands at a time, at the most. It is there to be waited for, not to be reached.
const COMMANDS_MAX: u32 = 1 << 16;

/// Acts as one of the helper processes, if the arguments, the program's name first, say so. To be called before
/// anything else in `main`: a helper must not have threads.
pub fn helper_main(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    match arguments.into_iter().nth(1)?.to_str()? {
        wire::SUPERVISOR => Some(supervisor::main()),
        wire::INIT => Some(init::main()),
        _ => None,
    }
}

/// The sandboxes and snapshots of one run.
pub struct LocalBackend {
    config: LocalConfig,
    project: Project,
    place: Place,
    notice: Option<String>,
    base: OnceCell<Snapshot>,
    archive: OnceCell<Arc<Archive>>,
    books: Mutex<Books>,
    borrowed: Arc<Borrowed>,
    /// Held while a stack is made lower.
    flattening: tokio::sync::Mutex<()>,
    /// Why a layer could not be kept, the first time.
    trouble: OnceLock<String>,
    commands: Arc<Semaphore>,
    run: RunDirectory,
}

#[derive(Debug, Default)]
struct Books {
    sandboxes: BTreeMap<String, Sandbox>,
    snapshots: BTreeMap<String, Stack>,
    /// The next layer's.
    number: u32,
}

/// A workspace that commands can run in.
#[derive(Debug, Clone)]
struct Sandbox {
    /// Its directory, within the run's.
    layer: String,
    /// What it was made on, and the layers of that.
    parent: Option<SnapshotRef>,
    below: Stack,
    /// Held while a command runs.
    busy: Arc<tokio::sync::Mutex<()>>,
}

impl LocalBackend {
    /// Prepares a run and finds out what this machine can do. The project is not looked at yet.
    ///
    /// # Errors
    /// The cache cannot be used, or no isolation works here.
    pub async fn open(config: LocalConfig) -> Result<Self, SandboxError> {
        let project = Project::new(&config.project);
        let (run, place) = {
            let (config, project) = (config.clone(), project.clone());
            blocking(move || prepare(&config, &project)).await?
        };
        let borrowed = Borrowed::new(KeptLayers::open(&config.cache), run.path());
        let mut backend = Self {
            config,
            project,
            place,
            notice: None,
            base: OnceCell::new(),
            archive: OnceCell::new(),
            books: Mutex::default(),
            borrowed: Arc::new(borrowed),
            flattening: tokio::sync::Mutex::default(),
            trouble: OnceLock::new(),
            commands: Arc::new(Semaphore::new(COMMANDS_MAX as usize)),
            run,
        };
        match backend.config.mode {
            Mode::Namespaces => backend.probe(Kind::Namespaces).await?,
            Mode::Fallback => backend.fall_back("the fallback was asked for").await?,
            Mode::Auto => match backend.probe(Kind::Namespaces).await {
                Ok(()) => {}
                Err(SandboxError::Setup(reason)) => backend.fall_back(&reason).await?,
                Err(other) => return Err(other),
            },
        }
        Ok(backend)
    }

    /// What the user should be told once: something that a step does not get here.
    #[must_use]
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// Whether layers can outlive the run: not where each is a copy of the whole workspace.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.place.kind == Kind::Namespaces
    }

    /// Why a layer that was to be kept is not, if that has happened; for people.
    #[must_use]
    pub fn not_kept(&self) -> Option<&str> {
        self.trouble.get().map(String::as_str)
    }

    /// The project's files as sandboxes without a parent start with them, for reading. They stay as long as this.
    ///
    /// # Errors
    /// The project cannot be read.
    pub async fn tree(&self) -> Result<PathBuf, SandboxError> {
        self.base().await.map(|base| base.tree.clone())
    }

    /// Makes a sandbox on a snapshot, of this run or kept by a former one, or, without one, on the project as it was when
    /// this run looked first. A kept one stands on the project as it is in this run. Answers with the sandbox's id.
    ///
    /// # Errors
    /// There is no such snapshot, or the project cannot be read.
    pub async fn start(&self, parent: Option<&SnapshotRef>) -> Result<String, SandboxError> {
        let below = match parent {
            Some(parent) => self.stack(parent).await?,
            None => {
                self.base().await?;
                Stack { layers: Vec::new(), on_base: true }
            }
        };
        let layer = self.new_layer();
        let directory = self.run.path().join(&layer);
        let source = match self.place.kind {
            Kind::Namespaces => None,
            Kind::Landlock => self.lower(&below).into_iter().next(),
        };
        let sandbox = Sandbox { layer, parent: parent.cloned(), below, busy: Arc::default() };
        blocking(move || place::make_layer(&directory, source.as_deref())).await?;
        let id = format!("sandbox-{}", Uuid::new_v4().simple());
        self.books().sandboxes.insert(id.clone(), sandbox);
        Ok(id)
    }

    /// Runs a command, one at a time in each sandbox, and answers with its exit code: 128 + n for signal n. Output is
    /// passed on as it comes, and no faster than it is taken. Everything that the command started is dead
    /// when this returns; dropping the future kills it.
    ///
    /// # Errors
    /// The command could not be run. That it failed is no error.
    pub async fn exec(
        &self,
        id: &str,
        command: ExecSpec,
        output: mpsc::Sender<(StdStream, Vec<u8>)>,
    ) -> Result<i32, SandboxError> {
        let busy = self.sandbox(id)?.busy.try_lock_owned().map_err(|_| SandboxError::Busy(id.to_owned()))?;
        // Again: it may have been committed before we had the lock.
        let sandbox = self.sandbox(id)?;
        let directory = self.run.path().join(&sandbox.layer);
        let scratch = blocking(move || place::make_scratch(&directory)).await?;
        self.place.open_home()?;
        let network = self.config.network && command.network;
        let spec = self.place.spec(
            self.run.path(),
            &sandbox.layer,
            &scratch,
            self.lower_names(&sandbox.below),
            network,
        );
        let program = self.place.program(command, &self.run.path().join(&sandbox.layer), &scratch);
        self.run_helper(Spec { isolation: spec, program: Some(program) }, output, busy).await
    }

    /// Makes the sandbox a snapshot. There is no such sandbox afterwards. With `keep_as`, `hm-cache:` and 32 hexadecimal
    /// digits, the snapshot outlives the run and has that name; where that does not work, it is one of this run and has
    /// another.
    ///
    /// # Errors
    /// There is no such sandbox, or its files cannot be put in order; of one to be kept also that the name has another
    /// form, or that it stands on a snapshot that is not kept itself. The latter two leave the sandbox as it is.
    pub async fn commit(&self, id: &str, keep_as: Option<&SnapshotRef>) -> Result<SnapshotRef, SandboxError> {
        let keep = match keep_as {
            Some(tag) => self.place_for(&self.sandbox(id)?, tag)?,
            None => None,
        };
        let sandbox = self.take(id)?;
        let _idle = sandbox.busy.lock().await;
        let directory = self.run.path().join(&sandbox.layer);
        blocking(move || place::seal_layer(&directory)).await?;
        let mut stack = match self.place.kind {
            Kind::Namespaces => sandbox.below,
            Kind::Landlock => Stack::default(),
        };
        let (layer, snapshot) = self.settle(sandbox.layer, keep).await;
        stack.layers.insert(0, layer);
        self.books().snapshots.insert(snapshot.0.clone(), stack);
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
        blocking(move || tree::remove(&directory)).await
    }

    /// The project as sandboxes without a parent start with it, packed. Made when it is first asked for.
    ///
    /// # Errors
    /// The project cannot be read, or there is no room for the archive in the cache.
    pub async fn archive(&self) -> Result<Arc<Archive>, SandboxError> {
        let tree = self.base().await?.tree.clone();
        let cache = self.config.cache.clone();
        let pack = move || Ok(Arc::new(Archive::pack(&tree, &cache)?));
        self.archive.get_or_try_init(|| blocking(pack)).await.cloned()
    }

    /// Waits until every command is dead, and removes what the run left.
    ///
    /// # Errors
    /// Something cannot be removed. The next run will try again.
    pub async fn close(self) -> Result<(), SandboxError> {
        // It is never closed, so this cannot fail.
        let _all = self.commands.acquire_many(COMMANDS_MAX).await;
        let run = self.run;
        blocking(move || run.remove()).await
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Nothing panics halfway through a change.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sandbox(&self, id: &str) -> Result<Sandbox, SandboxError> {
        self.books().sandboxes.get(id).cloned().ok_or_else(|| SandboxError::UnknownSandbox(id.to_owned()))
    }

    fn take(&self, id: &str) -> Result<Sandbox, SandboxError> {
        self.books().sandboxes.remove(id).ok_or_else(|| SandboxError::UnknownSandbox(id.to_owned()))
    }

    /// Short, for the sake of mount options.
    fn new_layer(&self) -> String {
        let mut books = self.books();
        books.number = books.number.wrapping_add(1);
        format!("{:x}", books.number)
    }

    async fn base(&self) -> Result<&Snapshot, SandboxError> {
        let (path, cache) = (self.config.project.clone(), self.config.cache.clone());
        let store = self.project.base(&cache);
        let take = move || snapshot::take(&path, &store, &cache);
        self.base.get_or_try_init(|| blocking(take)).await
    }

    async fn run_helper(
        &self,
        spec: Spec,
        output: exec::Output,
        guard: impl Send + 'static,
    ) -> Result<i32, SandboxError> {
        let permit = Arc::clone(&self.commands).acquire_owned().await;
        exec::run(&self.config.helper, &spec, output, (guard, permit)).await
    }

    /// Sets up a sandbox of a kind, with nothing to run in it.
    async fn probe(&mut self, kind: Kind) -> Result<(), SandboxError> {
        self.place.kind = kind;
        let layer = self.new_layer();
        let directory = self.run.path().join(&layer);
        let scratch = {
            let directory = directory.clone();
            blocking(move || {
                place::make_layer(&directory, None)?;
                place::make_scratch(&directory)
            })
            .await?
        };
        let lower = vec![self.place.empty.clone()];
        // What takes least in the fallback, and most otherwise: a namespace for the network is one more.
        let network = kind == Kind::Landlock;
        let isolation = self.place.spec(self.run.path(), &layer, &scratch, lower, network);
        let (output, _unread) = mpsc::channel(1);
        self.run_helper(Spec { isolation, program: None }, output, ()).await?;
        blocking(move || tree::remove(&directory)).await
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

/// What has to be read and made before the first command.
fn prepare(config: &LocalConfig, project: &Project) -> Result<(RunDirectory, Place), SandboxError> {
    let run = RunDirectory::create(&config.cache.join("layers"), config.run_id, &project.link())?;
    trash::empty_later(&config.cache);
    project.note(&config.cache)?;
    let view = View::new(&config.host_env, config.home.as_deref(), &config.project, &[]);
    let etc = snapshot::take_public(Path::new(place::ETC), &config.cache.join("etc"))?;
    let place = Place::new(view, run.path(), project.home(&config.cache), etc)?;
    Ok((run, place))
}

/// For work that waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SandboxError> + Send + 'static,
) -> Result<T, SandboxError> {
    tokio::task::spawn_blocking(work).await.map_err(SandboxError::Task)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_may_move_between_threads() {
        fn shared<T: Send + Sync>() {}
        fn moved<T: Send>(_: impl FnOnce(&'static LocalBackend, ExecSpec) -> T) {}
        shared::<LocalBackend>();
        moved(|backend, _| backend.start(None));
        moved(|backend, command| backend.exec("", command, mpsc::channel(1).0));
        moved(|backend, _| backend.commit("", None));
        moved(|backend, _| backend.discard(""));
    }

    #[test]
    fn other_arguments_are_left_to_the_program() {
        for arguments in [&["hm"][..], &[], &["hm", "build"], &["__step-init"]] {
            assert!(helper_main(arguments.iter().map(OsString::from)).is_none(), "{arguments:?}");
        }
    }
}
