//! The local sandbox of a run, opened when something first runs in it: a machine that can isolate no step can still run
//! those in containers. Who needs it, and when, is decided above.

use std::sync::Arc;

use hm_step_sandbox::{SandboxConfig, SandboxError, SandboxRun};
use hm_workspace::Workspace;
use tokio::sync::OnceCell;

/// A local sandbox that is there when it is needed.
pub struct LocalSandbox {
    config: SandboxConfig,
    workspace: Arc<Workspace>,
    /// Tells the user what a step does not get on this machine.
    notice: fn(&str),
    run: OnceCell<SandboxRun>,
}

impl LocalSandbox {
    /// A sandbox that nobody has needed yet.
    #[must_use]
    pub fn new(config: SandboxConfig, workspace: Arc<Workspace>, notice: fn(&str)) -> Self {
        Self { config, workspace, notice, run: OnceCell::new() }
    }

    /// The sandbox; the first who asks has this machine probed, and the user told what it lacks.
    ///
    /// # Errors
    /// The cache cannot be used, or no isolation works here.
    pub async fn open(&self) -> Result<&SandboxRun, SandboxError> {
        let open = async {
            let run = SandboxRun::open(self.config.clone(), self.workspace.clone()).await?;
            if let Some(notice) = run.notice() {
                (self.notice)(notice);
            }
            Ok(run)
        };
        self.run.get_or_try_init(|| open).await
    }

    /// The same, if somebody has needed it.
    #[must_use]
    pub fn opened(&self) -> Option<&SandboxRun> {
        self.run.get()
    }

    /// Waits until every command in it is dead, and removes what the run left.
    ///
    /// # Errors
    /// Something cannot be removed. The next run will try again.
    pub async fn close(self) -> Result<(), SandboxError> {
        match self.run.into_inner() {
            Some(run) => run.close().await,
            None => Ok(()),
        }
    }
}
