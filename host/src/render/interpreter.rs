//! Which Python a project uses, and what that needs of the machine. Nothing is run to find out: a project may have put anything
//! where its interpreter is expected, so only the sandbox runs it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::RenderError;
use crate::files::read_regular;

/// Says which interpreter to take, by name or path.
const ASKED: &str = "HARMONT_PYTHON";
/// Says which virtual environment is active.
const ACTIVE: &str = "VIRTUAL_ENV";
/// Where projects have their virtual environment.
const OF_PROJECTS: [&str; 2] = [".venv", "venv"];
/// What makes a directory a virtual environment.
const CONFIGURATION: &str = "pyvenv.cfg";
/// A larger configuration is none.
const CONFIGURATION_MAX: usize = 64 << 10;

/// A Python.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The program, at the path that it is to be started by: it finds its packages from there.
    pub program: PathBuf,
    /// What it needs beside itself and the system: its virtual environment, the installation that was made from, the user's packages.
    pub needs: Vec<PathBuf>,
    /// Below which directory the user has packages (`pip install --user`).
    pub user_base: Option<PathBuf>,
}

impl Interpreter {
    /// Finds the Python of a project: the one that `HARMONT_PYTHON` says, or of the virtual environment that is active, or of the
    /// project's own, or `python3` on `PATH`. `here` is what relative paths in the environment count from.
    ///
    /// # Errors
    /// [`RenderError::NotThere`] and [`RenderError::NoPython`].
    pub fn find(
        env: &BTreeMap<String, String>,
        home: Option<&Path>,
        here: &Path,
        project: &Path,
    ) -> Result<Self, RenderError> {
        let program = program(env, here, project)?;
        let user_base = match set(env, "PYTHONUSERBASE") {
            Some(base) => Some(PathBuf::from(base)),
            None => home.map(|home| home.join(".local")),
        };
        let mut needs = parts(&program);
        let packages = |base: &PathBuf| pythons(&base.join("lib")).map(|python| python.join("site-packages"));
        needs.extend(user_base.iter().flat_map(packages));
        Ok(Self { program, needs, user_base })
    }
}

fn set<'a>(env: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    env.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

fn program(env: &BTreeMap<String, String>, here: &Path, project: &Path) -> Result<PathBuf, RenderError> {
    let not_there = |variable, value: &str| RenderError::NotThere { variable, value: value.to_owned() };
    if let Some(asked) = set(env, ASKED) {
        let found = if asked.contains('/') { Some(here.join(asked)) } else { on_path(env, asked) };
        return found.filter(|path| is_program(path)).ok_or_else(|| not_there(ASKED, asked));
    }
    if let Some(active) = set(env, ACTIVE) {
        return in_environment(&here.join(active)).ok_or_else(|| not_there(ACTIVE, active));
    }
    let own = OF_PROJECTS.iter().map(|name| project.join(name));
    own.filter(|directory| directory.join(CONFIGURATION).is_file())
        .find_map(|directory| in_environment(&directory))
        .or_else(|| on_path(env, "python3"))
        .ok_or(RenderError::NoPython)
}

fn in_environment(directory: &Path) -> Option<PathBuf> {
    ["bin/python3", "bin/python"].iter().map(|name| directory.join(name)).find(|path| is_program(path))
}

fn on_path(env: &BTreeMap<String, String>, name: &str) -> Option<PathBuf> {
    let directories = set(env, "PATH")?.split(':').map(Path::new).filter(|directory| directory.is_absolute());
    directories.map(|directory| directory.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// What belongs to an interpreter. Of a virtual environment we go by what its configuration says, which may be the project's own
/// words: only what is an installation of Python is taken from it.
fn parts(program: &Path) -> Vec<PathBuf> {
    let mut parts = vec![program.to_owned()];
    let mut installed = program.canonicalize().ok().into_iter().collect::<Vec<_>>();
    if let Some(prefix) = prefix_of(program) {
        let configuration = prefix.join(CONFIGURATION);
        if let Ok(text) = read_regular(&configuration, CONFIGURATION_MAX) {
            parts.push(prefix.to_owned());
            // The file does not have to be there: its directory is what counts.
            installed.extend(made_from(&String::from_utf8_lossy(&text)).map(|bin| bin.join("python3")));
        }
    }
    for prefix in installed.iter().filter_map(|program| prefix_of(program)) {
        if pythons(&prefix.join("lib")).chain(pythons(&prefix.join("lib64"))).next().is_some() {
            parts.extend(["bin", "lib", "lib64", "share"].map(|part| prefix.join(part)));
        }
    }
    parts.retain(|path| !path.starts_with("/usr"));
    parts.dedup();
    parts
}

/// The installation or environment that a program is in.
fn prefix_of(program: &Path) -> Option<&Path> {
    let bin = program.parent().filter(|bin| bin.file_name().is_some_and(|name| name == "bin"))?;
    bin.parent()
}

/// Where the interpreter is that a virtual environment was made from, by its configuration.
fn made_from(configuration: &str) -> Option<PathBuf> {
    let mut fields = configuration.lines().filter_map(|line| line.split_once('='));
    let (_, bin) = fields.find(|(name, _)| name.trim() == "home")?;
    Some(PathBuf::from(bin.trim())).filter(|bin| bin.is_absolute())
}

/// The standard libraries, and the places for packages, in a directory of libraries.
fn pythons(lib: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(lib).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"python3."))
        .map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A home directory with a Python, `py`, and a project.
    struct Lab(tempfile::TempDir);

    impl Lab {
        fn new() -> Self {
            let lab = Self(tempfile::tempdir().expect("a directory"));
            lab.program("py/bin/python3.12");
            symlink("python3.12", lab.at("py/bin/python3")).expect("a link");
            fs::create_dir_all(lab.at("py/lib/python3.12")).expect("a directory");
            fs::create_dir(lab.at("project")).expect("a directory");
            lab
        }

        fn at(&self, path: &str) -> PathBuf {
            self.0.path().canonicalize().expect("there").join(path)
        }

        fn program(&self, path: &str) {
            let path = self.at(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(&path, "").expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("mine");
        }

        fn environment(&self, path: &str, home: &str) {
            fs::create_dir_all(self.at(path).join("bin")).expect("a directory");
            symlink(self.at("py/bin/python3"), self.at(path).join("bin/python")).expect("a link");
            fs::write(self.at(path).join(CONFIGURATION), format!("version = 3\nhome = {home}\n"))
                .expect("a file");
        }

        fn find(&self, env: &[(&str, &str)]) -> Result<Interpreter, String> {
            let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Interpreter::find(&env, Some(&self.at("")), &self.at(""), &self.at("project"))
                .map_err(|error| error.to_string())
        }

        #[track_caller]
        fn finds(&self, env: &[(&str, &str)], program: &str) {
            assert_eq!(self.find(env).map(|found| found.program), Ok(self.at(program)));
        }
    }

    #[test]
    fn the_first_that_is_said_or_there_is_taken() {
        let lab = Lab::new();
        let path = lab.at("py/bin").display().to_string();
        assert!(lab.find(&[]).expect_err("none").contains("no python3"));
        lab.finds(&[("PATH", &path)], "py/bin/python3");
        lab.environment("project/venv", "/usr/bin");
        lab.finds(&[("PATH", &path)], "project/venv/bin/python");
        lab.environment("project/.venv", "/usr/bin");
        lab.finds(&[("PATH", &path), ("VIRTUAL_ENV", "")], "project/.venv/bin/python");
        fs::remove_file(lab.at("project/.venv/pyvenv.cfg")).expect("there");
        lab.finds(&[("PATH", &path)], "project/venv/bin/python");
        lab.environment("active", "/usr/bin");
        let active = ("VIRTUAL_ENV", lab.at("active").display().to_string());
        lab.finds(&[("PATH", &path), (active.0, &active.1)], "active/bin/python");
        for asked in ["python3.12", "py/bin/python3.12"] {
            lab.finds(&[("PATH", &path), (active.0, &active.1), (ASKED, asked)], "py/bin/python3.12");
        }
        for (variable, value) in [(ASKED, "python9"), (ASKED, "./project"), (ACTIVE, "project")] {
            let error = lab.find(&[("PATH", &path), (variable, value)]).expect_err("not there");
            assert!(error.contains(variable) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn an_environment_needs_what_it_was_made_from() {
        let lab = Lab::new();
        lab.environment("project/.venv", &lab.at("py/bin").display().to_string());
        let installed = ["py/bin", "py/lib", "py/lib64", "py/share"].map(|part| lab.at(part));
        let needs = lab.find(&[]).expect("there").needs;
        assert_eq!(needs[..2], [lab.at("project/.venv/bin/python"), lab.at("project/.venv")]);
        assert!(installed.iter().all(|part| needs.contains(part)), "{needs:?}");
        // The link alone says it too.
        lab.environment("other", "/nowhere");
        let needs = lab.find(&[(ACTIVE, "other")]).expect("there").needs;
        assert!(installed.iter().all(|part| needs.contains(part)), "{needs:?}");
    }

    #[test]
    fn what_an_environment_claims_is_shown_only_if_it_is_python() {
        let lab = Lab::new();
        for claimed in ["secret/bin", "secret", "..", "/"] {
            let directory = tempfile::tempdir_in(lab.at("")).expect("a directory");
            let name = directory.path().file_name().and_then(|name| name.to_str()).expect("a name");
            fs::create_dir_all(lab.at("secret/bin")).expect("a directory");
            lab.environment(&format!("{name}/venv"), &lab.at(claimed).display().to_string());
            let needs = lab.find(&[(ACTIVE, &format!("{name}/venv"))]).expect("there").needs;
            assert!(!needs.iter().any(|path| lab.at("secret/bin/x").starts_with(path)), "{needs:?}");
        }
    }

    #[test]
    fn packages_of_the_user_are_shown_and_nothing_beside_them() {
        let lab = Lab::new();
        let packages = lab.at(".local/lib/python3.12/site-packages");
        fs::create_dir_all(&packages).expect("a directory");
        fs::create_dir_all(lab.at(".local/lib/other")).expect("a directory");
        let found = lab.find(&[(ASKED, "py/bin/python3")]).expect("there");
        assert_eq!(found.user_base, Some(lab.at(".local")));
        let of_user: Vec<_> = found.needs.iter().filter(|path| path.starts_with(lab.at(".local"))).collect();
        assert_eq!(of_user, [&packages]);
    }
}
