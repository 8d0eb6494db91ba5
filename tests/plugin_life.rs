//! Plugins come, are updated and go: what is shown, what has to be agreed to, what is granted then, and what stays when
//! something goes wrong.

mod collisions;
mod download;
mod made;
mod settings;
mod trust;

use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Project, Ran, installed, ran, run_by};
use crate::transcript::Transcript;
use made::{CANARY, digest, greet, noisy, wasm, without};

impl Project {
    /// Puts a file beside the project and gives its path.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.home().join(name);
        fs::write(&path, bytes).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// The file of an installed plugin.
    pub(crate) fn installed(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.config().join(format!("plugins/{name}.wasm"))).ok()
    }

    pub(crate) fn lock(&self) -> String {
        fs::read_to_string(self.config().join("plugins.lock")).unwrap_or_default()
    }

    pub(crate) fn install(&self, wasm: &[u8], more: &[&str]) -> Ran {
        let file = self.file("given.wasm", wasm);
        self.run(&[&["plugin", "install", &file][..], more].concat())
    }
}

/// Answer of `hm plugin info --json`.
pub(crate) fn info(project: &Project, name: &str) -> Value {
    let ran = project.run(&["plugin", "info", name, "--json"]).expect_code(0);
    serde_json::from_str(&ran.stdout).expect("JSON")
}

#[test]
fn what_a_plugin_wants_is_shown_agreed_to_and_granted() {
    let project = greet::project();
    let wasm = wasm(json!({
        "description": "Greets\nerror: everybody", "allowed_hosts": ["api.example.com", "unix:/run/x.sock", "dir:docs"],
        "required_host_fns": ["hm_log", "hm_sandbox_exists"],
    }));
    let file = project.file("given.wasm", &wasm);

    let mut said = Transcript::default();
    let nobody = said.run("nobody agrees", &project, &["plugin", "install", &file]).expect_code(2);
    said.expect("plugin-install");
    let (sha, words) = (digest(&wasm), nobody.stdout);
    assert!(words.contains(&format!("  from       {file}\n  sha256     {sha}\n")), "{words}");
    assert_eq!((project.installed("greet"), project.lock()), (None, String::new()));

    let roundabout = "../home/../home/given.wasm";
    let agreed =
        project.run(&["plugin", "install", roundabout, "--yes", "--pin", &sha.to_uppercase()]).expect_code(0);
    let path = project.config().join("plugins/greet.wasm");
    assert_eq!(agreed.stdout, format!("{words}installed greet: {}\n", path.display()));
    assert_eq!(project.installed("greet"), Some(wasm));
    assert_eq!(
        project.lock().lines().skip(1).collect::<Vec<_>>().join("\n"),
        format!(
            "[[plugin]]\nname = \"greet\"\nversion = \"0.1.0\"\nsha256 = \"{sha}\"\norigin = \"{file}\"\ninstalled = true\n\
             provides = [\"format greet\", \"runner greet\"]\nfunctions = [\"hm_log\", \"hm_sandbox_exists\"]\n\
             reach = [\"api.example.com\", \"dir:docs\", \"unix:/run/x.sock\"]\nby_name = []"
        )
    );
    let build = project.run(&["build"]).expect_code(0);
    assert_eq!(build.stderr, "");

    let removed = project.run(&["plugin", "remove", "greet"]).expect_code(0);
    assert!(
        removed.stdout.starts_with(&format!("removed greet: {}\n", path.display())),
        "{}",
        removed.stdout
    );
    assert!(removed.stdout.contains("keyring"), "{}", removed.stdout);
    assert_eq!(project.installed("greet"), None);
    assert!(!project.lock().contains("greet"), "{}", project.lock());
    project.run(&["plugin", "remove", "greet"]).expect_code(5);
}

#[test]
fn a_plugin_that_was_not_installed_is_granted_nothing() {
    let project = greet::project();
    fs::create_dir_all(project.config().join("plugins")).expect("a directory");
    let asks = wasm(json!({"required_host_fns": ["hm_sandbox_exists"]}));
    fs::write(project.config().join("plugins/greet.wasm"), &asks).expect("a plugin");
    let build = project.run(&["build"]).expect_code(6);
    assert!(build.stdout.contains("hm_sandbox_exists"), "{}", build.stdout);
    assert_eq!(info(&project, "greet")["functions"][0]["allowed"], json!(false));
    project.install(&asks, &["--yes"]).expect_code(0);
    project.run(&["build"]).expect_code(0);
}

#[test]
fn what_is_imported_without_asking_is_denied_unless_granted_by_name() {
    let project = greet::project();
    let asks_nothing = wasm(json!({}));
    let installed = project.install(&asks_nothing, &["--yes"]).expect_code(0);
    assert!(
        installed.stdout.contains(
            "It imports this without asking for it, so that using it ends in a denial (--grant allows it):\n  \
             - ask whether the kept files of a sandbox are still there (hm_sandbox_exists)\nIt asks for nothing.\n"
        ),
        "{}",
        installed.stdout
    );
    let build = project.run(&["build"]).expect_code(6);
    assert!(build.stdout.contains("hm_sandbox_exists"), "{}", build.stdout);
    let text = project.run(&["plugin", "info", "greet"]).expect_code(0).stdout;
    assert!(text.contains("hm_sandbox_exists (imported without being asked for, so denied)"), "{text}");

    // A grant is something new, also for the same bytes.
    project.install(&asks_nothing, &["--grant", "hm_sandbox_exists"]).expect_code(2);
    project.run(&["build"]).expect_code(6);
    let granted = project.install(&asks_nothing, &["--grant", "hm_sandbox_exists", "--yes"]).expect_code(0);
    assert!(
        granted.stdout.contains("It does not ask for this, and you grant it by name:\n"),
        "{}",
        granted.stdout
    );
    project.run(&["build"]).expect_code(0);
    let text = project.run(&["plugin", "info", "greet"]).expect_code(0).stdout;
    assert!(text.contains("hm_sandbox_exists (granted by name)"), "{text}");
    project.install(&asks_nothing, &["--grant", "keyring:github", "--yes"]).expect_code(0);
    assert!(project.lock().contains("\"keyring:github\""), "{}", project.lock());
    for wrong in ["hm_rule_the_world", "keyring:", "api.example.com"] {
        let refused = project.install(&asks_nothing, &["--grant", wrong, "--yes"]).expect_code(2);
        assert!(
            refused.stderr.contains("is not a host function, nor of the form keyring:SERVICE"),
            "{}",
            refused.stderr
        );
    }
}

#[test]
fn an_update_that_wants_more_needs_a_new_grant() {
    let project = greet::project();
    let first = wasm(json!({"required_host_fns": ["hm_log"], "allowed_hosts": ["a.example"]}));
    project.install(&first, &["--yes"]).expect_code(0);
    let lock = project.lock();

    let more = wasm(
        json!({"version": "0.2.0", "required_host_fns": ["hm_sandbox_exists"], "allowed_hosts": ["b.example"]}),
    );
    let refused = project.install(&more, &[]).expect_code(2);
    for part in [
        &format!("It takes the place of greet 0.1.0, sha256 {}.\n", digest(&first)),
        "What it asks to now, and did not before:\n  - ask whether the kept files of a sandbox are still there (hm_sandbox_exists)\n",
        "What it asks to no more:\n  - say something to whoever runs hm, with its name before it (hm_log)\n",
        "What it asks to reach now, and did not before:\n  - b.example: HTTPS to exactly that\n",
        "What it asks to reach no more:\n  - a.example: HTTPS to exactly that\n",
    ] {
        assert!(refused.stdout.contains(part), "{part}\nis not in\n{}", refused.stdout);
    }
    assert_eq!(
        (project.installed("greet"), project.lock()),
        (Some(first.clone()), lock),
        "the old one stays"
    );
    project.install(&more, &["--yes"]).expect_code(0);
    assert!(!project.lock().contains(&digest(&first)), "{}", project.lock());
    project.run(&["build"]).expect_code(0);

    // As much, or less: no question.
    let less =
        wasm(json!({"version": "0.3.0", "required_host_fns": ["hm_sandbox_exists", "hm_should_cancel"]}));
    let ran = project.install(&less, &[]).expect_code(0);
    assert!(ran.stdout.contains("It asks for nothing more that would need a grant.\n"), "{}", ran.stdout);
    project.run(&["build"]).expect_code(0);
    assert_eq!(info(&project, "greet")["version"], "0.3.0");
}

#[test]
fn a_new_capability_is_more_too() {
    let project = greet::project();
    project.install(&wasm(json!({})), &["--yes"]).expect_code(0);
    let hook = json!({"kind": "lifecycle_hook", "events": ["step_end", "build_start"], "phase": "before", "timeout_ms": 100});
    let refused = project.install(&wasm(json!({"capabilities": [hook]})), &[]).expect_code(2);
    assert!(
        refused
            .stdout
            .contains("What it provides now, and did not before:\n  - hook before build_start, step_end\n"),
        "{}",
        refused.stdout
    );
}

#[test]
fn what_is_no_plugin_is_not_installed() {
    let project = greet::project();
    let wrong = |bytes: &[u8], code: i32, expected: &str| {
        let refused = project.install(bytes, &["--yes"]).expect_code(code);
        assert!(refused.stderr.contains(expected), "{expected:?} is not in\n{}", refused.stderr);
    };
    wrong(b"not wasm", 5, "is not a module that can be loaded");
    wrong(b"\0asm\x01\0\0\0", 5, "exports no function `hm_manifest`");
    wrong(&wasm(json!({"name": "../../x"})), 5, r#"its name "../../x" is not of the form"#);
    wrong(&wasm(json!({"name": "a/b"})), 5, "is not of the form");
    wrong(
        &wasm(json!({"name": "local"})),
        5,
        "plugin name `local` is claimed by two plugins: local (built in, sha256 ",
    );
    wrong(&wasm(json!({"required_host_fns": ["hm_root"]})), 5, "asks for host function \"hm_root\"");
    wrong(&wasm(json!({"config_schema": {"$ref": "#"}})), 5, "its config_schema cannot be used: ");
    let step = json!({"kind": "step_executor", "runner": "greet", "default": false, "step_schema": {"type": "dance"}});
    wrong(&wasm(json!({"capabilities": [step]})), 5, "its step_schema of greet cannot be used: ");
    wrong(
        &wasm(json!({"allowed_hosts": vec!["a.example"; 65]})),
        5,
        "more than 64 capabilities or allowed hosts",
    );
    wrong(
        &wasm(json!({"allowed_hosts": ["a".repeat(300)]})),
        5,
        "an entry of its allowed hosts has 300 bytes",
    );
    let formatter = json!({"kind": "output_formatter", "name": "x", "mime": ""});
    wrong(
        &without(json!({"capabilities": [formatter]}), "hm_output_finalize"),
        5,
        "claims to be an output formatter but exports no function hm_output_finalize",
    );
    wrong(&vec![0; (32 << 20) + 1], 2, "it is larger than 33554432 bytes");
    let missing = project.run(&["plugin", "install", "nothing.wasm", "--yes"]).expect_code(2);
    assert!(missing.stderr.contains("cannot read the plugin nothing.wasm"), "{}", missing.stderr);

    let good = project.file("good.wasm", &wasm(json!({})));
    for (pin, code) in [("0".repeat(64), 5), ("abc".to_owned(), 2)] {
        let refused = project.run(&["plugin", "install", &good, "--yes", "--pin", &pin]).expect_code(code);
        assert!(refused.stderr.contains(&pin) || code == 2, "{}", refused.stderr);
    }
    assert_eq!(project.lock(), "");
    assert!(fs::read_dir(project.config().join("plugins")).map_or(0, Iterator::count) == 0);
    assert!(!project.path().join("../x.wasm").exists() && !project.config().join("../x.wasm").exists());
}

#[test]
fn only_the_first_answer_of_a_manifest_counts() {
    // The second call, in the same instance or in another, would say something else; there is no second call.
    let project = greet::project();
    let wasm = made::two_faced();
    project.install(&wasm, &["--yes"]).expect_code(0);
    assert!(project.lock().contains("functions = [\"hm_log\"]"), "{}", project.lock());
    let functions = info(&project, "greet")["functions"].clone();
    let allowed: Vec<&str> = functions
        .as_array()
        .expect("a list")
        .iter()
        .filter(|function| function["allowed"] == json!(true))
        .map(|function| function["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(allowed, ["hm_log"]);
}

#[test]
fn other_bytes_than_those_installed_do_not_run() {
    let project = greet::project();
    project.install(&noisy(json!({"required_host_fns": ["hm_sandbox_exists"]})), &["--yes"]).expect_code(0);
    let loud = project.run(&["build"]).expect_code(0);
    assert!(loud.stderr.contains(CANARY), "the canary sings where it may: {}", loud.stderr);

    let other = noisy(json!({"required_host_fns": ["hm_sandbox_exists"], "version": "6.6.6"}));
    fs::write(project.config().join("plugins/greet.wasm"), other).expect("another plugin");
    for (args, code) in
        [(&["build"][..], 7), (&["version"], 0), (&["plugin", "list"], 0), (&["plugin", "info", "greet"], 0)]
    {
        let ran = project.run(args).expect_code(code);
        let all = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!all.contains(CANARY) && !all.contains("6.6.6"), "{all}");
        if args[0] != "version" {
            assert!(all.contains("its bytes are not those that were installed"), "{all}");
        }
    }
    // Under another file name it can be loaded, but not as what was installed.
    let plugins = project.config().join("plugins");
    fs::rename(plugins.join("greet.wasm"), plugins.join("zzz.wasm")).expect("a file");
    let list = project.run(&["plugin", "list"]).expect_code(0).stdout;
    assert!(list.contains("its bytes are not those that were installed"), "{list}");
    project.run(&["plugin", "remove", "greet"]).expect_code(0);
}

#[test]
fn many_at_once_leave_a_lock_file_with_all_of_them() {
    let project = greet::project();
    let wasms: Vec<(String, Vec<u8>)> = (0..8)
        .map(|n| {
            let name = format!("p{n}");
            let wasm = wasm(json!({"name": name, "capabilities": []}));
            (project.file(&format!("{name}.wasm"), &wasm), wasm)
        })
        .collect();
    // Each twice: they must not be in each other's way either.
    let all = wasms.iter().chain(&wasms).map(|(file, _)| {
        let mut command = project.hm(&["plugin", "install", file, "--yes"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("hm starts")
    });
    for child in all.collect::<Vec<_>>() {
        ran(child.wait_with_output().expect("hm ends")).expect_code(0);
    }
    let lock = project.lock();
    for (n, (_, wasm)) in wasms.iter().enumerate() {
        assert!(lock.contains(&format!("sha256 = \"{}\"", digest(wasm))), "{lock}");
        assert_eq!(project.installed(&format!("p{n}")).as_ref(), Some(wasm));
    }
    assert_eq!(lock.matches("[[plugin]]").count(), 8);
    let list = project.run(&["plugin", "list"]).expect_code(0);
    assert_eq!(list.stdout.lines().count(), 4 + 8, "{}", list.stdout);
}

#[test]
fn a_kill_at_any_moment_leaves_the_old_plugin_or_the_new_one() {
    let project = greet::project();
    let versions = ["1.0.0", "2.0.0"].map(|version| {
        let wasm = wasm(json!({"version": version, "required_host_fns": ["hm_sandbox_exists"]}));
        project.file(&format!("{version}.wasm"), &wasm)
    });
    // It kills a program at a given system call.
    if !installed(&["strace"]) {
        return;
    }
    // Each of these calls is a step of what is done; those of one kind are counted.
    for call in ["fsync", "/^rename"] {
        for step in 1.. {
            project.run(&["plugin", "install", &versions[0], "--yes"]).expect_code(0);
            let install = project.hm(&["plugin", "install", &versions[1], "--yes"]);
            let mut killed = Command::new("strace");
            killed.args(["-f", "-qq", "-o", "/dev/null", "-e"]).arg(format!("trace={call}")).arg("-e");
            killed.arg(format!("inject={call}:signal=SIGKILL:when={step}"));
            let whole = run_by(killed, &install).output().expect("strace").status.success();
            let plugin = info(&project, "greet");
            assert_eq!(plugin["state"], "ready", "{call} {step}: {plugin}");
            assert_eq!(plugin["functions"][0]["allowed"], json!(true), "{call} {step}: {plugin}");
            if whole {
                assert_eq!(plugin["version"], "2.0.0");
                assert!(step > 3, "{call}: only {step} steps");
                break;
            }
        }
    }
    project.run(&["build"]).expect_code(0);
}

#[test]
fn what_there_is_can_be_read_by_people_and_programs() {
    let project = greet::project();
    let wasm = wasm(json!({"required_host_fns": ["hm_log", "hm_kv_get"], "allowed_hosts": ["a.example"]}));
    let (file, sha) = (project.file("given.wasm", &wasm), digest(&wasm));
    let ran = project.run(&["plugin", "info", &file]).expect_code(0);
    let expected = format!(
        "name:        greet\nstate:       not installed\nversion:     0.1.0\nabout:       \norigin:      {file}\nsha256:      {sha}\n\
         provides:    runner greet\n             format greet\n\
         functions:   hm_log (granted)\n             hm_sandbox_exists (imported without being asked for, so denied)\n\
         \x20            hm_kv_get (not granted)\n\
         hosts:       a.example: HTTPS to exactly that (not granted)\n\
         limits:      5000000000 units of fuel a step, 1000000000 an event\n             256 MiB of memory\n             100 HTTP requests a call\n\
         config:      nothing\nstored:      nothing\n"
    );
    assert_eq!(ran.stdout, expected);
    project.install(&wasm, &["--yes"]).expect_code(0);
    assert_eq!(info(&project, &file)["state"], "installed");

    fs::write(project.config().join("plugins/broken.wasm"), "no wasm").expect("a file");
    fs::write(project.config().join("plugins.toml"), "[plugin.json]\nenabled = false\n").expect("a file");
    let list = project.run(&["plugin", "list", "--json"]).expect_code(0);
    let list: Value = serde_json::from_str(&list.stdout).expect("JSON");
    let plugins = list["plugins"].as_array().expect("a list");
    let states: Vec<_> = plugins.iter().map(|p| (p["name"].as_str(), p["state"].as_str())).collect();
    let expected = [
        ("docker", "ready"),
        ("human", "ready"),
        ("local", "ready"),
        ("greet", "ready"),
        ("json", "disabled"),
        ("broken", "broken"),
    ];
    assert_eq!(states, expected.map(|(name, state)| (Some(name), Some(state))));
    let path = project.config().join("plugins/greet.wasm");
    let greet = json!({
        "name": "greet", "state": "ready", "version": "0.1.0", "sha256": sha, "origin": "user", "path": path,
        "provides": ["runner greet", "format greet"],
    });
    assert_eq!(plugins[3], greet);
    assert!(plugins[5]["reason"].as_str().is_some_and(|reason| reason.contains("is not a module")), "{list}");
}

#[test]
fn whoever_starts_while_a_plugin_is_replaced_sees_the_old_one_or_the_new_one() {
    let project = greet::project();
    let versions = ["1.0.0", "2.0.0"]
        .map(|version| project.file(&format!("{version}.wasm"), &wasm(json!({"version": version}))));
    project.run(&["plugin", "install", &versions[0], "--yes"]).expect_code(0);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..30 {
                project.run(&["plugin", "install", &versions[round % 2], "--yes"]).expect_code(0);
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            assert_eq!(info(&project, "greet")["state"], "ready");
        }
    });
}

#[test]
fn what_cannot_be_written_changes_nothing() {
    let project = greet::project();
    project.install(&wasm(json!({})), &["--yes"]).expect_code(0);
    let (before, lock) = (project.installed("greet"), project.lock());
    // A directory in the way of the file, which no permission of root's removes.
    let other = wasm(json!({"name": "other", "capabilities": []}));
    fs::create_dir_all(project.config().join("plugins/other.wasm/x")).expect("a directory");
    let refused = project.install(&other, &["--yes"]).expect_code(2);
    assert!(
        refused.stderr.contains("cannot write ") && refused.stderr.contains("other.wasm"),
        "{}",
        refused.stderr
    );
    assert_eq!((project.installed("greet"), project.lock()), (before, lock));
}

#[test]
fn the_terminal_is_asked() {
    use crate::outside::pty::Pty;
    let project = greet::project();
    let file = project.file("given.wasm", &wasm(json!({"required_host_fns": ["hm_sandbox_exists"]})));
    for (answer, code) in [("n\n", Some(1)), ("\n", Some(1)), ("\u{4}", Some(1)), ("yes\n", Some(0))] {
        let mut pty = Pty::open();
        let mut command = project.hm(&["plugin", "install", &file]);
        let device = fs::OpenOptions::new().read(true).write(true).open(pty.device()).expect("a terminal");
        command
            .stdin(device.try_clone().expect("a terminal"))
            .stdout(device.try_clone().expect("a terminal"))
            .stderr(device);
        let mut hm = crate::support::Running::start(command);
        pty.expect("Install greet 0.1.0 and grant this? [y/N] ");
        pty.type_in(answer);
        assert_eq!(hm.ended(), code, "{}", pty.shown());
        assert!(!pty.shown().contains("[y/N] error"), "{}", pty.shown());
        assert_eq!(project.installed("greet").is_some(), code == Some(0));
    }
}

#[test]
fn what_a_plugin_has_stored_stays_unless_it_is_purged() {
    let project = greet::project();
    let values = project.config().join("state/greet.kv");
    for (args, stays) in
        [(&["plugin", "remove", "greet"][..], true), (&["plugin", "remove", "greet", "--purge"], false)]
    {
        project.install(&wasm(json!({})), &["--yes"]).expect_code(0);
        fs::create_dir_all(values.parent().expect("a folder")).expect("a folder");
        fs::write(&values, "{}").expect("a file");
        let lock = values.with_extension("lock");
        fs::write(&lock, "").expect("a file");
        assert_eq!(info(&project, "greet")["stored"], json!(values));
        let removed = project.run(args).expect_code(0);
        assert!(removed.stdout.contains(values.to_str().expect("UTF-8")), "{}", removed.stdout);
        assert_eq!((values.exists(), lock.exists()), (stays, stays));
    }
    let builtin = project.run(&["plugin", "remove", "local"]).expect_code(2);
    assert!(
        builtin.stderr.contains("plugin local is a part of hm and cannot be removed"),
        "{}",
        builtin.stderr
    );
    let odd = project.run(&["plugin", "remove", "../plugins.lock"]).expect_code(5);
    assert!(odd.stderr.contains("there is no plugin `../plugins.lock` of yours"), "{}", odd.stderr);
}
