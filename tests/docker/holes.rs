//! Images and files that were made to lead a build astray: what is kept is not taken for what it is not, tells nobody
//! what it need not, and is nobody's loss but the build's own.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cache::kept;
use super::lab::{BUSYBOX, Engine, ORDINARY_USER, OWNER, RUN, chain, in_image, root};
use crate::caching::{Built, forever, set_steps};
use crate::support::{Project, built_guests, child, logs};

/// An image that has become of another one: what this command does in it, and what Docker is told to change about it.
#[track_caller]
fn image_of(engine: &Engine, from: &str, command: &str, changes: &[&str]) -> String {
    let unique = uuid::Uuid::new_v4().simple().to_string();
    let (container, image) = (format!("hm-test-{unique}"), format!("hm-test/{unique}:1"));
    engine.docker(&[
        "run",
        "--name",
        &container,
        "--network",
        "none",
        "--user",
        "0",
        from,
        "sh",
        "-ec",
        command,
    ]);
    let mut commit = vec!["commit"];
    // A container's own user would become the image's.
    let user = if from == ORDINARY_USER { "USER user" } else { "USER root" };
    for change in [&[user], changes].concat() {
        commit.extend(["--change", change]);
    }
    engine.docker(&[&commit[..], &[&container, &image]].concat());
    engine.docker(&["rm", &container]);
    image
}

/// The lines of a step, sorted.
#[track_caller]
fn sorted(built: &Built, key: &str) -> Vec<String> {
    let mut lines = logs(&built.events).remove(key).unwrap_or_default();
    lines.sort();
    lines
}

/// All that the engine tells of an image and of those that it was made from.
fn all_about(engine: &Engine, image: &str) -> String {
    let mut told = engine.docker(&["history", "--no-trunc", image]);
    let mut next = image.to_owned();
    while !next.is_empty() {
        let about = engine.inspect(&next);
        told.push_str(&about.to_string());
        about["Parent"].as_str().unwrap_or_default().clone_into(&mut next);
    }
    told
}

#[test]
fn what_others_make_of_a_kept_image_is_theirs() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&chain());
    Built::of(&project, &[]).expect("", "child look root");
    let mut theirs = Vec::new();
    for tag in kept(&project) {
        let labels = engine.inspect(&tag)["Config"]["Labels"].clone();
        for label in [OWNER, RUN, "dev.harmont.hm.step"] {
            assert_eq!(labels[label].as_str().unwrap_or_default(), "", "{label} of {tag}");
        }
        let name = format!("hm-test-{}", uuid::Uuid::new_v4().simple());
        let run = ["run", "-d", "--name", &name, "--network", "none", "--entrypoint", "sleep", &tag, "1000"];
        theirs.push(engine.docker(&run));
    }
    assert_eq!(theirs.len(), 2);
    let are_there = |after: &str| {
        for id in &theirs {
            let state = engine.try_docker(&["inspect", "-f", "{{.State.Running}}", id]);
            assert_eq!(state.as_deref(), Ok("true"), "after {after}");
        }
    };
    Built::of(&project, &[]).expect("child root", "look");
    are_there("a build");
    project.run(&["cache", "prune"]).expect_code(0);
    are_there("prune");
    project.run(&["cache", "clear"]).expect_code(0);
    are_there("clear");
    Built::of(&project, &[]).expect("", "child look root");
    are_there("another build");
    for id in &theirs {
        engine.docker(&["rm", "-f", id]);
    }
    project.run(&["cache", "clear"]).expect_code(0);
}

#[test]
fn kept_images_cannot_be_had_by_their_ids() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&json!([forever(root("root", "echo hidden > /secret"))]));
    project.write("secret", "hidden\n");
    Built::of(&project, &[]).expect("", "root");
    let about = engine.inspect(&kept(&project)[0]);
    let mut ids = vec![about["Id"].as_str().expect("an id").to_owned()];
    // Not every engine knows what an image was made from.
    let parent = about["Parent"].as_str().unwrap_or_default();
    if !parent.is_empty() {
        ids.push(parent.to_owned());
    }
    let other = engine.project(&json!([]));
    let cat = "cat /secret secret; echo it ran";
    for id in &ids {
        let digits = id.trim_start_matches("sha256:");
        for name in [id, digits, &digits[..12], &digits[..2], &format!("sha256:{}", &digits[..12])] {
            set_steps(&other, &json!([in_image(name, "thief", cat)]));
            let (ran, events) = other.events(&[]);
            let told = logs(&events).remove("thief").unwrap_or_default();
            assert!(ran.code != Some(0) && !told.contains(&"it ran".to_owned()), "{name}: {told:?}");
            assert!(!told.contains(&"hidden".to_owned()), "{name}: {told:?}");
        }
    }
    let real = engine.inspect(BUSYBOX)["Id"].as_str().expect("an id").to_owned();
    assert!(real.starts_with("sha256:"), "{real}");
    set_steps(&other, &json!([in_image(&real, "honest", "cat /etc/made-by")]));
    let built = Built::of(&other, &[]).expect("", "honest");
    assert_eq!(logs(&built.events)["honest"], ["hm's tests"]);
    Built::of(&project, &[]).expect("root", "");
    project.run(&["cache", "clear"]).expect_code(0);
}

#[test]
fn what_the_project_has_hidden_in_an_image_comes_back() {
    let Some(engine) = Engine::get() else { return };
    let make = "mkdir -p /workspace/sub /workspace/deep; cd /workspace
        for name in config sub/file sub/other deep/file; do echo image > $name; done";
    let image = image_of(engine, BUSYBOX, make, &[]);
    let project = engine.project(&json!([
        forever(in_image(&image, "root", "cat config; echo kept > kept")),
        child(
            "look",
            "root",
            "for f in config sub/file sub/other deep deep/file; do echo $f $(cat $f 2>&1); done"
        ),
    ]));
    // The last two are of another kind than in the image.
    for name in ["config", "sub/file"] {
        project.write(name, "project\n");
    }
    let first = Built::of(&project, &[]).expect("", "look root");
    assert!(sorted(&first, "look").contains(&"config project".to_owned()));
    let gone = |name: &str| {
        let path = project.path().join(name);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("gone");
    };
    for name in ["config", "sub"] {
        gone(name);
        let now = Built::of(&project, &[]);
        let fresh = Built::of(&project, &["--no-cache"]).expect("", "look root");
        assert_eq!(now.ran.code, Some(0), "{}", now.ran.stderr);
        assert_eq!(sorted(&now, "look"), sorted(&fresh, "look"), "without {name}");
        assert!(sorted(&fresh, "look").contains(&"sub/other image".to_owned()));
    }
    assert!(sorted(&Built::of(&project, &[]), "look").contains(&"config image".to_owned()));
    project.run(&["cache", "clear"]).expect_code(0);
    engine.docker(&["rmi", &image]);
}

#[test]
fn a_volume_at_or_below_the_workspace_is_refused() {
    let Some(engine) = Engine::get() else { return };
    for volume in ["/workspace", "/workspace/", "/workspace/sub", "/workspace/a/b", "/workspace//sub/", "/"] {
        let image = image_of(engine, BUSYBOX, "mkdir -p /workspace/sub", &[&format!("VOLUME {volume}")]);
        let volumes = engine.inspect(&image)["Config"]["Volumes"].to_string();
        let project = engine.project(&json!([in_image(&image, "root", "echo it ran")]));
        let (ran, events) = project.events(&[]);
        let told = format!("{}{}", ran.stdout, ran.stderr);
        assert!(ran.code != Some(0) && !logs(&events).contains_key("root"), "{volumes}: {told}");
        assert!(told.contains(&image) && told.contains("volume") && told.contains("/workspace"), "{told}");
        assert_eq!(engine.left_by(&events), [""; 0]);
        engine.docker(&["rmi", &image]);
    }
    for volume in ["/data", "/workspaces", "/work"] {
        let image = image_of(engine, BUSYBOX, "true", &[&format!("VOLUME {volume}")]);
        let project = engine.project(&json!([
            root("root", "true"),
            in_image(&image, "one", "echo x > x"),
            child("two", "one", "cat x"),
        ]));
        let built = Built::of(&project, &[]).expect("", "one root two");
        assert_eq!(logs(&built.events)["two"], ["x"]);
        assert_eq!(engine.left_by(&built.events), [""; 0]);
        engine.docker(&["rmi", &image]);
    }
}

#[test]
fn an_images_health_is_nobodys_concern() {
    let Some(engine) = Engine::get() else { return };
    let check = "HEALTHCHECK --interval=1s --timeout=5s CMD touch /checked";
    let image = image_of(engine, BUSYBOX, "true", &[check]);
    assert!(engine.inspect(&image)["Config"]["Healthcheck"].to_string().contains("/checked"));
    let look = "sleep 4; ls /checked 2>/dev/null; echo seen";
    let project =
        engine.project(&json!([forever(in_image(&image, "root", look)), child("child", "root", look),]));
    let built = Built::of(&project, &[]).expect("", "child root");
    let again = Built::of(&project, &[]).expect("root", "child");
    for lines in [&logs(&built.events)["root"], &logs(&built.events)["child"], &logs(&again.events)["child"]]
    {
        assert_eq!(lines[..], ["seen"]);
    }
    project.run(&["cache", "clear"]).expect_code(0);
    engine.docker(&["rmi", &image]);
}

/// A project whose steps are told a few secrets, one of them by the caller.
fn with_secrets(engine: &Engine) -> (Project, [&'static str; 4]) {
    let mut parent = forever(root("root", "echo $OF_STEP$OF_ALL$OF_CALLER | tr 0-9 a-z; echo x > x"));
    parent["env"] = json!({"OF_STEP": "8800111"});
    let mut next = forever(child("child", "root", "echo $OF_CHILD$OF_ALL$OF_CALLER | tr 0-9 a-z; cat x"));
    next["env"] = json!({"OF_CHILD": "8800444"});
    let project = engine.project(&json!([]));
    let pipeline = json!({"version": "0", "env": {"OF_ALL": "8800222"}, "steps": [parent, next]});
    project.write(".hm/ci.json", &pipeline.to_string());
    (project, ["8800111", "8800222", "8800333", "8800444"])
}

#[track_caller]
fn expect_no_secrets(engine: &Engine, project: &Project, secrets: [&str; 4]) {
    let built = Built::of(project, &["-e", "OF_CALLER=8800333"]).expect("", "child root");
    assert_eq!(logs(&built.events)["root"], ["iiaabbbiiaaccciiaaddd"]);
    assert_eq!(logs(&built.events)["child"][0], "iiaaeeeiiaaccciiaaddd");
    let tags = kept(project);
    assert_eq!(tags.len(), 2);
    for tag in tags {
        let told = all_about(engine, &tag);
        for secret in secrets {
            assert!(!told.contains(secret), "{secret} is told of {tag}: {told}");
        }
    }
    project.run(&["cache", "clear"]).expect_code(0);
}

#[test]
fn kept_images_do_not_tell_what_steps_were_told() {
    let Some(engine) = Engine::get() else { return };
    let (project, secrets) = with_secrets(engine);
    expect_no_secrets(engine, &project, secrets);
}

#[test]
fn nor_do_those_of_the_published_plugin() {
    let Some(engine) = Engine::get() else { return };
    let Some(guests) = built_guests() else { return };
    let (project, secrets) = with_secrets(engine);
    fs::write(project.config().join("plugins.toml"), "[plugin.docker]\nenabled = false\n").expect("a file");
    let file = guests.join("published-docker.wasm");
    project.run(&["plugin", "install", file.to_str().expect("a path"), "--yes"]).expect_code(0);
    expect_no_secrets(engine, &project, secrets);
}

/// The files in which it is written down what is kept under this name.
fn record(project: &Project, tag: &str) -> Vec<PathBuf> {
    let place = project.cache().join("images").join(tag.rsplit_once(':').expect("a tag").1);
    let mut files: Vec<_> =
        fs::read_dir(place).expect("a record").map(|file| file.expect("a file").path()).collect();
    files.sort();
    files
}

#[test]
fn records_of_one_image_say_nothing_of_another() {
    let Some(engine) = Engine::get() else { return };
    let steps = json!([
        forever(root("one", "echo 1 > one")),
        child("look", "one", "cat one file"),
        forever(root("two", "echo 2 > two; rm other")),
    ]);
    let mut next = 0;
    loop {
        let project = engine.project(&json!([steps[0]]));
        project.write("file", "1\n");
        project.write("other", "1\n");
        Built::of(&project, &[]).expect("", "one");
        let one = kept(&project).remove(0);
        project.write("file", "2\n");
        set_steps(&project, &steps);
        Built::of(&project, &[]).expect("one", "look two");
        let two = kept(&project).into_iter().find(|tag| *tag != one).expect("another one");
        let (ones, twos) = (record(&project, &one), record(&project, &two));
        assert!(!ones.is_empty() && ones.len() == twos.len(), "{ones:?} {twos:?}");
        // Each of them, and then all at once.
        let which = if next < ones.len() { next..next + 1 } else { 0..ones.len() };
        for (one, two) in ones[which.clone()].iter().zip(&twos[which]) {
            assert_ne!(fs::read(one).expect("a record"), fs::read(two).expect("a record"), "{one:?}");
            fs::copy(two, one).expect("a copy");
        }
        let built = Built::of(&project, &[]);
        assert_eq!((&*built.hits(), &*built.started()), ("two", "look one"), "{next} of {ones:?}");
        assert_eq!(logs(&built.events)["look"], ["1", "2"], "{next} of {ones:?}");
        Built::of(&project, &[]).expect("one two", "look");
        project.run(&["cache", "clear"]).expect_code(0);
        if next == ones.len() {
            break;
        }
        next += 1;
    }
}

#[test]
fn records_with_a_wrong_byte_say_nothing() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&json!([forever(root("root", "echo x > x; rm file"))]));
    project.write("file", "1\n");
    project.write("other", "1\n");
    Built::of(&project, &[]).expect("", "root");
    // What runs again is kept under another name.
    let files = || record(&project, &kept(&project)[0]);
    for index in 0..files().len() {
        let wrong = |what: String, change: &dyn Fn(&mut Vec<u8>)| {
            Built::of(&project, &[]).expect("root", "");
            let file = files().remove(index);
            let mut bytes = fs::read(&file).expect("a record");
            change(&mut bytes);
            fs::write(&file, &bytes).expect("a record");
            let built = Built::of(&project, &[]);
            let did = (&*built.hits(), &*built.started(), built.ran.code);
            let text = String::from_utf8_lossy(&bytes);
            assert_eq!(did, ("", "root", Some(0)), "{what} of {}: {text}", file.display());
        };
        for part in 0..6 {
            // One digit becomes another one, and one letter another.
            wrong(format!("part {part}"), &|bytes| {
                let at = part * (bytes.len() - 1) / 5;
                bytes[at] ^= 1;
            });
        }
        wrong("one more".to_owned(), &|bytes| bytes.push(b'x'));
        wrong("one less".to_owned(), &|bytes| bytes.truncate(bytes.len() - 1));
        wrong("all".to_owned(), &Vec::clear);
    }
    Built::of(&project, &[]).expect("root", "");
    project.run(&["cache", "clear"]).expect_code(0);
}

#[test]
fn new_files_belong_to_the_images_user_whatever_they_are_called() {
    let Some(engine) = Engine::get() else { return };
    let look = "find . -mindepth 1 ! -user user | wc -l; for name in new* dir*/*; do echo more >> \"$name\" && echo written; done";
    let project = engine.project(&json!([
        forever(in_image(ORDINARY_USER, "root", "id -u; echo kept > kept")),
        child("look", "root", look),
    ]));
    project.write("old", "1\n");
    project.write("new", "1\n");
    project.write("dir/file", "1\n");
    let first = Built::of(&project, &[]).expect("", "look root");
    assert_eq!(logs(&first.events)["look"], ["0", "written", "written"]);
    let at = |name: &[u8]| project.path().join(OsStr::from_bytes(name));
    fs::remove_file(at(b"new")).and_then(|()| fs::remove_dir_all(at(b"dir"))).expect("gone");
    fs::write(at(b"new-\xff"), "1\n").expect("a file");
    fs::create_dir(at(b"dir-\xfe")).expect("a directory");
    fs::write(at(b"dir-\xfe/\xfd"), "1\n").expect("a file");
    let built = Built::of(&project, &[]);
    assert_eq!(built.ran.code, Some(0), "{}{}", built.ran.stderr, built.ran.stdout);
    assert_eq!(logs(&built.events)["look"], ["0", "written", "written"]);
    project.run(&["cache", "clear"]).expect_code(0);
}

#[test]
fn what_an_image_lacks_a_program_for_is_said() {
    let Some(engine) = Engine::get() else { return };
    let remove = "cd /bin; for name in *; do
        case $name in busybox|sh|cat|ls|echo|sleep) ;; *) ./busybox rm $name ;; esac
      done";
    let image = image_of(engine, BUSYBOX, remove, &[]);
    let project = engine.project(&json!([
        forever(in_image(&image, "root", "ls /bin; echo kept > kept")),
        child("look", "root", "cat kept; ls; ls dir"),
    ]));
    for name in ["gone", "stays", "dir/gone", "dir/stays", "all/gone"] {
        project.write(name, "1\n");
    }
    let first = Built::of(&project, &[]).expect("", "look root");
    assert_eq!(logs(&first.events)["root"], ["busybox", "cat", "echo", "ls", "sh", "sleep"]);
    let at = |name: &str| project.path().join(name);
    fs::remove_file(at("gone")).and_then(|()| fs::remove_file(at("dir/gone"))).expect("gone");
    fs::remove_dir_all(at("all")).expect("gone");
    // Nothing can remove from the kept state what the project has lost, and that is said.
    let built = Built::of(&project, &[]);
    assert_eq!(built.ran.code, Some(4), "{}{}", built.ran.stderr, built.ran.stdout);
    for word in ["\"rm\"", "hm build --no-cache goes without what is kept"] {
        assert!(built.ran.stdout.contains(&word.replace('"', "\\\"")), "{word}: {}", built.ran.stdout);
    }
    let built = Built::of(&project, &["--no-cache"]);
    assert_eq!(logs(&built.events)["look"], ["kept", "dir", "kept", "stays", "stays"]);
    project.run(&["cache", "clear"]).expect_code(0);
    engine.docker(&["rmi", &image]);

    let image = image_of(engine, ORDINARY_USER, remove, &[]);
    let project = engine.project(&json!([in_image(&image, "root", "ls")]));
    let ran = project.run(&["build", "--no-cache"]).expect_code(4);
    let said = "\"chown\": executable file not found in $PATH; an image whose user is not root has to have `chown`\n";
    assert!(ran.stdout.contains(said), "{}", ran.stdout);
    engine.docker(&["rmi", &image]);
}

#[test]
fn builds_get_along_with_whoever_clears_the_cache() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&chain());
    let until = Instant::now() + Duration::from_secs(5);
    let commands: [&[&str]; 4] = [
        &["build", "--format", "json"],
        &["build", "--format", "json", "-j2"],
        &["cache", "prune", "--max-size", "1B"],
        &["cache", "clear"],
    ];
    let failed: Vec<(&[&str], Value)> = std::thread::scope(|scope| {
        let loops = commands.map(|command| {
            let project = &project;
            scope.spawn(move || {
                let mut failed = Vec::new();
                let mut times = 0;
                while Instant::now() < until || times < 3 {
                    times += 1;
                    let ran = project.run(command);
                    if ran.code != Some(0) {
                        failed.push((command, json!([ran.code, ran.stderr, ran.stdout])));
                    }
                }
                failed
            })
        });
        loops.into_iter().flat_map(|each| each.join().expect("no panic")).collect()
    });
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
    Built::of(&project, &["--no-cache"]).expect("", "child look root");
    project.run(&["cache", "clear"]).expect_code(0);
}
