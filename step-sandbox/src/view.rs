//! View that a step has of the developer's machine: the system, the tools on `PATH` and what they need, and the
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
    config::HOME,
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

/// Directories that each sandbox has its own of.
const OURS: &[&str] = &["/dev", "/proc", HOME, WORKSPACE];

/// Directories of the running system, with sockets that lead out of a sandbox.
const RUNNING: &[&str] = &["/run", "/var/run", "/proc", "/sys", "/dev"];

/// Directories that everybody may write to.
const SHARED: &[&str] = &["/tmp", "/var/tmp"];

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A chain of more symbolic links than this is a loop, as for the kernel.
const LINKS_MAX: usize = 40;

/// View of the host that a step has.
#[derive(Default)]
pub(crate) struct View {
    /// Read-only, at their own paths; none lies in another.
    pub(crate) binds: Vec<PathBuf>,
    /// Links outside of `binds` that lead there.
    pub(crate) links: Vec<(PathBuf, PathBuf)>,
    /// Paths within `binds` that must not be readable.
    pub(crate) hidden: Vec<PathBuf>,
    /// Environment that each command starts with.
    pub(crate) env: BTreeMap<String, String>,
}

impl View {
    /// Works it out from the developer's environment and home directory. `also` is shown in addition, with what it
    /// leads to, but nothing where people keep what is theirs, no part of the running system, and no socket; for what
    /// is in `project` its place does not matter.
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

    /// True if showing it would show the home directory too, or things that a sandbox has its own of.
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

    /// True if a path lies where people keep what is theirs rather than programs: by the names in it and, in the home
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

/// True for names that people keep what is theirs by.
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

/// Paths below a directory that not everybody may read. Our user may be root, or in the wrong group.
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
mod tests;
