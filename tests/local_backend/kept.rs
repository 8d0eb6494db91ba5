//! Layers that outlive their run: that later runs start from them, on the project as it is by then, and that they go
//! when nobody wants them, and not before. What goes wrong meanwhile never makes half a layer.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use hm_step_sandbox::{
    CachedLayers, Mode, Removed, SandboxConfig, SandboxError, SandboxRun, empty_trash, forget_vanished,
};
use hm_workspace::{CACHE_TAG_PREFIX, Workspace};

use crate::support::{Mounted, skipped};
use hm_plugin_protocol::SnapshotRef;
use uuid::Uuid;

use super::lab::{HANG, Lab, run, step};

pub(super) fn tag() -> SnapshotRef {
    SnapshotRef(format!("{CACHE_TAG_PREFIX}{}", Uuid::new_v4().simple()))
}

/// Path of a kept layer.
pub(super) fn place(lab: &Lab, tag: &SnapshotRef) -> PathBuf {
    lab.cache().join("kept").join(tag.0.strip_prefix(CACHE_TAG_PREFIX).unwrap())
}

/// Runs a step that has to succeed, and has its layer kept.
pub(super) async fn keep(backend: &SandboxRun, parent: Option<&SnapshotRef>, script: &str) -> SnapshotRef {
    let tag = tag();
    assert!(!backend.exists(&tag).await);
    let id = backend.start(parent).await.unwrap();
    let outcome = run(backend, &id, script).await;
    assert_eq!(outcome.code, 0, "{script}: {outcome:?}");
    let kept = backend.commit(&id, Some(&tag)).await.unwrap();
    assert_eq!(kept, tag, "{:?}", backend.not_kept());
    assert!(backend.exists(&tag).await);
    tag
}

/// Output of a command on a snapshot.
pub(super) async fn look(backend: &SandboxRun, parent: &SnapshotRef, script: &str) -> String {
    step(backend, Some(parent), script).await.1
}

fn names(of: impl IntoIterator<Item = SnapshotRef>) -> BTreeSet<String> {
    of.into_iter().map(|tag| tag.0).collect()
}

fn listed(lab: &Lab) -> BTreeSet<String> {
    names(CachedLayers::open(&lab.cache()).list().unwrap().into_iter().map(|layer| layer.tag))
}

#[tokio::test]
async fn a_later_run_starts_from_a_kept_layer_on_the_project_as_it_is_then() {
    let lab = Lab::new();
    for (file, text) in [("tree/old", "old"), ("tree/deep/file", "x"), ("out/source", "1")] {
        let path = lab.project().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let Some(backend) = lab.open().await else { return };
    assert!(backend.keeps());
    let parent = keep(
        &backend,
        None,
        "rm gone.txt; rm -r tree; mkdir tree; echo own > tree/own; echo made > out/made; mkdir -p closed/in; \
         touch closed/in/x; chmod 0 closed/in/x closed/in closed; ln -s made out/link; echo 1 > ~/home",
    )
    .await;
    let child = keep(&backend, Some(&parent), "cat out/made; echo child > out/child; rm out/link").await;
    backend.close().await.unwrap();
    assert_eq!(fs::read_dir(lab.cache().join("layers")).unwrap().count(), 1);

    fs::write(lab.project().join("src/main.txt"), "edited").unwrap();
    fs::write(lab.project().join("tree/old"), "edited").unwrap();
    fs::write(lab.project().join("tree/new"), "new").unwrap();
    fs::write(lab.project().join("out/source"), "2").unwrap();
    fs::write(lab.project().join("gone.txt"), "edited").unwrap();
    fs::write(lab.project().join("fresh"), "fresh").unwrap();
    let Some(backend) = lab.open().await else { return };
    let list = "find . -name closed -prune -o -print | sort | xargs; cat src/main.txt out/source fresh; \
                stat -c %a closed; chmod 700 closed; stat -c %a closed/in";
    let all = ". ./fresh ./out ./out/child ./out/made ./out/source ./src ./src/main.txt ./tree ./tree/own";
    // The child first: what it stands on is found on the way.
    assert_eq!(look(&backend, &child, list).await, format!("{all}\nedited2fresh0\n0"));
    assert!(backend.exists(&parent).await && backend.exists(&child).await);
    assert_eq!(look(&backend, &parent, "ls out | xargs; readlink out/link").await, "link made source\nmade");
    let grandchild = keep(&backend, Some(&child), "cat out/child > out/grandchild").await;
    backend.close().await.unwrap();

    let Some(backend) = lab.open().await else { return };
    assert_eq!(look(&backend, &grandchild, "cat out/grandchild; ls -d closed").await, "child\nclosed");
    assert_eq!(look(&backend, &grandchild, "stat -c %a closed").await, "0", "nobody wrote in what is kept");
    backend.close().await.unwrap();
    assert_eq!(listed(&lab), names([parent.clone(), child.clone(), grandchild.clone()]));
    let layers = CachedLayers::open(&lab.cache()).list().unwrap();
    let below = |tag: &SnapshotRef| layers.iter().find(|layer| layer.tag == *tag).unwrap().below.clone();
    assert_eq!([below(&parent), below(&child), below(&grandchild)], [None, Some(parent), Some(child)]);
    assert!(layers.iter().all(|layer| (1..1 << 20).contains(&layer.bytes)), "{layers:?}");
    assert_eq!(fs::read_to_string(lab.project().join("gone.txt")).unwrap(), "edited");
}

#[tokio::test]
async fn kept_chains_may_be_deep() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let script = "mkdir chain && rm gone.txt && mkdir closed && touch closed/x && chmod 0 closed/x closed";
    let mut chain = vec![keep(&backend, None, script).await];
    for number in 0..120 {
        let script = format!("touch chain/{number} && rm -f chain/{}", number - 10);
        chain.push(keep(&backend, chain.last(), &script).await);
    }
    let list = "ls chain | sort -n | xargs; ls | xargs; cat src/main.txt; stat -c %a closed";
    let last = "110 111 112 113 114 115 116 117 118 119\nchain closed src";
    assert_eq!(look(&backend, &chain[120], list).await, format!("{last}\noriginal0"));
    backend.close().await.unwrap();

    fs::write(lab.project().join("src/main.txt"), "edited").unwrap();
    let (Some(one), Some(two)) = (lab.open().await, lab.open().await) else { return };
    // At once in two runs, and in one run twice.
    let ends = tokio::join!(
        look(&one, &chain[120], list),
        look(&one, &chain[120], list),
        look(&two, &chain[120], list)
    );
    let expected = format!("{last}\nedited0");
    assert_eq!(ends, (expected.clone(), expected.clone(), expected.clone()));
    assert_eq!(look(&one, &chain[60], "ls chain | wc -l").await, "10");
    let next = keep(&one, chain.last(), "touch chain/next").await;
    assert_eq!(look(&one, &next, "ls chain | wc -l").await, "11");
    one.close().await.unwrap();
    two.close().await.unwrap();
    let Some(backend) = lab.open().await else { return };
    for tag in &chain {
        assert!(backend.exists(tag).await);
    }
    assert_eq!(look(&backend, &next, "ls chain | wc -l").await, "11");
    backend.close().await.unwrap();
    assert_eq!(listed(&lab).len(), 122);
}

#[tokio::test]
async fn a_chain_of_thousands_is_found_started_from_and_removed() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    // As they lie on the disk: running so many steps takes longer than anyone wants to wait here.
    let chain: Vec<SnapshotRef> = std::iter::repeat_with(tag).take(4_000).collect();
    for (number, tag) in chain.iter().enumerate() {
        let tree = place(&lab, tag).join("tree");
        fs::create_dir_all(&tree).unwrap();
        fs::write(tree.join(format!("file{}", number % 100)), number.to_string()).unwrap();
        let below =
            number.checked_sub(1).map_or("-", |below| chain[below].0.strip_prefix(CACHE_TAG_PREFIX).unwrap());
        fs::write(tree.with_file_name("about"), format!("{below} 10\n")).unwrap();
        fs::write(tree.with_file_name("covers"), format!("- file{}\0end", number % 100)).unwrap();
    }
    fs::write(lab.cache().join("kept/lock"), "").unwrap();
    let last = chain.last().unwrap();
    assert!(backend.exists(last).await);
    assert_eq!(look(&backend, last, "ls | grep -c file; cat file0 file99").await, "100\n39003999");
    for tag in &chain {
        assert!(backend.exists(tag).await);
    }
    let next = keep(&backend, Some(last), "echo next > next").await;
    let kept = CachedLayers::open(&lab.cache());
    assert_eq!(kept.remove_all_but(&BTreeSet::new()).unwrap().layers, 0);
    backend.close().await.unwrap();
    assert_eq!(kept.remove_all_but(&names([chain[1_999].clone()])).unwrap().layers, 2_001);
    assert!(!listed(&lab).contains(&next.0));
}

#[tokio::test]
async fn only_what_nobody_wants_is_removed() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let root = keep(&backend, None, "echo root > root").await;
    let live = keep(&backend, Some(&root), "echo live > live").await;
    let used = keep(&backend, Some(&root), "echo used > used").await;
    let on_used = keep(&backend, Some(&used), "echo on > on").await;
    let unused = keep(&backend, Some(&root), "head -c 1000000 /dev/zero > unused").await;
    let kept = CachedLayers::open(&lab.cache());
    assert_eq!(kept.remove_all_but(&BTreeSet::new()).unwrap(), Removed::default(), "the run has made them");
    backend.close().await.unwrap();

    let Some(backend) = lab.open().await else { return };
    assert!(backend.exists(&used).await);
    // Half a layer, and things that are none.
    fs::create_dir_all(lab.cache().join(format!("kept/{}/tree", Uuid::new_v4().simple()))).unwrap();
    fs::write(lab.cache().join("kept/notes"), "mine").unwrap();
    let removed = kept.remove_all_but(&names([live.clone(), tag(), SnapshotRef("image:1".into())])).unwrap();
    assert_eq!(removed.layers, 2);
    assert!((1_000_000..2_000_000).contains(&removed.bytes), "{removed:?}");
    assert_eq!(listed(&lab), names([root.clone(), live.clone(), used.clone()]));
    for (tag, there) in [(&root, true), (&live, true), (&used, true), (&unused, false), (&on_used, false)] {
        assert_eq!(backend.exists(tag).await, there);
    }
    assert!(matches!(backend.start(Some(&unused)).await, Err(SandboxError::UnknownSnapshot(_))));
    assert_eq!(look(&backend, &used, "cat root used").await, "root\nused");
    let id = backend.start(Some(&used)).await.unwrap();
    assert_eq!(kept.remove_all_but(&BTreeSet::new()).unwrap().layers, 0);
    assert_eq!(run(&backend, &id, "cat root used").await.text(), "root\nused");
    backend.discard(&id).await.unwrap();
    let files = || {
        let entries = fs::read_dir(lab.cache().join("kept")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(files().iter().filter(|name| name.starts_with("trash-")).count(), 3);
    empty_trash(&lab.cache()).unwrap();
    assert_eq!(files().iter().filter(|name| name.starts_with("trash-")).count(), 0);
    assert!(files().contains(&"notes".to_owned()));
    backend.close().await.unwrap();

    assert_eq!(kept.remove_all_but(&BTreeSet::new()).unwrap().layers, 3);
    assert_eq!(listed(&lab), BTreeSet::new());
    // What nobody has deleted, the next run does.
    lab.open().await.unwrap().close().await.unwrap();
    crate::support::wait_until("the trash is empty", || {
        !files().iter().any(|name| name.starts_with("trash-"))
    });
    assert_eq!(CachedLayers::open(&lab.home()).list().unwrap(), []);
    assert_eq!(CachedLayers::open(&lab.home()).remove_all_but(&BTreeSet::new()).unwrap(), Removed::default());
}

#[tokio::test]
async fn half_a_layer_is_none_and_nor_is_one_on_nothing() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let root = keep(&backend, None, "echo root > root").await;
    let child = keep(&backend, Some(&root), "echo child > child").await;
    let fork = keep(&backend, Some(&root), "echo fork > fork").await;
    backend.close().await.unwrap();
    let about = |tag: &SnapshotRef| place(&lab, tag).join("about");
    let whole = fs::read_to_string(about(&child)).unwrap();
    let own = child.0.strip_prefix(CACHE_TAG_PREFIX).unwrap();
    let [empty, torn, looped, elsewhere, long] = [
        String::new(),
        whole.trim_end().to_owned(),
        format!("{own} 0\n"),
        "../../elsewhere 0\n".to_owned(),
        format!("- {:0200}\n", 1),
    ];
    for damage in [empty, torn, looped, elsewhere, long] {
        fs::write(about(&child), &damage).unwrap();
        let Some(backend) = lab.open().await else { return };
        assert!(!backend.exists(&child).await, "{damage}");
        assert!(matches!(backend.start(Some(&child)).await, Err(SandboxError::UnknownSnapshot(_))));
        assert!(backend.exists(&root).await);
        backend.close().await.unwrap();
    }
    fs::write(about(&child), whole).unwrap();
    let covers = place(&lab, &child).join("covers");
    assert_eq!(fs::read(&covers).unwrap(), b"- child\0end");
    for damage in [&b""[..], b"- child", b"- child\0", b"- other\0d src\0-end", b"child\0end"] {
        fs::write(&covers, damage).unwrap();
        let Some(backend) = lab.open().await else { return };
        assert!(!backend.exists(&child).await, "{damage:?}");
        backend.close().await.unwrap();
    }
    fs::write(covers, "- child\0end").unwrap();
    fs::remove_file(about(&fork)).unwrap();
    std::os::unix::fs::symlink("/dev/zero", about(&fork)).unwrap();
    let Some(backend) = lab.open().await else { return };
    assert!(backend.exists(&child).await && !backend.exists(&fork).await);
    backend.close().await.unwrap();
    fs::remove_file(about(&fork)).unwrap();
    fs::write(about(&fork), "- 0\n").unwrap();
    fs::rename(place(&lab, &fork).join("tree"), place(&lab, &fork).join("gone")).unwrap();
    fs::rename(place(&lab, &root), lab.cache().join("kept/elsewhere")).unwrap();
    let Some(backend) = lab.open().await else { return };
    for gone in [&root, &child, &fork] {
        assert!(!backend.exists(gone).await);
    }
    assert_eq!(step(&backend, None, "cat src/main.txt").await.1, "original");
    backend.close().await.unwrap();
}

#[tokio::test]
async fn what_is_kept_has_a_proper_name_and_stands_on_what_is_kept() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let (passing, _) = step(&backend, None, "echo 1 > passing").await;
    let id = backend.start(Some(&passing)).await.unwrap();
    assert!(
        matches!(backend.commit(&id, Some(&tag())).await, Err(SandboxError::NotKept(on)) if on == passing.0)
    );
    let upper = format!("{CACHE_TAG_PREFIX}{}", "A".repeat(32));
    for name in ["", "hm-cache:", "hm-cache:../../x", "local-1", "alpine:3", &upper, &format!("{}0", tag().0)]
    {
        let name = SnapshotRef(name.to_owned());
        assert!(matches!(backend.commit(&id, Some(&name)).await, Err(SandboxError::NotATag(_))), "{name:?}");
        assert!(!backend.exists(&name).await);
    }
    assert_eq!(run(&backend, &id, "cat passing").await.text(), "1", "the sandbox is still there");
    backend.commit(&id, None).await.unwrap();
    // A name is given once.
    let first = keep(&backend, None, "echo first > file").await;
    let id = backend.start(None).await.unwrap();
    run(&backend, &id, "echo second > file").await;
    assert_eq!(backend.not_kept(), None);
    let second = backend.commit(&id, Some(&first)).await.unwrap();
    assert_ne!(first, second);
    assert!(backend.not_kept().is_some_and(|why| why.contains("kept/")), "{:?}", backend.not_kept());
    assert_eq!(look(&backend, &second, "cat file").await, "second");
    assert_eq!(look(&backend, &first, "cat file").await, "first");
    backend.close().await.unwrap();
}

#[tokio::test]
async fn without_namespaces_nothing_is_kept() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let kept = keep(&backend, None, "echo 1 > file").await;
    backend.close().await.unwrap();
    let backend =
        match SandboxRun::open(SandboxConfig { mode: Mode::Fallback, ..lab.config() }, lab.workspace()).await
        {
            Err(SandboxError::NoIsolation { landlock, .. }) => return skipped(&landlock),
            backend => backend.unwrap(),
        };
    assert!(!backend.keeps() && !backend.exists(&kept).await);
    assert!(backend.notice().is_some_and(|notice| notice.contains("kept")));
    assert!(matches!(backend.start(Some(&kept)).await, Err(SandboxError::UnknownSnapshot(_))));
    let (parent, _) = step(&backend, None, "echo 1 > file").await;
    let id = backend.start(Some(&parent)).await.unwrap();
    let tag = tag();
    let snapshot = backend.commit(&id, Some(&tag)).await.unwrap();
    assert_ne!(snapshot, tag);
    assert_eq!(look(&backend, &snapshot, "cat file").await, "1");
    backend.close().await.unwrap();
}

/// A step whose layer is to be kept and is not: everything goes on, and nothing stays.
async fn cannot_keep(lab: &Lab, backend: &SandboxRun, hinder: impl FnOnce()) {
    let tag = tag();
    let id = backend.start(None).await.unwrap();
    assert_eq!(run(backend, &id, "echo made > file").await.code, 0);
    hinder();
    let snapshot = backend.commit(&id, Some(&tag)).await.unwrap();
    assert_ne!(snapshot, tag);
    assert!(backend.not_kept().is_some_and(|why| why.contains("cannot")), "{:?}", backend.not_kept());
    assert!(!backend.exists(&tag).await);
    assert!(!place(lab, &tag).exists());
    let links = fs::read_dir(lab.cache().join("layers")).unwrap().flatten().filter(|run| run.path().is_dir());
    let links = links.flat_map(|run| fs::read_dir(run.path()).unwrap()).flatten();
    assert_eq!(links.filter(|entry| entry.file_name().to_string_lossy().starts_with('k')).count(), 0);
}

#[tokio::test]
async fn a_full_disk_keeps_nothing_and_stops_nothing() {
    let lab = Lab::new();
    let Some(_mounted) = Mounted::in_memory(&lab.cache(), "96m") else { return };
    let Some(backend) = lab.open().await else { return };
    let filler = lab.cache().join("filler");
    cannot_keep(&lab, &backend, || {
        let status = Command::new("sh").args(["-c", "cat /dev/zero > \"$0\" 2>&1"]).arg(&filler).output();
        assert!(!status.unwrap().status.success(), "it is full");
    })
    .await;
    fs::remove_file(&filler).unwrap();
    let kept = keep(&backend, None, "echo fine > file").await;
    assert_eq!(look(&backend, &kept, "cat file").await, "fine");
    backend.close().await.unwrap();
}

#[tokio::test]
async fn what_is_kept_elsewhere_is_not_kept() {
    let lab = Lab::new();
    let Some(_mounted) = Mounted::in_memory(&lab.cache().join("kept"), "1m") else { return };
    let Some(backend) = lab.open().await else { return };
    cannot_keep(&lab, &backend, || {}).await;
    backend.close().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_written_keeps_nothing_and_stops_nothing() {
    let lab = Lab::new();
    let Some(backend) = lab.open().await else { return };
    let before = keep(&backend, None, "echo before > file").await;
    backend.close().await.unwrap();
    let kept = lab.cache().join("kept");
    // Root writes whatever the mode.
    let _mounted = if fs::metadata("/proc/self").unwrap().uid() == 0 {
        let Some(mounted) = Mounted::for_reading(&kept) else { return };
        Some(mounted)
    } else {
        fs::set_permissions(&kept, fs::Permissions::from_mode(0o500)).unwrap();
        None
    };
    let Some(backend) = lab.open().await else { return };
    cannot_keep(&lab, &backend, || {}).await;
    assert_eq!(look(&backend, &before, "cat file").await, "before", "what is there is used all the same");
    backend.close().await.unwrap();
    if fs::metadata(&kept).unwrap().permissions().mode() & 0o777 == 0o500 {
        fs::set_permissions(&kept, fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[tokio::test]
async fn what_belongs_to_vanished_projects_goes_but_not_under_a_build() {
    let lab = Lab::new();
    let other = Lab::new();
    let workspace = Arc::new(Workspace::new(&other.project(), &lab.cache()));
    let there = super::lab::open(other.config(), workspace).await;
    let (Some(here), Some(there)) = (lab.open().await, there) else { return };
    for backend in [&here, &there] {
        step(backend, None, "echo x > ~/file").await;
    }
    here.close().await.unwrap();
    let count = |place: &str| {
        let entries = fs::read_dir(lab.cache().join(place)).unwrap().flatten();
        entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with("trash-")).count()
    };
    assert_eq!(forget_vanished(&lab.cache()).unwrap(), Removed::default());
    fs::rename(other.project(), other.directory.path().join("moved")).unwrap();
    assert_eq!(forget_vanished(&lab.cache()).unwrap(), Removed::default(), "a build is going on there");
    there.close().await.unwrap();
    assert_eq!([count("base"), count("home"), count("projects")], [2, 2, 2]);
    let removed = forget_vanished(&lab.cache()).unwrap();
    assert_eq!(removed.layers, 2);
    assert!(removed.bytes > 0);
    assert_eq!([count("base"), count("home"), count("projects")], [1, 1, 1]);
    empty_trash(&lab.cache()).unwrap();
    assert_eq!(fs::read_dir(lab.cache().join("home")).unwrap().count(), 1);
    let Some(here) = lab.open().await else { return };
    assert_eq!(step(&here, None, "cat ~/file src/main.txt").await.1, "x\noriginal");
    here.close().await.unwrap();
    assert_eq!(forget_vanished(&lab.home()).unwrap(), Removed::default());
}

/// Not a test: what the next one kills.
#[tokio::test]
#[ignore = "a program for another test"]
async fn keeper() {
    let Ok(directory) = std::env::var("KEEPER_DIRECTORY") else { return };
    let directory = PathBuf::from(directory);
    let workspace = Arc::new(Workspace::new(&directory.join("project"), &directory.join("cache")));
    let backend = SandboxRun::open(Lab::new().config(), workspace).await.unwrap();
    let mut parent = None;
    loop {
        let next =
            keep(&backend, parent.as_ref(), "echo line >> file; mkdir d; chmod 0 d; mv d d$(wc -l < file)")
                .await;
        println!("KEPT {}", next.0);
        parent = Some(next);
    }
}

#[tokio::test]
async fn killing_hm_leaves_whole_layers_or_none() {
    let Some(possible) = Lab::new().open().await else { return };
    possible.close().await.unwrap();
    let (_, these) = module_path!().split_once("::").unwrap();
    let lab = Lab::new();
    let mut chains = Vec::new();
    for round in 0..8_u64 {
        let mut keeper = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("{these}::keeper"), "--ignored", "--nocapture"])
            .env("KEEPER_DIRECTORY", lab.directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(keeper.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        while said.len() < 3 {
            let line = lines.next().expect("the keeper goes on").unwrap();
            said.extend(line.find(CACHE_TAG_PREFIX).map(|at| SnapshotRef(line[at..].trim().to_owned())));
        }
        // Anywhere in the next step or two.
        tokio::time::sleep(Duration::from_millis(round * 11)).await;
        keeper.kill().unwrap();
        keeper.wait().unwrap();
        let rest = lines.map_while(Result::ok);
        said.extend(rest.filter_map(|line| {
            line.find(CACHE_TAG_PREFIX).map(|at| SnapshotRef(line[at..].trim().to_owned()))
        }));
        chains.push(said);
    }
    let Some(backend) = lab.open().await else { return };
    for chain in &chains {
        for (number, tag) in chain.iter().enumerate() {
            let there = tokio::time::timeout(HANG, backend.exists(tag)).await.expect("no lock stays behind");
            assert!(there, "{tag:?}, {number} of {}", chain.len());
        }
        let last = chain.last().unwrap();
        assert_eq!(
            look(&backend, last, "wc -l < file; ls | grep -c 'd[0-9]'").await,
            format!("{0}\n{0}", chain.len())
        );
    }
    // One more of each chain may be there, which nobody has heard of.
    let all = listed(&lab).len();
    let said = chains.iter().map(Vec::len).sum();
    assert!((said..=said + chains.len()).contains(&all), "{said} {all}");
    for entry in fs::read_dir(lab.cache().join("kept")).unwrap().flatten() {
        assert_eq!(
            entry.path().is_dir(),
            entry.path().join("tree").is_dir() && entry.path().join("about").is_file()
        );
    }
    backend.close().await.unwrap();
    assert_eq!(CachedLayers::open(&lab.cache()).remove_all_but(&BTreeSet::new()).unwrap().layers, all);
}
