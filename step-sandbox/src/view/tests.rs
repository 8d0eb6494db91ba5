//! Views of machines as developers have them, and what must not show in them.

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
    for path in
        [&root, &home, &root.join("link"), &home.join("bin/.."), Path::new("/"), Path::new("/proc/self/root")]
    {
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
        assert!(!view.binds.iter().skip(number + 1).any(|other| other.starts_with(one)), "{}", one.display());
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
