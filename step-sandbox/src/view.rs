//! What of the developer's machine a step gets to see: the system, the tools on `PATH` and what they need, and the
//! variables that go with them. Reads the file system, but not the process's environment, and changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

use hm_workspace::{WORKSPACE, snapshot};

use crate::{
    HOME,
    tools::{CERTIFICATES, CREDENTIALS, PASSED, PERSONAL, TOOLS, Tool},
};

/// The system itself; those that are links are shown as links.
const SYSTEM: &[&str] = &[
    "/usr",
    "/etc",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    // What files in /etc lead to on some distributions.
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/ssl/certs",
    "/etc/static",
    "/var/lib/ca-certificates",
    // How many processors there are.
    "/sys/devices/system/cpu",
];

/// What is made for each sandbox and so cannot be the host's.
const OURS: &[&str] = &["/dev", "/proc", HOME, WORKSPACE];

/// Where the running system is, with sockets that lead out of a sandbox.
const RUNNING: &[&str] = &["/run", "/var/run", "/proc", "/sys", "/dev"];

/// What everybody may put something in.
const SHARED: &[&str] = &["/tmp", "/var/tmp"];

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A chain of more symbolic links than this is a loop, as for the kernel.
const LINKS_MAX: usize = 40;

/// What a step sees of the host.
#[derive(Default)]
pub(crate) struct View {
    /// Read-only, at their own paths; none lies in another.
    pub(crate) binds: Vec<PathBuf>,
    /// Links outside of `binds` that lead there.
    pub(crate) links: Vec<(PathBuf, PathBuf)>,
    /// What within `binds` must not be readable.
    pub(crate) hidden: Vec<PathBuf>,
    /// Environment variables.
    pub(crate) env: BTreeMap<String, String>,
}

impl View {
    /// Works it out from the developer's environment and home directory. `also` is shown in addition, with what it leads to, but nothing
    /// where people keep what is theirs, no part of the running system, and no socket; for what is in `project` its place does not matter.
    pub(crate) fn new(
        host: &BTreeMap<String, String>,
        home: Option<&Path>,
        project: &Path,
        also: &[PathBuf],
    ) -> Self {
        let home = home.filter(|home| home.is_absolute());
        let real_home = home.and_then(|home| home.canonicalize().ok());
        let project = project.canonicalize().ok();
        let mut found = Found { home, real_home, project, ..Found::default() };
        let mut env = BTreeMap::new();
        for path in SYSTEM {
            found.show(Path::new(path));
        }
        for tool in TOOLS {
            if let Some(directory) = found.tool(tool, host) {
                env.insert(tool.variable.to_owned(), directory);
            }
        }
        for (name, value) in host {
            if CERTIFICATES.contains(&name.as_str()) {
                value.split(':').for_each(|path| found.show(Path::new(path)));
            } else if !PASSED.contains(&name.as_str()) && !name.starts_with("LC_") {
                continue;
            }
            env.insert(name.clone(), value.clone());
        }
        let path = host.get("PATH").filter(|path| !path.is_empty()).map_or(DEFAULT_PATH, String::as_str);
        for directory in path.split(':') {
            found.commands(Path::new(directory));
        }
        for path in also {
            found.show_in_addition(path);
        }
        let user = host.get("USER").or_else(|| host.get("LOGNAME")).map_or("user", String::as_str);
        env.extend(
            [("PATH", path), ("HOME", HOME), ("USER", user), ("CI", "true")]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        found.finish(env)
    }
}

#[derive(Default)]
struct Found<'a> {
    home: Option<&'a Path>,
    /// Without links in it.
    real_home: Option<PathBuf>,
    /// Without links in it.
    project: Option<PathBuf>,
    /// Without links in them.
    shown: BTreeSet<PathBuf>,
    /// Without links in them.
    added: BTreeSet<PathBuf>,
    links: BTreeMap<PathBuf, PathBuf>,
}

impl Found<'_> {
    /// Shows a path, whatever it leads to, and the links on the way. Nothing happens if there is nothing.
    fn show(&mut self, path: &Path) {
        if let Some((real, links)) = resolve(path) {
            self.show_real(real, links);
        }
    }

    /// Shows what steps do not see; it may have been a stranger's files that led to it.
    fn show_in_addition(&mut self, path: &Path) {
        let Some((real, links)) = resolve(path) else { return };
        if links.keys().chain([&real]).all(|path| self.may_be_added(path)) {
            self.added.insert(real.clone());
            self.show_real(real, links);
        }
    }

    fn may_be_added(&self, path: &Path) -> bool {
        let project = self.project.as_deref();
        let below = project.and_then(|project| path.strip_prefix(project).ok());
        let personal = below.unwrap_or(path).iter().any(is_personal);
        let running = RUNNING.iter().any(|place| {
            let with_project = below.is_some() && project.is_some_and(|project| project.starts_with(place));
            path.starts_with(place) && !with_project
        });
        let shared = RUNNING.iter().chain(SHARED).any(|place| Path::new(place).starts_with(path));
        !personal && !running && !shared
    }

    fn show_real(&mut self, real: PathBuf, links: BTreeMap<PathBuf, PathBuf>) {
        // Packages of nix need one another, and say so only in their files.
        let real = if real.starts_with("/nix/store") { PathBuf::from("/nix/store") } else { real };
        if !self.too_much(&real) && real.to_str().is_some() {
            self.links.extend(links);
            self.shown.insert(real);
        }
    }

    /// Whether showing it would show the home directory too, or things that a sandbox has its own of.
    fn too_much(&self, path: &Path) -> bool {
        path.parent().is_none()
            || self.real_home.as_ref().is_some_and(|home| home.starts_with(path))
            || ["/home", "/var/home"]
                .map(Path::new)
                .iter()
                .any(|homes| path == *homes || path.parent() == Some(homes))
            || OURS.iter().any(|ours| path.starts_with(ours) || Path::new(ours).starts_with(path))
    }

    /// Shows a tool; answers with its directory if it is there.
    fn tool(&mut self, tool: &Tool, host: &BTreeMap<String, String>) -> Option<String> {
        let directory = match host.get(tool.variable).filter(|value| !value.is_empty()) {
            Some(value) => PathBuf::from(value),
            None if tool.default.is_empty() => return None,
            None => self.home?.join(tool.default),
        };
        if !directory.is_absolute() || !directory.is_dir() {
            return None;
        }
        if tool.show.is_empty() {
            self.show(&directory);
        }
        for part in tool.show {
            self.show(&directory.join(part));
        }
        directory.into_os_string().into_string().ok()
    }

    /// Shows a directory of commands, with what they need.
    fn commands(&mut self, directory: &Path) {
        if !directory.is_absolute() {
            return;
        }
        self.show(directory);
        self.installation(directory);
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                continue;
            }
            let path = entry.path();
            // Most lead to a neighbour.
            if fs::read_link(&path)
                .is_ok_and(|target| target.components().count() == 1 && target.is_relative())
            {
                continue;
            }
            let Some((real, _)) = resolve(&path) else { continue };
            if !self.covers(&real) && is_program(&real) && !self.personal(&real) {
                self.show(&path);
                real.parent().into_iter().for_each(|parent| self.installation(parent));
            }
        }
    }

    /// Shows the rest of the installation that a directory of programs belongs to: what installations consist of,
    /// and nothing that happens to lie beside. Only packages in `/opt` are known to have a directory for themselves.
    fn installation(&mut self, directory: &Path) {
        if let Some(Component::Normal(package)) =
            directory.strip_prefix("/opt").ok().and_then(|below| below.components().next())
        {
            self.show(&Path::new("/opt").join(package));
        } else if let Some(prefix) = directory.parent().filter(|_| is_commands(directory)) {
            self.show(directory);
            for part in ["lib", "lib64", "libexec", "include"] {
                self.show(&prefix.join(part));
            }
        }
    }

    /// Whether a path lies where people keep what is theirs rather than programs: by the names in it and, in the home
    /// directory, by being in a hidden directory that we do not know.
    fn personal(&self, path: &Path) -> bool {
        let Some(below) = self.real_home.as_ref().and_then(|home| path.strip_prefix(home).ok()) else {
            return path.iter().any(is_personal);
        };
        let first = below.iter().next().unwrap_or_default();
        let known = first == ".local"
            || path.parent().is_some_and(is_commands)
            || TOOLS.iter().any(|tool| !tool.default.is_empty() && below.starts_with(tool.default));
        below.iter().any(is_personal) || first.as_encoded_bytes().starts_with(b".") && !known
    }

    fn covers(&self, path: &Path) -> bool {
        path.ancestors().any(|ancestor| self.shown.contains(ancestor))
    }

    fn finish(self, env: BTreeMap<String, String>) -> View {
        let mut binds: Vec<PathBuf> = Vec::new();
        for path in &self.shown {
            // Sorted, so a directory comes before what is in it.
            if !binds.iter().any(|bind| path.starts_with(bind)) {
                binds.push(path.clone());
            }
        }
        let within = |path: &Path| binds.iter().any(|bind| path.starts_with(bind));
        let links = self.links.into_iter().filter(|(link, _)| !within(link)).collect();
        let mut hidden = secrets(Path::new("/usr/local/etc"));
        for package in self.shown.iter().filter(|path| path.starts_with("/opt")) {
            hidden.extend(secrets(&package.join("etc")));
        }
        for directory in
            self.shown.iter().filter(|path| !SYSTEM.iter().any(|system| path.starts_with(system)))
        {
            hidden.extend(CREDENTIALS.iter().map(|name| directory.join(name)).filter(|path| path.exists()));
        }
        for directory in
            self.added.iter().filter(|path| !path.starts_with("/nix") && !path.starts_with("/usr"))
        {
            hidden.extend(sockets(directory));
        }
        View { binds, links, hidden, env }
    }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// Whether a name is one of those that people keep what is theirs by.
fn is_personal(name: &OsStr) -> bool {
    CREDENTIALS.iter().chain(PERSONAL).any(|personal| name == *personal)
}

fn is_commands(directory: &Path) -> bool {
    directory.file_name().is_some_and(|name| name == "bin" || name == "sbin")
}

/// Follows a path to what is really there, noting each link on the way and what it says. None if nothing is there.
fn resolve(path: &Path) -> Option<(PathBuf, BTreeMap<PathBuf, PathBuf>)> {
    if !path.is_absolute() {
        return None;
    }
    let mut links = BTreeMap::new();
    let mut hops = 0;
    let mut real = PathBuf::from("/");
    // Last first.
    let mut rest: Vec<_> = components(path);
    while let Some(name) = rest.pop() {
        if name == ".." {
            real.pop();
            continue;
        }
        let next = real.join(&name);
        if !fs::symlink_metadata(&next).ok()?.is_symlink() {
            real = next;
            continue;
        }
        hops += 1;
        if hops > LINKS_MAX {
            return None;
        }
        let target = fs::read_link(&next).ok()?;
        if target.is_absolute() {
            real = PathBuf::from("/");
        }
        rest.extend(components(&target));
        // A path of the wire is UTF-8.
        target.to_str()?;
        links.insert(next, target);
    }
    Some((real, links))
}

/// The names in a path, last first.
fn components(path: &Path) -> Vec<std::ffi::OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        _ => None,
    };
    path.components().rev().filter_map(name).collect()
}

/// What below a directory not everybody may read. Our user may be root, or in the wrong group.
pub(crate) fn secrets(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(about) = entry.metadata() else { continue };
            if about.is_symlink() || entry.path().to_str().is_none() {
            } else if !snapshot::is_public(&about) {
                found.push(entry.path());
            } else if about.is_dir() {
                open.push(entry.path());
            }
        }
    }
    found
}

/// The sockets below a directory: that it is read-only keeps nobody from connecting to them.
fn sockets(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_socket() {
                // A path of the wire is UTF-8: what has no such path goes with what it is in.
                let path = entry.path();
                found.extend(path.ancestors().find(|path| path.to_str().is_some()).map(Path::to_owned));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use super::*;

    fn view(variables: &[(&str, &Path)], home: &Path) -> View {
        let host =
            variables.iter().map(|(name, value)| ((*name).to_owned(), value.display().to_string())).collect();
        View::new(&host, Some(home), home, &[])
    }

    #[test]
    fn the_environment_is_made_and_not_inherited() {
        let scratch = tempfile::tempdir().unwrap();
        let host = [
            ("LC_ALL", "C"),
            ("http_proxy", "http://p"),
            ("GITHUB_TOKEN", "t"),
            ("CARGO_HOME", "/c"),
            ("USER", "u"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let env = View::new(&host, Some(scratch.path()), scratch.path(), &[]).env;
        let expected = [
            ("CI", "true"),
            ("HOME", HOME),
            ("LC_ALL", "C"),
            ("PATH", DEFAULT_PATH),
            ("USER", "u"),
            ("http_proxy", "http://p"),
        ];
        assert_eq!(env, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn neither_the_home_directory_nor_what_contains_it_is_ever_shown() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().canonicalize().unwrap();
        let home = root.join("home");
        fs::create_dir_all(home.join("bin")).unwrap();
        symlink(&home, root.join("link")).unwrap();
        let linked = view(&[("PATH", &home), ("JAVA_HOME", &home)], &root.join("link")).binds;
        assert!(!linked.iter().any(|bind| home.starts_with(bind)), "however the home directory is called");
        let shown =
            |path: &Path| view(&[("PATH", path), ("JAVA_HOME", path), ("SSL_CERT_DIR", path)], &home).binds;
        for path in [
            &root,
            &home,
            &root.join("link"),
            &home.join("bin/.."),
            Path::new("/"),
            Path::new("/proc/self/root"),
        ] {
            assert!(!shown(path).iter().any(|bind| home.starts_with(bind)), "{}", path.display());
        }
        assert!(shown(&home.join("bin")).contains(&home.join("bin")));
    }

    #[test]
    fn nothing_is_shown_within_something_shown() {
        let scratch = tempfile::tempdir().unwrap();
        let home = scratch.path().canonicalize().unwrap();
        fs::create_dir_all(home.join(".nvm/v1/bin")).unwrap();
        fs::write(home.join(".nvm/.npmrc"), "").unwrap();
        symlink("v1", home.join(".nvm/current")).unwrap();
        symlink(".nvm/current", home.join("node")).unwrap();
        let view = view(&[("PATH", &home.join("node/bin"))], &home);
        for (number, one) in view.binds.iter().enumerate() {
            assert!(
                !view.binds.iter().skip(number + 1).any(|other| other.starts_with(one)),
                "{}",
                one.display()
            );
        }
        assert!(view.binds.contains(&home.join(".nvm")));
        assert!(view.hidden.contains(&home.join(".nvm/.npmrc")));
        assert!(view.links.contains(&(home.join("node"), PathBuf::from(".nvm/current"))));
        assert!(!view.links.iter().any(|(link, _)| link.starts_with(home.join(".nvm"))));
    }

    #[test]
    fn a_link_among_commands_shows_programs_only() {
        let scratch = tempfile::tempdir().unwrap();
        let home = scratch.path().canonicalize().unwrap();
        let mut links = Vec::new();
        for (file, mode) in [
            ("apps/tool/run", 0o755),
            (".local/share/tool/run", 0o755),
            (".unknown/bin/run", 0o755),
            (".unknown/run", 0o755),
            (".ssh/id", 0o600),
            (".ssh/run", 0o755),
            (".config/bin/run", 0o755),
            ("notes/text", 0o644),
        ] {
            let path = home.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            links.extend([path.parent().unwrap().to_owned(), path]);
        }
        fs::create_dir(home.join("bin")).unwrap();
        for (number, path) in links.iter().enumerate() {
            symlink(path, home.join(format!("bin/{number}"))).unwrap();
        }
        let mut shown = view(&[("PATH", &home.join("bin"))], &home).binds;
        shown.retain(|path| path.starts_with(&home));
        let expected = [".local/share/tool/run", ".unknown/bin", "apps/tool/run", "bin"];
        assert_eq!(shown, expected.map(|path| home.join(path)));
    }

    #[test]
    fn what_is_added_leads_neither_to_what_people_keep_nor_to_the_running_system() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().canonicalize().unwrap();
        let (home, project) = (root.join("home"), root.join("home/.config/project"));
        for directory in [".ssh", ".ssh/py", "py/lib/deep", ".config/project/.venv"] {
            fs::create_dir_all(home.join(directory)).unwrap();
        }
        symlink(home.join(".ssh/py"), home.join("to-keys")).unwrap();
        symlink("../py", home.join(".ssh/back")).unwrap();
        let _listening = UnixListener::bind(home.join("py/lib/deep/socket")).unwrap();
        let also = [
            ".ssh",
            ".ssh/py",
            "to-keys",
            // Its place is shown too.
            ".ssh/back",
            ".config",
            ".config/project/.venv",
            "py/lib",
        ]
        .map(|path| home.join(path));
        let system = ["/run", "/var/run", "/tmp", "/var", "/proc/self/cwd", "/dev/shm", "/sys/class", "/"];
        let also: Vec<_> = also.into_iter().chain(system.map(PathBuf::from)).collect();
        let plain = View::new(&BTreeMap::new(), Some(&home), &project, &[]);
        let mut view = View::new(&BTreeMap::new(), Some(&home), &project, &also);
        view.binds.retain(|path| !plain.binds.contains(path));
        assert_eq!(view.binds, [home.join(".config/project/.venv"), home.join("py/lib")]);
        assert!(!view.links.iter().any(|(link, _)| link.starts_with(&home)), "{:?}", view.links);
        assert!(view.hidden.contains(&home.join("py/lib/deep/socket")));
    }

    #[test]
    fn links_are_followed_like_the_kernel_does() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/file"), "").unwrap();
        symlink("b/../file", root.join("a/one")).unwrap();
        symlink(root.join("a/one"), root.join("two")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let (real, links) = resolve(&root.join("two")).unwrap();
        assert_eq!(real, root.join("a/file"));
        assert_eq!(links.into_keys().collect::<Vec<_>>(), [root.join("a/one"), root.join("two")]);
        assert!(resolve(&root.join("loop")).is_none());
        assert!(resolve(&root.join("missing")).is_none());
        assert!(resolve(Path::new("relative")).is_none());
    }
}
