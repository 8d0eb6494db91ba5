//! A command that only looks at the project: its files are there and cannot be changed, and what it leaves elsewhere
//! goes with it. For finding out what to run, before there are steps.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hm_disk::remove_tree;

use crate::{
    config::ExecSpec,
    error::{SandboxError, blocking},
    exec,
    run::SandboxRun,
    sandbox_template,
    view::View,
    wire::{Isolation, Spec},
};

impl SandboxRun {
    /// Runs a command on the project's files as steps without a parent start with them, and answers as
    /// [`exec`](Self::exec) does; none if it did not end within `limit`, and was killed. It sees the paths `also`, and
    /// what they lead to, beside what steps see, but no credentials, nothing of the running system and no sockets
    /// there; it has no network, and an empty home directory of its own.
    ///
    /// # Errors
    /// The project cannot be read, or the command could not be run.
    pub async fn look(
        &self,
        mut command: ExecSpec,
        also: &[PathBuf],
        limit: Duration,
        output: exec::Output,
    ) -> Result<Option<i32>, SandboxError> {
        let project = self.workspace.tree().await?.to_owned();
        let layer = self.snapshots.new_layer();
        let directory = self.run.path().join(&layer);
        let view = {
            let (config, also) = (self.config.clone(), also.to_owned());
            let project = self.workspace.path().to_owned();
            let look = move || View::new(&config.host_env, config.home.as_deref(), &project, &also);
            blocking(move || Ok::<_, SandboxError>(look())).await?
        };
        let template = self.template.with(view, directory.join("home"))?;
        let scratch = {
            let directory = directory.clone();
            blocking(move || sandbox_template::make_empty_layer(&directory)).await?
        };
        let mut isolation = template.spec(self.run.path(), &layer, &scratch, vec![project.clone()], false);
        match &mut isolation {
            Isolation::Namespaces(root) => root.workspace.read_only = true,
            Isolation::Landlock(access) => {
                let empty = directory.join(sandbox_template::TREE);
                access.write.retain(|path| *path != empty);
                command.workdir = in_tree(&command.workdir, &project);
                access.read.push(project);
            }
        }
        let program = template.program(command, &directory, &scratch);
        let ran = self.run_helper(Spec { isolation, program: Some(program) }, output, ());
        let ran = tokio::time::timeout(limit, ran).await;
        // Of one that was killed, something may be alive for a moment yet; what is left goes with the run.
        let _ = blocking(move || remove_tree(&directory)).await;
        ran.map_or(Ok(None), |ran| ran.map(Some))
    }
}

/// Place of a workspace's directory where there are no namespaces.
fn in_tree(workdir: &str, tree: &Path) -> String {
    let below = Path::new(workdir).strip_prefix(hm_workspace::WORKSPACE);
    below.map_or_else(|_| workdir.to_owned(), |below| tree.join(below).display().to_string())
}
