//! Files that patterns find, places that links lead to, and what counts of them.

use std::ffi::OsStr;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

struct Tree(tempfile::TempDir);

impl Tree {
    fn new(files: &[&str]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|file| tree.write(file, file));
        tree
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: impl AsRef<Path>, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, name: &str, target: &str) {
        symlink(target, self.path(name)).unwrap();
    }

    fn inputs(&self, patterns: &[&str]) -> InputFiles {
        find_inputs(
            self.0.path(),
            Path::new("/workspace"),
            &patterns.iter().map(|pattern| (*pattern).to_owned()).collect(),
        )
        .unwrap()
    }

    /// The names that patterns find, all of which find something.
    #[track_caller]
    fn names(&self, patterns: &[&str]) -> Vec<String> {
        let found = self.inputs(patterns);
        assert_eq!(found.warnings, BTreeSet::new(), "{patterns:?}");
        found.files.into_keys().collect()
    }

    /// Fails unless a change of each of the files makes another input of these patterns.
    #[track_caller]
    fn notices(&self, patterns: &[&str], files: &[&str]) {
        let mut before = self.inputs(patterns);
        for file in files {
            self.write(file, &format!("{file}, new for {patterns:?}"));
            let now = self.inputs(patterns);
            assert_ne!(now, before, "{patterns:?} do not notice {file}");
            before = now;
        }
    }
}

#[test]
fn patterns_find_files_and_folders() {
    let tree =
        Tree::new(&["a", "src/main.c", "src/main.h", "src/lib/x.c", "src/lib/.y.c", "docs/src/z.c", "[x]"]);
    fs::create_dir(tree.path("empty")).unwrap();
    for (pattern, expected) in [
        ("a", &["a"][..]),
        ("./a", &["a"]),
        ("src", &["src", "src/lib", "src/lib/.y.c", "src/lib/x.c", "src/main.c", "src/main.h"]),
        ("src//lib/", &["src/lib", "src/lib/.y.c", "src/lib/x.c"]),
        ("src/*.c", &["src/main.c"]),
        ("src/*", &["src/lib", "src/lib/.y.c", "src/lib/x.c", "src/main.c", "src/main.h"]),
        ("src/main.?", &["src/main.c", "src/main.h"]),
        ("src/main.[!h]", &["src/main.c"]),
        ("**/*.c", &["docs/src/z.c", "src/lib/.y.c", "src/lib/x.c", "src/main.c"]),
        ("**/lib", &["src/lib", "src/lib/.y.c", "src/lib/x.c"]),
        (
            "**/s*c",
            &[
                "docs/src",
                "docs/src/z.c",
                "src",
                "src/lib",
                "src/lib/.y.c",
                "src/lib/x.c",
                "src/main.c",
                "src/main.h",
            ],
        ),
        ("src/**/x.c", &["src/lib/x.c"]),
        ("[x]", &["[x]"]),
        ("[a-z]", &["a"]),
        ("empty", &["empty"]),
        ("e*y", &["empty"]),
    ] {
        assert_eq!(tree.names(&[pattern]), expected, "{pattern}");
    }
    assert_eq!(tree.names(&["."]).len(), 12);
    assert_eq!(tree.names(&["**"]).len(), 12);
    assert_eq!(tree.names(&["src/*.h", "a", "src/main.h"]), ["a", "src/main.h"]);
    let together = ["s*", "**/x.?", "src/lib/*", "docs/**/z.c"];
    let each = together.iter().flat_map(|pattern| tree.names(&[pattern])).collect::<BTreeSet<_>>();
    assert_eq!(tree.names(&together), each.into_iter().collect::<Vec<_>>());
    let unmatched = ["b", "a/b", "a/..", "src/*.rs", "../x", "/etc/passwd", "x[", "{x"];
    let warnings = unmatched.iter().map(|pattern| PathWarning::NoSuchFile((*pattern).to_owned())).collect();
    assert_eq!(tree.inputs(&unmatched), InputFiles { files: BTreeMap::new(), warnings });
}

#[test]
fn what_a_file_is_counts_and_what_it_is_not_does_not() {
    let tree = Tree::new(&["a", "b"]);
    let digest = |name: &str| tree.inputs(&[name]).files[name].clone();
    let (before, other) = (digest("a"), digest("b"));
    assert_ne!(before, other);
    tree.write("b", "a");
    assert_eq!(digest("b"), before);
    let set_mode = |mode| fs::set_permissions(tree.path("a"), fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o600);
    assert_eq!(digest("a"), before, "who may read it does not matter");
    set_mode(0o744);
    assert_ne!(digest("a"), before, "whether it is a program does");
    fs::remove_file(tree.path("a")).unwrap();
    symlink("b", tree.path("a")).unwrap();
    assert_ne!(digest("a"), before);
}

#[test]
fn links_count_and_so_does_what_they_lead_to_in_the_tree() {
    let tree = Tree::new(&["real/x", "real/deep/y", "src/a"]);
    for (link, target) in [
        ("file", "real/x"),
        ("folder", "./real"),
        ("src/up", "../real/deep/y"),
        ("nothing", "none"),
        ("round", "round"),
        ("longer", "longer/a"),
        ("src/all", ".."),
    ] {
        tree.link(link, target);
    }
    assert_eq!(tree.names(&["file"]), ["file", "real/x"]);
    let folder = ["folder", "real", "real/deep", "real/deep/y", "real/x"];
    assert_eq!(tree.names(&["folder"]), folder);
    assert_eq!(tree.names(&["folder/deep"]), ["folder", "real/deep", "real/deep/y"]);
    assert_eq!(tree.names(&["folder/*p/y"]), folder);
    assert_eq!(tree.names(&["src/up"]), ["real/deep/y", "src/up"]);
    for alone in ["nothing", "round", "longer"] {
        assert_eq!(tree.names(&[alone]), [alone]);
    }
    assert_eq!(tree.names(&["src"]).len(), 13, "all, since src/all leads to it");
    tree.notices(&["folder/x"], &["real/x"]);
    tree.notices(&["nothing"], &["none"]);
}

#[test]
fn links_lead_where_the_system_has_them_lead() {
    let tree = Tree::new(&["deep/data", "deep/sub/x", "data", "z", "src/a"]);
    for (link, target) in [
        ("dirlink", "deep/sub"),
        ("x", "dirlink/../data"),
        ("up", "dirlink/.."),
        ("absolute", "/workspace/deep/data"),
        ("around", "../workspace/deep/data"),
        ("src/far", "../../../../workspace/./deep//data"),
        ("top", "/workspace"),
    ] {
        tree.link(link, target);
    }
    let data = |more: &[&str]| {
        let names = ["deep/data"].iter().chain(more).map(|name| (*name).to_owned());
        names.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(tree.names(&["x"]), data(&["x", "dirlink"]));
    assert_eq!(tree.names(&["up/data"]), data(&["up", "dirlink"]));
    assert_eq!(tree.names(&["absolute"]), data(&["absolute"]));
    assert_eq!(tree.names(&["around"]), data(&["around"]));
    assert_eq!(tree.names(&["src"]), data(&["src", "src/a", "src/far"]));
    assert_eq!(tree.names(&["top/deep/data"]), data(&["top"]));
    assert_eq!(tree.names(&["t*/z"]).len(), 15, "all is behind top");
    for pattern in ["x", "up/data", "absolute", "around", "src", "s*", "top/up/data"] {
        tree.notices(&[pattern], &["deep/data"]);
    }
}

#[test]
fn what_was_seen_by_one_name_is_found_by_another() {
    let tree = Tree::new(&["sub/.git/HEAD", "sub/a"]);
    tree.link("z", "sub");
    assert_eq!(tree.names(&["sub", "z/.git/HEAD"]), ["sub", "sub/.git/HEAD", "sub/a", "z"]);
    tree.notices(&["sub", "z/.git/HEAD"], &["sub/.git/HEAD", "sub/a"]);
}

#[test]
fn links_that_lead_out_count_by_their_text_and_are_told_of() {
    let tree = Tree::new(&["src/a"]);
    for (link, target) in [
        ("out", "../../canary"),
        ("absolute", "/etc/hostname"),
        ("root", "/"),
        ("near", "/workspace2/src"),
        ("self", "/proc/self/cwd/src/a"),
        ("src/out", "../absolute"),
    ] {
        tree.link(link, target);
    }
    let outside = |patterns: &[&str], files: &[&str], paths: &[&str]| {
        let found = tree.inputs(patterns);
        let warnings = paths.iter().map(|path| PathWarning::LeadsOutside((*path).to_owned())).collect();
        assert_eq!(found.warnings, warnings, "{patterns:?}");
        assert_eq!(found.files.into_keys().collect::<Vec<_>>(), files, "{patterns:?}");
    };
    for alone in ["out", "absolute", "root", "near", "self"] {
        outside(&[alone], &[alone], &[alone]);
    }
    outside(&["out/x"], &["out"], &["out/x"]);
    outside(&["src"], &["absolute", "src", "src/a", "src/out"], &["src/out"]);
    outside(
        &["**/*.c"],
        &["absolute", "near", "out", "root", "self", "src/out"],
        &["absolute", "near", "out", "root", "self", "src/out"],
    );
    assert_eq!(tree.names(&["root/workspace/src/a"]), ["root", "src/a"]);
    let before = tree.inputs(&["near"]);
    fs::remove_file(tree.path("near")).unwrap();
    tree.link("near", "/workspace3/src");
    assert_ne!(tree.inputs(&["near"]).files, before.files);
    assert_eq!(
        PathWarning::LeadsOutside("src/out".into()).to_string(),
        "a cache policy covers `src/out`, a link that leads out of the project: what changes there is not noticed"
    );
}

#[test]
fn paths_lead_where_the_system_has_them_lead_whatever_links_there_are() {
    let mut seed = 7_u64;
    let mut below = |end: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % end
    };
    let (mut there, mut through) = (0, 0);
    for _ in 0..60 {
        let tree = Tree::new(&["a/b/f", "b/a/f", "c/f"]);
        // Steps have the tree where it is, so that the system can be asked.
        let root = fs::canonicalize(tree.0.path()).unwrap();
        let mount = root.to_str().unwrap();
        let mut path = |length: usize| {
            let parts = (0..=below(length)).map(|_| ["..", "a", "b", "a", "b", "f", "l", "m"][below(8)]);
            parts.collect::<Vec<_>>().join("/")
        };
        for folder in ["", "a/", "a/b/", "b/", "c/"] {
            for name in ["l", "m"] {
                let mut target = path(2);
                if path(1) == "a" {
                    target = format!("{mount}/{target}");
                }
                tree.link(&format!("{folder}{name}"), &target);
            }
        }
        for _ in 0..100 {
            let path = path(4);
            let walk =
                walk::Tree { root: &root, mount: &root }.walk(Path::new(""), Path::new(&path)).unwrap();
            let expected = fs::canonicalize(root.join(&path)).ok();
            let expected = expected.as_deref().and_then(|path| path.strip_prefix(&root).ok());
            let links = walk.links.len();
            let found = match walk.end {
                End::There(path, _) => Some(path),
                End::Nothing | End::Outside => None,
            };
            assert_eq!(found.as_deref(), expected, "{path}");
            there += usize::from(found.is_some());
            through += usize::from(found.is_some() && links > 1);
        }
    }
    assert!(there > 500 && through > 50, "{there} {through}");
}

#[test]
fn folders_count_by_their_names() {
    let tree = Tree::new(&["src/a"]);
    for patterns in [&["src"][..], &["."], &["*"], &["**"], &["s*/*"]] {
        let before = tree.inputs(patterns);
        fs::create_dir_all(tree.path("src/empty/more")).unwrap();
        let with = tree.inputs(patterns);
        assert_ne!(with, before, "{patterns:?}");
        fs::remove_dir(tree.path("src/empty/more")).unwrap();
        assert_ne!(tree.inputs(patterns), with, "{patterns:?}");
        fs::remove_dir(tree.path("src/empty")).unwrap();
        assert_eq!(tree.inputs(patterns), before, "{patterns:?}");
    }
    fs::create_dir(tree.path("other")).unwrap();
    let folder = tree.inputs(&["other"]);
    fs::remove_dir(tree.path("other")).unwrap();
    fs::write(tree.path("other"), "").unwrap();
    assert_ne!(tree.inputs(&["other"]), folder);
}

#[test]
fn the_history_counts_only_by_name() {
    let tree = Tree::new(&[".git/HEAD", "a", "sub/.git", ".github/ci"]);
    for pattern in [".", "**", "*", "**/*"] {
        assert_eq!(tree.names(&[pattern]), [".github", ".github/ci", "a", "sub"], "{pattern}");
    }
    assert_eq!(tree.names(&[".git/HEAD", ".git"]), [".git", ".git/HEAD"]);
}

#[test]
fn names_are_told_apart_whatever_is_in_them() {
    let tree = Tree::new(&[]);
    for name in [&b"x\xff"[..], b"x\xfe", b"x\\xff", b"x\xff\xff", "xä\n".as_bytes()] {
        tree.write(OsStr::from_bytes(name), "same");
    }
    let names = tree.names(&["x*"]);
    assert_eq!(names, ["x\\\\xff", "x\\xfe", "x\\xff", "x\\xff\\xff", "xä\n"]);
}

#[test]
fn what_is_no_file_counts_without_being_read() {
    let tree = Tree::new(&["a"]);
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mkfifoat(rustix::fs::CWD, tree.path("pipe"), mode).unwrap();
    assert_eq!(tree.inputs(&["."]).files["pipe"], "neither a file nor a folder");
}

#[test]
fn patterns_that_are_long_or_odd_do_no_harm() {
    let tree = Tree::new(&["a"]);
    for pattern in [
        "?".repeat(4000),
        "**/".repeat(1300),
        "[!a]".repeat(1000),
        "{a,b}".repeat(800),
        "{a,".repeat(1300),
        "*a".repeat(2000),
        "a/".repeat(2000),
        "[".repeat(4000),
        "x".repeat(300),
        "x/".repeat(5000),
    ] {
        tree.inputs(&[&pattern]);
    }
}

#[test]
fn ten_thousand_files_are_found_and_told_apart() {
    // In memory, where there is such a place: a disk may take half a minute to remove them all.
    let memory = tempfile::tempdir_in("/dev/shm");
    let tree = Tree(memory.or_else(|_| tempfile::tempdir()).unwrap());
    for at in 0..10_000 {
        tree.write(format!("d{}/e{}/f{at}", at % 10, at % 100), &format!("{at}"));
    }
    let started = std::time::Instant::now();
    let all = tree.inputs(&["**/f*", "d1"]);
    println!("10,000 files: {:?}", started.elapsed());
    let files = |found: &InputFiles| {
        found.files.values().filter(|text| *text != "folder").cloned().collect::<Vec<_>>()
    };
    assert_eq!(files(&all).len(), 10_000);
    assert_eq!(files(&all).into_iter().collect::<BTreeSet<_>>().len(), 10_000);
    assert_eq!(files(&tree.inputs(&["d1"])).len(), 1000);
    let all = tree.inputs(&["."]);
    tree.write("d7/e77/f77", "other");
    let changed = tree.inputs(&["."]);
    let differ = |(a, b): &((&String, &String), (&String, &String))| a != b;
    assert_eq!(all.files.iter().zip(&changed.files).filter(differ).count(), 1);
}
