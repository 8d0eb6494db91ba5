//! Template of the sandboxes of a run: the directories of the run that a command gets, and what of the host.
//! Setting it up is the helper processes' business.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use uuid::Uuid;

use hm_disk::{make_directory, remove_tree};
use hm_workspace::{WORKSPACE, snapshot::Snapshot, tree};

use crate::{
    config::ExecSpec,
    error::SandboxError,
    view::{self, View},
    wire::{Access, Isolation, Overlay, Program, Root},
};

/// The files of a layer, within its directory.
pub(crate) const TREE: &str = "tree";

/// The directory that is shown as a copy.
pub(crate) const ETC: &str = "/etc";

/// Files outside of everything else that a command without namespaces may write.
const DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/shm"];

/// Kind of isolation that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Namespaces,
    Landlock,
}

/// Everything that all commands of a run have in common.
pub(crate) struct SandboxTemplate {
    pub(crate) kind: Kind,
    /// Empty directory, the project where there is none.
    pub(crate) empty: PathBuf,
    home: PathBuf,
    /// Copy of `/etc` for steps: the host's may change under us, and then show what nobody looked at.
    etc: Arc<Snapshot>,
    view: View,
}

impl SandboxTemplate {
    /// Makes the directories that commands of a run share.
    ///
    /// # Errors
    /// They cannot be made, or have names that are not UTF-8.
    pub(crate) fn new(view: View, run: &Path, home: PathBuf, etc: Snapshot) -> Result<Self, SandboxError> {
        let empty = run.join("empty");
        for path in [&empty, &home] {
            if path.to_str().is_none() {
                return Err(SandboxError::NotUtf8(path.clone()));
            }
            make_directory(path)?;
        }
        Ok(Self { kind: Kind::Namespaces, empty, home, etc: Arc::new(etc), view })
    }

    /// Template for a command that sees something else of the host, and has another home directory, which is made.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn with(&self, view: View, home: PathBuf) -> Result<Self, SandboxError> {
        make_directory(&home)?;
        Ok(Self { kind: self.kind, empty: self.empty.clone(), home, etc: self.etc.clone(), view })
    }

    /// Isolation of a command. `lower` are the trees below its layer's; they and `layer` count from `run`.
    pub(crate) fn spec(
        &self,
        run: &Path,
        layer: &str,
        scratch: &Path,
        lower: Vec<PathBuf>,
        network: bool,
    ) -> Isolation {
        match self.kind {
            Kind::Namespaces => Isolation::Namespaces(Root {
                mount_point: self.empty.clone(),
                network,
                workspace: Overlay {
                    directory: run.to_owned(),
                    lower,
                    upper: Path::new(layer).join(TREE),
                    work: scratch.join("work"),
                    read_only: false,
                },
                binds: self.view.binds.iter().filter(|path| *path != Path::new(ETC)).cloned().collect(),
                etc: self.etc.tree().to_owned(),
                links: self.view.links.clone(),
                hidden: self.view.hidden.clone(),
                home: self.home.clone(),
                tmp: scratch.join("tmp"),
            }),
            Kind::Landlock => {
                let (read, list) = readable(&self.view);
                let mut write = vec![run.join(layer).join(TREE), scratch.join("tmp"), self.home.clone()];
                write.extend(DEVICES.map(PathBuf::from));
                Isolation::Landlock(Access { read, list, write, network })
            }
        }
    }

    /// Opens the home directory for the next command: the last one may have closed it.
    ///
    /// # Errors
    /// The system says no.
    pub(crate) fn open_home(&self) -> Result<(), SandboxError> {
        set_mode(&self.home, 0o700)
    }

    /// Program of a command, with its environment, in the layer at `layer`.
    pub(crate) fn program(&self, command: ExecSpec, layer: &Path, scratch: &Path) -> Program {
        let mut env = self.view.env.clone();
        // `git status` would write its index anew, and so put it into the step's layer.
        env.insert("GIT_OPTIONAL_LOCKS".to_owned(), "0".to_owned());
        let mut workdir = command.workdir;
        if self.kind == Kind::Landlock {
            // Nothing can be put in place there, so the command is told the real ones.
            if let Ok(below) = Path::new(&workdir).strip_prefix(WORKSPACE) {
                workdir = layer.join(TREE).join(below).display().to_string();
            }
            env.insert("HOME".to_owned(), self.home.display().to_string());
            env.insert("TMPDIR".to_owned(), scratch.join("tmp").display().to_string());
        }
        env.extend(command.env);
        Program { argv: command.argv, env, workdir }
    }
}

/// Makes the directory of a layer; its files are a copy of those of `source`.
///
/// # Errors
/// Something cannot be read or made.
pub(crate) fn make_layer(directory: &Path, source: Option<&Path>) -> Result<(), SandboxError> {
    let tree = directory.join(TREE);
    make_directory(directory)?;
    match source {
        Some(source) => tree::copy_tree(source, &tree)?,
        None => make_directory(&tree)?,
    }
    set_mode(&tree, 0o755)
}

/// Makes what one command gets for itself in its layer's directory. Never used twice: a command may leave traps in
/// its `/tmp`, and an overlay that was not synced refuses the same work directory.
///
/// # Errors
/// Something cannot be made.
pub(crate) fn make_scratch(layer: &Path) -> Result<PathBuf, SandboxError> {
    let scratch = layer.join("scratch");
    remove_tree(&scratch)?;
    let scratch = scratch.join(Uuid::new_v4().simple().to_string());
    make_directory(&scratch.join("work"))?;
    make_directory(&scratch.join("tmp"))?;
    set_mode(&scratch.join("tmp"), 0o1777)?;
    Ok(scratch)
}

/// Makes the directory of a layer without files, with what one command gets for itself in it.
///
/// # Errors
/// Something cannot be made.
pub(crate) fn make_empty_layer(directory: &Path) -> Result<PathBuf, SandboxError> {
    make_layer(directory, None)?;
    make_scratch(directory)
}

/// Removes from a layer what belonged to its last command.
///
/// # Errors
/// The system says no.
pub(crate) fn seal_layer(directory: &Path) -> Result<(), SandboxError> {
    Ok(remove_tree(&directory.join("scratch"))?)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), SandboxError> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(SandboxError::io("set the mode of", path))
}

/// The view in Landlock's terms, which cannot take back below what it gives above: what may be read, and directories on
/// the way there.
fn readable(view: &View) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut read, mut list) = (vec![PathBuf::from("/proc")], vec![PathBuf::from("/")]);
    let mut open = view.binds.clone();
    let mut hidden = view.hidden.clone();
    hidden.extend(view::secrets(Path::new(ETC)));
    while let Some(path) = open.pop() {
        if hidden.contains(&path) {
            continue;
        }
        if hidden.iter().any(|hidden| hidden.starts_with(&path)) {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            // A rule for a link would be one for whatever it leads to.
            open.extend(
                entries
                    .filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_symlink()))
                    .map(|entry| entry.path()),
            );
            list.push(path);
        } else {
            read.push(path);
        }
    }
    (read, list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_stays_out_of_what_may_be_read() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        for file in ["etc/shadow", "etc/hosts", "etc/ssl/certs/a", "etc/ssl/private/key", "usr/bin"] {
            std::fs::create_dir_all(root.join(file)).unwrap();
        }
        std::os::unix::fs::symlink("shadow", root.join("etc/link")).unwrap();
        let view = View {
            binds: vec![root.join("etc"), root.join("usr")],
            hidden: vec![root.join("etc/shadow"), root.join("etc/ssl/private")],
            ..View::default()
        };
        let (mut read, _) = readable(&view);
        read.sort();
        assert_eq!(
            read[1..],
            [root.join("etc/hosts"), root.join("etc/ssl/certs"), root.join("usr")].map(|path| path)[..]
        );
        assert_eq!(read[0], Path::new("/proc"));
    }

    #[test]
    fn with_nothing_hidden_a_directory_is_one_rule() {
        let view = View { binds: vec![PathBuf::from("/usr")], ..View::default() };
        assert_eq!(readable(&view).0, [PathBuf::from("/proc"), PathBuf::from("/usr")]);
    }
}
