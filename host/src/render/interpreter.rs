//! The Python of a project, and what that needs of the machine. Nothing is run to find out: a project may have put
//! anything where its interpreter is expected, so only the sandbox runs it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::symlink_metadata;
use std::path::{Component, Path, PathBuf};

use hm_disk::read_regular_below;

use super::RenderError;
use super::installation::{Installations, directories, is_program, parts, prefix_of, pythons};

/// Says which interpreter to take, by name or path.
const PYTHON_VARIABLE: &str = "HARMONT_PYTHON";
/// Says which virtual environment is active.
const ENVIRONMENT_VARIABLE: &str = "VIRTUAL_ENV";
/// Directories in which projects have their virtual environment.
const PROJECT_ENVIRONMENTS: [&str; 2] = [".venv", "venv"];
/// File that makes a directory a virtual environment.
const CONFIGURATION: &str = "pyvenv.cfg";
/// A larger configuration is none.
const CONFIGURATION_MAX: usize = 64 << 10;

/// A Python, with everything that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The program, at the path that it is to be started by: it finds its packages from there.
    pub program: PathBuf,
    /// Paths that it needs beside itself and the system: its virtual environment, the installation that was made from,
    /// the user's packages.
    pub needs: Vec<PathBuf>,
    /// Directory below which the user has packages (`pip install --user`).
    pub user_base: Option<PathBuf>,
}

impl Interpreter {
    /// Finds the Python of a project: the one that `HARMONT_PYTHON` says, or of the virtual environment that is active,
    /// or of the project's own, or `python3` on `PATH`. `here` is what relative paths in the environment count from.
    ///
    /// # Errors
    /// [`RenderError::NotThere`], [`RenderError::NoPython`] and [`RenderError::Foreign`].
    pub fn find(
        env: &BTreeMap<String, String>,
        home: Option<&Path>,
        here: &Path,
        project: &Path,
    ) -> Result<Self, RenderError> {
        let found = program(env, here, project)?;
        let mut needs = needs(&found, &Installations::of(env, home, project))?;
        let user_base = match set(env, "PYTHONUSERBASE") {
            Some(base) => Some(PathBuf::from(base)),
            None => home.map(|home| home.join(".local")),
        };
        let packages = |base: &PathBuf| {
            pythons(&base.join("lib"), "python3.").map(|python| python.join("site-packages"))
        };
        needs.extend(user_base.iter().flat_map(packages));
        Ok(Self { program: found.program, needs, user_base })
    }

    /// True if a program is that of a virtual environment.
    #[must_use]
    pub fn is_in_environment(program: &Path) -> bool {
        prefix_of(program).is_some_and(|prefix| prefix.join(CONFIGURATION).is_file())
    }
}

fn set<'a>(env: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    env.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

/// An interpreter, and whether it is the user who says that it is meant.
struct FoundProgram {
    program: PathBuf,
    named: bool,
}

fn program(env: &BTreeMap<String, String>, here: &Path, project: &Path) -> Result<FoundProgram, RenderError> {
    let not_there = |variable, value: &str| RenderError::NotThere { variable, value: value.to_owned() };
    let named = |program| FoundProgram { program, named: true };
    if let Some(asked) = set(env, PYTHON_VARIABLE) {
        let found = if asked.contains('/') { Some(here.join(asked)) } else { on_path(env, asked) };
        return found
            .filter(|path| is_program(path))
            .map(named)
            .ok_or_else(|| not_there(PYTHON_VARIABLE, asked));
    }
    if let Some(active) = set(env, ENVIRONMENT_VARIABLE) {
        return in_environment(&here.join(active))
            .map(named)
            .ok_or_else(|| not_there(ENVIRONMENT_VARIABLE, active));
    }
    for directory in PROJECT_ENVIRONMENTS.map(|name| project.join(name)) {
        if !directory.join(CONFIGURATION).is_file() {
            continue;
        }
        if symlink_metadata(&directory).is_ok_and(|about| about.is_symlink()) {
            return Err(foreign(&directory));
        }
        if let Some(program) = in_environment(&directory) {
            return Ok(FoundProgram { program, named: false });
        }
    }
    on_path(env, "python3").map(named).ok_or(RenderError::NoPython)
}

fn in_environment(directory: &Path) -> Option<PathBuf> {
    ["bin/python3", "bin/python"].iter().map(|name| directory.join(name)).find(|path| is_program(path))
}

fn on_path(env: &BTreeMap<String, String>, name: &str) -> Option<PathBuf> {
    directories(env).map(|directory| directory.join(name)).find(|path| is_program(path))
}

fn foreign(path: &Path) -> RenderError {
    RenderError::Foreign {
        path: path.to_owned(),
        real: path.canonicalize().unwrap_or_else(|_| path.to_owned()),
    }
}

/// Paths that an interpreter needs. What is in the project may be a stranger's words, its links and its environment's
/// configuration too: of the project nothing but the environment itself is shown, and of other places only Pythons that
/// the user has without it.
fn needs(found: &FoundProgram, user: &Installations) -> Result<Vec<PathBuf>, RenderError> {
    let program = &found.program;
    let theirs = user.in_project(program);
    let real = program.canonicalize().map_err(|_| foreign(program))?;
    let mut environment = None;
    let mut made = None;
    if let Some(prefix) = prefix_of(program)
        && let Ok(text) = read_regular_below(prefix, Path::new(CONFIGURATION), CONFIGURATION_MAX)
    {
        if theirs && !user.is_directory_of_project(prefix) {
            return Err(foreign(prefix));
        }
        environment = Some(prefix);
        made = made_from(&String::from_utf8_lossy(&text));
    }
    // The user may well have a whole Python in the project, and say so.
    let said = prefix_of(program).filter(|_| found.named && environment.is_none());
    let said = said.and_then(|prefix| prefix.canonicalize().ok());
    let believed = |prefix: &PathBuf| !theirs || user.has(prefix) || said.as_ref() == Some(prefix);
    let installation = |bin: &Path| user.at(bin).filter(believed);

    let of_program = real.parent().and_then(installation);
    let of_environment = made.as_deref().and_then(installation);
    let inside =
        environment.is_some_and(|prefix| prefix.canonicalize().is_ok_and(|own| real.starts_with(own)));
    if theirs && of_program.is_none() && !(inside && of_environment.is_some()) {
        return Err(foreign(program));
    }
    let mut needs = vec![program.clone()];
    needs.extend(environment.map(Path::to_owned));
    // The interpreter goes by what the configuration says, with the links in it.
    let as_said = made.as_deref().and_then(Path::parent).filter(|_| of_environment.is_some());
    let as_said = as_said.filter(|prefix| prefix.canonicalize().ok() == of_environment).map(Path::to_owned);
    // They are one and the same as a rule.
    let prefixes: BTreeSet<_> = of_program.into_iter().chain(of_environment).chain(as_said).collect();
    needs.extend(prefixes.iter().flat_map(|prefix| parts(prefix)));
    needs.retain(|path| !path.starts_with("/usr"));
    Ok(needs)
}

/// The directory of the interpreter that a virtual environment was made from, by its configuration.
fn made_from(configuration: &str) -> Option<PathBuf> {
    let mut fields = configuration.lines().filter_map(|line| line.split_once('='));
    let (_, bin) = fields.find(|(name, _)| name.trim() == "home")?;
    let bin = PathBuf::from(bin.trim());
    let plain = bin.is_absolute() && !bin.components().any(|part| part == Component::ParentDir);
    // What is in there depends on who looks.
    (plain && !bin.starts_with("/proc")).then_some(bin)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A home directory with a Python, `py`, and a project.
    struct Lab(tempfile::TempDir);

    impl Lab {
        fn new() -> Self {
            let lab = Self(tempfile::tempdir().expect("a directory"));
            lab.program("py/bin/python3.12");
            symlink("python3.12", lab.at("py/bin/python3")).expect("a link");
            lab.program("py/lib/python3.12/os.py");
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
            lab.finds(
                &[("PATH", &path), (active.0, &active.1), (PYTHON_VARIABLE, asked)],
                "py/bin/python3.12",
            );
        }
        for (variable, value) in
            [(PYTHON_VARIABLE, "python9"), (PYTHON_VARIABLE, "./project"), (ENVIRONMENT_VARIABLE, "project")]
        {
            let error = lab.find(&[("PATH", &path), (variable, value)]).expect_err("not there");
            assert!(error.contains(variable) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn an_environment_needs_what_it_was_made_from() {
        let lab = Lab::new();
        lab.environment("project/.venv", &lab.at("py/bin").display().to_string());
        fs::create_dir(lab.at("py/share")).expect("a directory");
        symlink("lib", lab.at("py/lib64")).expect("a link");
        let installed = ["py/bin", "py/lib", "py/lib64"].map(|part| lab.at(part));
        let path = lab.at("py/bin").display().to_string();
        let needs = lab.find(&[("PATH", &path)]).expect("there").needs;
        assert_eq!(needs[..2], [lab.at("project/.venv/bin/python"), lab.at("project/.venv")]);
        assert!(Interpreter::is_in_environment(&needs[0]));
        assert!(!Interpreter::is_in_environment(&lab.at("py/bin/python3")));
        assert_eq!(needs[2..], installed);
        // The link alone says it too.
        lab.environment("other", "/nowhere");
        let needs = lab.find(&[(ENVIRONMENT_VARIABLE, "other")]).expect("there").needs;
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
            let needs = lab.find(&[(ENVIRONMENT_VARIABLE, &format!("{name}/venv"))]).expect("there").needs;
            assert!(!needs.iter().any(|path| lab.at("secret/bin/x").starts_with(path)), "{needs:?}");
        }
    }

    #[test]
    fn of_what_a_project_leads_to_only_the_users_pythons_count() {
        let lab = Lab::new();
        let py = lab.at("py/bin").display().to_string();
        lab.environment("project/.venv", &py);
        assert!(lab.find(&[]).expect_err("unknown").contains("py/bin/python3.12, which is no Python"));
        // A manager of Pythons has it, by its variable, its usual place or its shims.
        fs::create_dir_all(lab.at("manager/shims")).expect("a directory");
        fs::create_dir(lab.at(".pyenv")).expect("a directory");
        for (link, variable, value) in [
            ("manager/versions", "PYENV_ROOT", "manager"),
            ("manager/versions", "PATH", "manager/shims"),
            (".pyenv/versions", "LANG", "C"),
        ] {
            fs::create_dir(lab.at(link)).expect("a directory");
            fs::rename(lab.at("py"), lab.at(link).join("py")).expect("moved");
            symlink(lab.at(link).join("py"), lab.at("py")).expect("a link");
            let needs = lab.find(&[(variable, &lab.at(value).display().to_string())]).expect("there").needs;
            assert!(needs.contains(&lab.at(link).join("py/lib")), "{needs:?}");
            // The interpreter goes by the configuration.
            assert!(needs.contains(&lab.at("py/lib")), "{needs:?}");
            fs::remove_file(lab.at("py")).expect("there");
            fs::rename(lab.at(link).join("py"), lab.at("py")).expect("moved");
            fs::remove_dir(lab.at(link)).expect("empty");
        }
    }

    #[test]
    fn a_project_cannot_make_an_installation_up() {
        let lab = Lab::new();
        let path = lab.at("py/bin").display().to_string();
        let (python, library) = ("project/.venv/bin/python3", "project/.venv/lib/python3.12/os.py");
        fs::create_dir(lab.at("keys")).expect("a directory");
        lab.program(".local/bin/tool");
        lab.program(".local/bin/python3");
        lab.program(".local/lib/python3.12/os.py");
        let _ = (lab.program(python), lab.program(library));
        symlink("../../keys", lab.at("project/.venv/share")).expect("a link");
        let configure = |home: &str| {
            fs::write(lab.at("project/.venv").join(CONFIGURATION), format!("home = {home}\n"))
                .expect("a file");
        };
        let own = lab.at("project/.venv/bin").display().to_string();
        let local = lab.at(".local/bin").display().to_string();
        let both = format!("{path}:{own}:{local}");
        let parent = format!("{path}/../bin");
        for home in [own.as_str(), &local, &parent, "/proc/self/cwd/../bin", "bin", ""] {
            configure(home);
            let error = lab.find(&[("PATH", &both)]).expect_err("no Python").replace(home, "");
            assert!(error.contains("is no Python"), "{home}: {error}");
        }
        // It may well have a copy of the program.
        configure(&path);
        let needs = lab.find(&[("PATH", &both)]).expect("a Python").needs;
        let expected = [python, "project/.venv", "py/bin", "py/lib"].map(|part| lab.at(part));
        assert_eq!(needs[..4], expected);
        assert!(needs[4..].iter().all(|path| path.ends_with("site-packages")), "{needs:?}");

        for target in [".local/bin/tool", ".local/bin/python3", "project/tool"] {
            lab.program("project/tool");
            fs::remove_file(lab.at(python)).expect("there");
            symlink(lab.at(target), lab.at(python)).expect("a link");
            for variables in
                [&[("PATH", both.as_str())][..], &[("PATH", &both), (ENVIRONMENT_VARIABLE, "project/.venv")]]
            {
                assert!(lab.find(variables).expect_err("elsewhere").contains(target));
            }
        }
        fs::rename(lab.at("project/.venv"), lab.at("keys/env")).expect("moved");
        symlink("../keys/env", lab.at("project/.venv")).expect("a link");
        let error = lab.find(&[("PATH", &both)]).expect_err("a link");
        assert!(error.contains("project/.venv leads to") && error.contains("keys/env,"), "{error}");
    }

    #[test]
    fn of_an_installation_nothing_is_shown_that_leads_out_of_it() {
        let lab = Lab::new();
        fs::create_dir(lab.at("keys")).expect("a directory");
        symlink("../keys", lab.at("py/lib64")).expect("a link");
        let asked = (PYTHON_VARIABLE, "py/bin/python3");
        assert_eq!(
            lab.find(&[asked]).expect("there").needs[1..],
            ["py/bin", "py/lib"].map(|part| lab.at(part))
        );
        fs::remove_file(lab.at("py/lib/python3.12/os.py")).expect("there");
        assert_eq!(lab.find(&[asked]).expect("there").needs, [lab.at(asked.1)]);
    }

    #[test]
    fn packages_of_the_user_are_shown_and_nothing_beside_them() {
        let lab = Lab::new();
        let packages = lab.at(".local/lib/python3.12/site-packages");
        fs::create_dir_all(&packages).expect("a directory");
        fs::create_dir_all(lab.at(".local/lib/other")).expect("a directory");
        let found = lab.find(&[(PYTHON_VARIABLE, "py/bin/python3")]).expect("there");
        assert_eq!(found.user_base, Some(lab.at(".local")));
        let of_user: Vec<_> = found.needs.iter().filter(|path| path.starts_with(lab.at(".local"))).collect();
        assert_eq!(of_user, [&packages]);
    }
}
