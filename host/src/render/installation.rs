//! Installations of Python that the user has: those on `PATH`, and those of programs that manage Pythons. A project may
//! say that its environment was made from anything; it is believed only of these.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Managers of Pythons: the variable that says where, the place below the home directory without it, and where in there
/// the installations are.
const MANAGERS: &[(&str, &str, &str)] = &[
    ("PYENV_ROOT", ".pyenv", "versions"),
    ("UV_PYTHON_INSTALL_DIR", ".local/share/uv/python", ""),
    ("RYE_HOME", ".rye", "py"),
    ("ASDF_DATA_DIR", ".asdf", "installs/python"),
    ("MISE_DATA_DIR", ".local/share/mise", "installs/python"),
    ("MAMBA_ROOT_PREFIX", "micromamba", ""),
    ("CONDA_PREFIX", ".conda/envs", ""),
    ("", "anaconda3", ""),
    ("", "miniconda3", ""),
    ("", "miniforge3", ""),
    ("", "mambaforge", ""),
];
/// The same, below the parent of a directory `shims` on `PATH`.
const SHIMMED: [&str; 2] = ["versions", "installs/python"];
/// Directories whose content, if it is root's, came with the system.
const OF_SYSTEM: [&str; 3] = ["/usr", "/opt", "/nix/store"];
/// Parts of an installation that programs in Python need.
const PARTS: [&str; 3] = ["bin", "lib", "lib64"];

/// The installations of a user. All paths are without links.
pub(super) struct Installations {
    project: PathBuf,
    home: Option<PathBuf>,
    prefixes: BTreeSet<PathBuf>,
    roots: Vec<PathBuf>,
}

impl Installations {
    /// Those that the environment names or that are where their managers put them; none in the project, which could
    /// have made them up.
    pub(super) fn of(env: &BTreeMap<String, String>, home: Option<&Path>, project: &Path) -> Self {
        let project = project.canonicalize().unwrap_or_else(|_| project.to_owned());
        let theirs = |path: PathBuf| path.canonicalize().ok().filter(|path| !path.starts_with(&project));
        let path: Vec<_> = directories(env).filter_map(|directory| theirs(directory.to_owned())).collect();
        let mut roots = Vec::new();
        for (variable, default, below) in MANAGERS {
            let named = env.get(*variable).filter(|value| value.starts_with('/')).map(PathBuf::from);
            roots.extend(named.or_else(|| Some(home?.join(default))).map(|root| root.join(below)));
        }
        for root in path.iter().filter(|path| path.ends_with("shims")).filter_map(|path| path.parent()) {
            roots.extend(SHIMMED.map(|below| root.join(below)));
        }
        let programs = path.iter().flat_map(|directory| pythons(directory, "python"));
        let prefixes =
            programs.filter_map(theirs).filter_map(|program| prefix_of(&program).map(Path::to_owned));
        let home = home.and_then(|home| home.canonicalize().ok());
        let (prefixes, roots) = (prefixes.collect(), roots.into_iter().filter_map(theirs).collect());
        Self { project, home, prefixes, roots }
    }

    /// True if a path is in the project, by its name or by what its directory leads to.
    pub(super) fn in_project(&self, path: &Path) -> bool {
        let directory = path.parent().and_then(|directory| directory.canonicalize().ok());
        path.starts_with(&self.project) || directory.is_some_and(|real| real.starts_with(&self.project))
    }

    /// True if this is a directory of the project for itself, and no link.
    pub(super) fn is_directory_of_project(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|about| about.is_dir())
            && path.canonicalize().is_ok_and(|real| real != self.project && real.starts_with(&self.project))
    }

    /// True if the user has the installation at `prefix` without this project.
    pub(super) fn has(&self, prefix: &Path) -> bool {
        self.prefixes.contains(prefix)
            || self.roots.iter().any(|root| prefix.starts_with(root))
            || OF_SYSTEM.iter().any(|system| prefix.starts_with(system))
                && fs::metadata(prefix).is_ok_and(|about| about.uid() == 0)
    }

    /// The installation whose programs are in the directory `bin`, without links; none if that is no Python, or if
    /// other things of the user are in the same place.
    pub(super) fn at(&self, bin: &Path) -> Option<PathBuf> {
        let bin = bin.canonicalize().ok().filter(|bin| bin.ends_with("bin"))?;
        let prefix = bin.parent()?;
        let shared = self.home.as_ref().is_some_and(|home| {
            home.starts_with(prefix) || home.join(".local").canonicalize().is_ok_and(|local| local == prefix)
        });
        let within = |path: &Path| path.canonicalize().is_ok_and(|real| real.starts_with(prefix));
        let program = pythons(&bin, "python3").any(|path| is_program(&path) && within(&path));
        let libraries = ["lib", "lib64"].map(|lib| prefix.join(lib));
        let mut libraries = libraries.iter().flat_map(|lib| pythons(lib, "python3."));
        let library = libraries.any(|python| python.join("os.py").is_file() && within(&python.join("os.py")));
        (program && library && !shared).then(|| prefix.to_owned())
    }
}

/// Parts of the installation at `prefix` that are shown: whatever in it does not lead out of it.
pub(super) fn parts(prefix: &Path) -> impl Iterator<Item = PathBuf> {
    let real = prefix.canonicalize().ok();
    let parts = PARTS.into_iter().map(|part| prefix.join(part));
    parts.filter(move |part| {
        real.as_ref().zip(part.canonicalize().ok()).is_some_and(|(prefix, part)| part.starts_with(prefix))
    })
}

/// The directories on `PATH`.
pub(super) fn directories(env: &BTreeMap<String, String>) -> impl Iterator<Item = &Path> {
    let path = env.get("PATH").map_or("", String::as_str);
    path.split(':').map(Path::new).filter(|directory| directory.is_absolute())
}

/// The installation or environment that a program is in.
pub(super) fn prefix_of(program: &Path) -> Option<&Path> {
    program.parent().filter(|bin| bin.ends_with("bin"))?.parent()
}

pub(super) fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// Entries of a directory whose names begin like this.
pub(super) fn pythons(directory: &Path, prefix: &str) -> impl Iterator<Item = PathBuf> + use<> {
    let prefix = prefix.as_bytes().to_owned();
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(move |entry| entry.file_name().as_encoded_bytes().starts_with(&prefix))
        .map(|entry| entry.path())
}
