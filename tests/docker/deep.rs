//! States on top of images with about as many layers as an engine takes: chains go on, and what is in a state is the
//! same in one layer as in a hundred.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use hm_disk::sha256_hex;
use serde_json::{Value, json};

use super::lab::{BUSYBOX, Engine, ORDINARY_USER, in_image};
use crate::caching::{Built, forever};
use crate::support::{Project, child, logs};

/// Layers of an image on which a step without one of its own more could not be saved twice.
const LAYERS: usize = 99;

/// An image like another, with layers of a file each on top of it, which goes with this.
struct Deep<'a> {
    engine: &'a Engine,
    name: String,
}

impl<'a> Deep<'a> {
    #[track_caller]
    fn new(engine: &'a Engine, from: &str) -> Self {
        let name = format!("hm-test/{}:1", uuid::Uuid::new_v4().simple());
        let folder = tempfile::tempdir().expect("a directory");
        let (saved, made) = (folder.path().join("saved.tar"), folder.path().join("made.tar"));
        engine.docker(&["save", "-o", saved.to_str().expect("text"), from]);
        let about: Value = serde_json::from_slice(&file_in(&saved, "manifest.json")).expect("JSON");
        let at = |name: &Value| file_in(&saved, name.as_str().expect("a name"));
        let mut config: Value = serde_json::from_slice(&at(&about[0]["Config"])).expect("JSON");
        let own = about[0]["Layers"].as_array().expect("layers").iter().map(at);
        let mut layers: Vec<Vec<u8>> = own.collect();
        for number in layers.len()..LAYERS {
            let layer = tar_of([(format!("layers/{number}"), format!("{number}\n").into_bytes())]);
            let id = format!("sha256:{}", sha256_hex(&layer));
            config["rootfs"]["diff_ids"].as_array_mut().expect("ids").push(json!(id));
            config["history"].as_array_mut().expect("a history").push(json!({"created_by": "a test"}));
            layers.push(layer);
        }
        config["config"]["Env"]
            .as_array_mut()
            .expect("an environment")
            .push(json!("DEEP=as deep as it goes"));
        config["config"]["WorkingDir"] = json!("/layers");
        let names: Vec<_> = (0..layers.len()).map(|number| format!("{number}.tar")).collect();
        let about = json!([{"Config": "config.json", "RepoTags": [name], "Layers": names}]);
        let texts = [("config.json", config), ("manifest.json", about)];
        let texts = texts.map(|(name, text)| (name.to_owned(), text.to_string().into_bytes()));
        std::fs::write(&made, tar_of(names.into_iter().zip(layers).chain(texts))).expect("a file");
        engine.docker(&["load", "-i", made.to_str().expect("text")]);
        let deep = Self { engine, name };
        assert_eq!(deep.engine.layers(&deep.name), LAYERS);
        deep
    }
}

impl Drop for Deep<'_> {
    fn drop(&mut self) {
        // A test that failed may have left something that stands on it.
        let _ = self.engine.try_docker(&["rmi", &self.name]);
    }
}

impl Engine {
    /// Number of an image's layers.
    fn layers(&self, image: &str) -> usize {
        self.inspect(image)["RootFS"]["Layers"].as_array().expect("layers").len()
    }
}

fn file_in(tar: &Path, name: &str) -> Vec<u8> {
    let mut tar = tar::Archive::new(File::open(tar).expect("a file"));
    let entries = tar.entries().expect("entries").map(|entry| entry.expect("an entry"));
    let mut found = entries.filter(|entry| entry.path().is_ok_and(|path| *path == *Path::new(name)));
    let mut bytes = Vec::new();
    found.next().expect("it is there").read_to_end(&mut bytes).expect("read");
    bytes
}

fn tar_of(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len().try_into().expect("a size"));
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &*bytes).expect("an entry");
    }
    tar.into_inner().expect("a tar")
}

/// Number of layers of each snapshot that is kept for a project.
fn layers_kept(engine: &Engine, project: &Project) -> Vec<usize> {
    let list = project.run(&["cache", "list", "--json"]).expect_code(0).stdout;
    let list: Value = serde_json::from_str(&list).expect("JSON");
    let tags = list["results"].as_array().expect("results").iter().map(|result| &result["tag"]);
    tags.map(|tag| engine.layers(tag.as_str().expect("a tag"))).collect()
}

#[test]
fn a_chain_goes_on_where_an_image_has_no_room_for_it() {
    let Some(engine) = Engine::get() else { return };
    let image = Deep::new(engine, BUSYBOX);
    let look = "echo $(id -u) $(pwd) $DEEP; cat source /layers/1 /layers/98 /etc/made-by";
    // Modes, owners and links, some of them on what the image has.
    let make = "mkdir /opt /opt/open /opt/shut; echo x > /opt/own; chown 1000:1000 /opt/own; chmod 4755 /opt/own; ln /opt/own /opt/same;
        ln -s own /opt/link; ln -s /no/such /opt/dangling; chmod 1777 /opt/open; chmod 700 /opt/shut; chown 1000 /layers/1; chmod 600 /layers/2;
        touch -d '2020-01-02 03:04:05' /opt/shut; rm /layers/3; mkfifo /opt/pipe; chown -h 1000 /opt/link";
    let tell = "stat -c '%n %a %u %g %F %h' /opt/* /layers/1 /layers/2; stat -c %y /opt/shut; readlink /opt/link; readlink /opt/dangling;
        [ /opt/own -ef /opt/same ] && echo one file; ls /layers | wc -l";
    let chain = (2..6).map(|n| {
        let look = if n % 2 == 0 { look } else { tell };
        forever(child(
            &format!("s{n}"),
            &format!("s{}", n - 1),
            &format!("{look}; cat {}; echo {n} > {n}", n - 1),
        ))
    });
    let first = [
        forever(in_image(&image.name, "s0", &format!("{look}; {make}"))),
        forever(child("s1", "s0", &format!("{tell}; echo 1 > 1"))),
    ];
    let project = engine.project(&json!(first.into_iter().chain(chain).collect::<Vec<_>>()));
    project.write("source", "mine\n");
    let all = "s0 s1 s2 s3 s4 s5";
    let built = Built::of(&project, &[]).expect("", all);
    let seen = logs(&built.events);
    let looked = ["0 /workspace as deep as it goes", "mine", "1", "98", "hm's tests"];
    assert_eq!(seen["s0"], looked);
    let told = [
        "/opt/dangling 777 0 0 symbolic link 1",
        "/opt/link 777 1000 0 symbolic link 1",
        "/opt/open 1777 0 0 directory 2",
        "/opt/own 4755 1000 1000 regular file 2",
        "/opt/pipe 644 0 0 fifo 1",
        "/opt/same 4755 1000 1000 regular file 2",
        "/opt/shut 700 0 0 directory 2",
        "/layers/1 644 1000 0 regular file 1",
        "/layers/2 600 0 0 regular file 1",
        "2020-01-02 03:04:05.000000000 +0000",
        "own",
        "/no/such",
        "one file",
        "97",
    ];
    for (key, expected, before) in [
        ("s1", &told[..], None),
        ("s2", &looked, Some("1")),
        ("s3", &told, Some("2")),
        ("s4", &looked, Some("3")),
    ] {
        let expected: Vec<_> = expected.iter().copied().chain(before).collect();
        assert_eq!(seen[key], expected, "{key}");
    }
    let layers = layers_kept(engine, &project);
    assert_eq!(layers.len(), 6);
    assert!(layers.iter().min() < Some(&10) && layers.iter().max() <= Some(&(LAYERS + 2)), "{layers:?}");

    let again = Built::of(&project, &[]).expect(all, "");
    assert_eq!(logs(&again.events), seen);
    // What has changed in the project is put on top of what is in one layer, too.
    project.write("new", "new\n");
    let mut steps: Value =
        serde_json::from_str(&std::fs::read_to_string(project.path().join(".hm/ci.json")).expect("a file"))
            .expect("JSON");
    steps["steps"].as_array_mut().expect("steps").push(child("s6", "s5", &format!("{tell}; cat 5 new")));
    project.write(".hm/ci.json", &steps.to_string());
    let more = Built::of(&project, &[]).expect(all, "s6");
    assert_eq!(logs(&more.events)["s6"], [&told[..], &["5", "new"]].concat());
    for built in [&built, &again, &more] {
        assert_eq!(engine.left_by(&built.events), [""; 0]);
    }
    project.run(&["cache", "clear"]).expect_code(0);
}

#[test]
fn the_user_of_an_image_stays_the_user() {
    let Some(engine) = Engine::get() else { return };
    let image = Deep::new(engine, ORDINARY_USER);
    let look = "id -un; echo $DEEP; cat source; stat -c %U source . made 2>/dev/null; echo x >> made; echo y >> ~/own; cat ~/own";
    let chain = (1..4).map(|n| child(&format!("s{n}"), &format!("s{}", n - 1), look));
    let steps: Vec<_> = [in_image(&image.name, "s0", look)].into_iter().chain(chain).collect();
    let project = engine.project(&json!(steps));
    project.write("source", "mine\n");
    let (ran, events) = project.events(&[]);
    ran.expect_code(0);
    let first = ["user", "as deep as it goes", "mine", "user", "user"];
    let seen = logs(&events);
    assert_eq!(seen["s0"], [&first[..], &["y"]].concat());
    assert_eq!(seen["s3"], [&first[..], &["user", "y", "y", "y", "y"]].concat());
    assert_eq!(engine.left_by(&events), [""; 0]);
}
