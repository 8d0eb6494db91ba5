//! The project's files on their way into containers: what a workspace lacks of them, and snapshots that lack nothing
//! any more, which several containers can start from.

use std::sync::Arc;
use std::time::Duration;

use bollard::body_try_stream;
use bollard::models::ChangeType;
use bollard::query_parameters::UploadToContainerOptionsBuilder;
use tokio::time::Instant;

use crate::backend::DockerBackend;
use crate::changes::Changes;
use crate::container_spec::ContainerSpec;
use crate::engine::Engine;
use crate::error::DockerError;
use crate::manifest::Difference;
use crate::names::short;
use crate::snapshot::{Lineage, ProjectFiles, Snapshot};
use crate::tar;

/// Arguments that one command gets, in bytes.
const ARGUMENTS: usize = 64 * 1024;

/// Time in which the engine's clock shows another second, which is all that it tells changes by.
const SECOND: Duration = Duration::from_secs(1);

/// Difference between a workspace and the project.
pub(crate) enum WorkspaceDelta {
    /// Nothing, or nothing that anybody wants.
    Nothing,
    /// All of the project's files.
    All,
    /// Changes in the project since the workspace got its files.
    Some(Difference),
}

impl WorkspaceDelta {
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// True if programs have to run in the container for it.
    pub(crate) fn needs_programs(&self, user: Option<&str>) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => owner(user).is_some(),
            Self::Some(difference) => owner(user).is_some() || !difference.gone.is_empty(),
        }
    }
}

impl DockerBackend {
    /// Files of the project that the workspace of a snapshot lacks. One that had some is always brought up to date.
    pub(crate) async fn delta(
        &self,
        from: &Snapshot,
        workdir: &str,
        wants_project: bool,
    ) -> Result<WorkspaceDelta, DockerError> {
        Ok(match &from.lineage.files {
            ProjectFiles::Current if from.lineage.workdir == workdir => WorkspaceDelta::Nothing,
            ProjectFiles::Stale(then) if from.lineage.workdir == workdir => {
                let difference = then.difference(self.manifest().await?);
                if difference.is_empty() { WorkspaceDelta::Nothing } else { WorkspaceDelta::Some(difference) }
            }
            _ if wants_project => WorkspaceDelta::All,
            _ => WorkspaceDelta::Nothing,
        })
    }

    /// A snapshot that lacks nothing, if it is worth having or there is one: what a step changes is only known of one
    /// that has started from such a snapshot.
    pub(crate) async fn prepared_base(
        &self,
        from: &Snapshot,
        delta: &WorkspaceDelta,
        spec: &ContainerSpec,
    ) -> Result<Option<Snapshot>, DockerError> {
        let Some(changes) = &from.lineage.changes else { return Ok(None) };
        let key = (from.image.clone(), from.lineage.base.0.clone(), spec.workdir.clone());
        let Some(place) = self.bases.place(key, spec.keep) else { return Ok(None) };
        let make = async {
            let engine = self.engine().await?;
            let (image, covered) = self.build_base(engine, from, delta, spec).await?;
            let lineage = Lineage {
                base: from.lineage.base.clone(),
                workdir: spec.workdir.clone(),
                files: ProjectFiles::Current,
                changes: Some(changes.followed_by(covered)),
            };
            Ok::<_, DockerError>(Snapshot { image, lineage: Arc::new(lineage), ..from.clone() })
        };
        place.get_or_try_init(|| make).await.cloned().map(Some)
    }

    /// Makes such a snapshot.
    async fn build_base(
        &self,
        engine: &Engine,
        from: &Snapshot,
        delta: &WorkspaceDelta,
        spec: &ContainerSpec,
    ) -> Result<(String, Changes), DockerError> {
        let name = format!("hm-{}-{}-project", short(&self.config.run_id), self.number());
        // A plain one: what becomes of the steps' environment does not end in an image.
        let spec = ContainerSpec { env: [].into(), ..spec.clone() };
        let made = async {
            self.create(engine, &name, &from.image, &spec).await?;
            let keep_alive = if delta.needs_programs(from.user.as_deref()) {
                Some(engine.start(&name, &from.image).await?)
            } else {
                None
            };
            self.apply(engine, &name, &spec.workdir, from.user.as_deref(), delta).await?;
            let applied = Instant::now();
            drop(keep_alive);
            let covered = self.covered(engine, &name, &spec.workdir, delta).await?;
            let image = self.commit_image(engine, &name, from.user.as_deref(), false).await?;
            if matches!(delta, WorkspaceDelta::Some(_)) {
                // These files have the time at which they were put there. What a step does with them has to be later.
                tokio::time::sleep_until(applied + SECOND).await;
            }
            Ok::<_, DockerError>((image, covered))
        };
        let made = made.await;
        let removed = engine.remove(&name).await;
        let made = made?;
        removed.map(|()| made)
    }

    /// Paths at which the project's files lie on something of an image: what comes to light when they go is not known
    /// here, so these places count as if steps had changed them. Nothing comes to light where the project had something
    /// before, which steps have not touched.
    async fn covered(
        &self,
        engine: &Engine,
        name: &str,
        workdir: &str,
        delta: &WorkspaceDelta,
    ) -> Result<Changes, DockerError> {
        let changes = engine.docker.container_changes(name).await;
        let changes = changes.map_err(engine.failed("tell what has changed in a container"))?;
        let mut below = changes.unwrap_or_default();
        let workdir_and = format!("{}/", workdir.trim_end_matches('/'));
        below.retain(|change| change.kind != ChangeType::_1 && change.path.starts_with(&workdir_and));
        let covered = Changes::of(&below, workdir);
        Ok(match delta {
            WorkspaceDelta::Some(difference) => covered.only(&difference.new),
            WorkspaceDelta::Nothing | WorkspaceDelta::All => covered,
        })
    }

    /// Puts into a workspace what it lacks.
    pub(crate) async fn apply(
        &self,
        engine: &Engine,
        name: &str,
        workdir: &str,
        user: Option<&str>,
        delta: &WorkspaceDelta,
    ) -> Result<(), DockerError> {
        let only = match delta {
            WorkspaceDelta::Nothing => return Ok(()),
            WorkspaceDelta::All => None,
            WorkspaceDelta::Some(difference) => {
                self.remove_gone(engine, name, workdir, difference).await?;
                if difference.put.is_empty() {
                    return Ok(());
                }
                Some(difference.put.clone())
            }
        };
        let chown = owner(user).map(|user| {
            let flags = if only.is_none() { "-Rh" } else { "-h" };
            let argv = vec!["chown".to_owned(), flags.to_owned(), user.to_owned(), "--".to_owned()];
            let paths = match &only {
                None => vec![workdir.to_owned()],
                Some(only) => absolute(workdir, only.iter()),
            };
            batches(&argv, paths)
        });
        // From the top: engines take no link that leads out of the directory that they unpack into.
        let below = workdir.trim_start_matches('/').into();
        let stream = tar::stream(self.project().await?.to_owned(), only, below, engine.clock.now());
        let options = UploadToContainerOptionsBuilder::default().path("/").build();
        let put = engine.docker.upload_to_container(name, Some(options), body_try_stream(stream)).await;
        put.map_err(engine.failed("put the project's files into a container"))?;
        for argv in chown.unwrap_or_default() {
            engine.tool(name, argv).await?;
        }
        Ok(())
    }

    /// Removes what the project does not have any more. A directory in which steps have put something stays.
    async fn remove_gone(
        &self,
        engine: &Engine,
        name: &str,
        workdir: &str,
        difference: &Difference,
    ) -> Result<(), DockerError> {
        let of = |directories: bool| {
            let paths =
                difference.gone.iter().filter(move |(_, was_directory)| **was_directory == directories);
            absolute(workdir, paths.map(|(path, _)| path))
        };
        let command = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        for argv in batches(&command(&["rm", "-f", "--"]), of(false)) {
            engine.tool(name, argv).await?;
        }
        // The deepest first.
        let mut directories = of(true);
        directories.reverse();
        for argv in batches(&command(&["rmdir", "--"]), directories) {
            // It says of those that are not empty that they are not.
            match engine.tool(name, argv).await {
                Ok(()) | Err(DockerError::Tool { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// User that the workspace has to belong to, if that is not root, to whom everything belongs as it comes.
pub(crate) fn owner(user: Option<&str>) -> Option<&str> {
    user.filter(|user| !matches!(user.split(':').next(), Some("" | "0" | "root")))
}

/// Paths of a workspace, as far as they can be said to an engine.
fn absolute<'a>(workdir: &str, paths: impl Iterator<Item = &'a Vec<u8>>) -> Vec<String> {
    let workdir = workdir.trim_end_matches('/');
    paths.filter_map(|path| Some(format!("{workdir}/{}", std::str::from_utf8(path).ok()?))).collect()
}

/// A command, as often as it takes for all of these paths.
fn batches(command: &[String], paths: Vec<String>) -> Vec<Vec<String>> {
    let mut batches: Vec<Vec<String>> = Vec::new();
    let mut room = 0_usize;
    for path in paths {
        let Some(left) = room.checked_sub(path.len() + 1) else {
            room = ARGUMENTS.saturating_sub(path.len());
            batches.push(command.iter().cloned().chain([path]).collect());
            continue;
        };
        room = left;
        if let Some(batch) = batches.last_mut() {
            batch.push(path);
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_paths_get_their_turn() {
        assert_eq!(batches(&["rm".to_owned()], vec![]), Vec::<Vec<String>>::new());
        let paths: Vec<String> = (0..10_000).map(|number| format!("/workspace/{number:030}")).collect();
        let batches = batches(&["rm".to_owned()], paths.clone());
        assert!((5..20).contains(&batches.len()), "{}", batches.len());
        assert!(
            batches.iter().all(
                |batch| batch[0] == "rm" && batch.iter().map(String::len).sum::<usize>() <= 2 * ARGUMENTS
            )
        );
        let all: Vec<String> = batches.into_iter().flat_map(|batch| batch.into_iter().skip(1)).collect();
        assert_eq!(all, paths);
    }

    #[test]
    fn root_owns_what_nobody_else_does() {
        for user in [None, Some("root"), Some("0"), Some("0:0"), Some("root:root")] {
            assert_eq!(owner(user), None);
        }
        for user in ["dev", "1000", "1000:1000", "dev:dev"] {
            assert_eq!(owner(Some(user)), Some(user));
        }
    }
}
