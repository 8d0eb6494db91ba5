//! Plugins that claim the same thing: builds do not begin, and whoever sets it right can see what there is.

use std::fs;

use hm_plugin_protocol::BuildEvent;
use serde_json::{Value, json};

use super::made::{digest, greet, wasm};
use crate::support::Project;

fn capability(kind: &str, name: &str) -> Value {
    match kind {
        "runner" => json!({"kind": "step_executor", "runner": name, "default": false, "step_schema": null}),
        "default" => json!({"kind": "step_executor", "runner": name, "default": true, "step_schema": null}),
        "format" => json!({"kind": "output_formatter", "name": name, "mime": "text/plain"}),
        "verb" => {
            json!({"kind": "subcommand", "verb": name, "about": "", "args_schema": null, "subcommands": []})
        }
        "hook" => {
            json!({"kind": "lifecycle_hook", "events": ["build_end"], "phase": "after", "timeout_ms": 100})
        }
        other => panic!("{other}"),
    }
}

#[test]
fn what_two_plugins_claim_names_both_and_their_digests() {
    // What the first has that is already there, or that the second has too; and what is said about it, if anything.
    for (first, second, expected) in [
        (json!({"name": "a", "capabilities": [capability("runner", "local")]}), None, Some("runner `local`")),
        (json!({"name": "a", "capabilities": [capability("format", "json")]}), None, Some("format `json`")),
        (json!({"name": "a", "capabilities": [capability("default", "x")]}), None, None),
        (json!({"name": "human", "capabilities": []}), None, Some("plugin name `human`")),
        (
            json!({"name": "a", "capabilities": [capability("verb", "v")]}),
            Some(json!({"name": "b", "capabilities": [capability("verb", "v")]})),
            Some("verb `v`"),
        ),
        (
            json!({"name": "a", "capabilities": [capability("runner", "r")]}),
            Some(json!({"name": "b", "capabilities": [capability("runner", "r")]})),
            Some("runner `r`"),
        ),
        (
            json!({"name": "a", "capabilities": []}),
            Some(json!({"name": "a", "capabilities": [], "version": "2.0.0"})),
            Some("plugin name `a`"),
        ),
        (
            json!({"name": "a", "capabilities": [capability("hook", "")]}),
            Some(json!({"name": "b", "capabilities": [capability("hook", "")]})),
            None,
        ),
    ] {
        let project = greet::project();
        project.write(
            "ours.json",
            &json!({"version": "0", "steps": [crate::support::step("ours", "true")]}).to_string(),
        );
        let plugins = project.config().join("plugins");
        fs::create_dir_all(&plugins).expect("a folder");
        let first = wasm(first);
        fs::write(plugins.join("1.wasm"), &first).expect("a plugin");
        let second = second.map(wasm);
        if let Some(second) = &second {
            fs::write(plugins.join("2.wasm"), second).expect("a plugin");
        }
        let build = project.run(&["build", "--file", "ours.json"]);
        let list = project.run(&["plugin", "list"]).expect_code(0);
        let Some(expected) = expected else {
            build.expect_code(0);
            assert!(!list.stdout.contains("conflict"), "{}", list.stdout);
            continue;
        };
        let build = build.expect_code(5);
        let conflict = format!("{expected} is claimed by two plugins: ");
        assert!(build.stderr.starts_with(&format!("error: {conflict}")), "{}", build.stderr);
        for bytes in [Some(&first), second.as_ref()].into_iter().flatten() {
            assert!(build.stderr.contains(&digest(bytes)[..12]), "{}", build.stderr);
        }
        assert!(list.stdout.contains(&format!("conflict: {conflict}")), "{}", list.stdout);
        // It can be looked at and set right.
        project.run(&["plugin", "info", "local"]).expect_code(0);
        let name = if expected.contains("human") { "human" } else { "a" };
        let info = project.run(&["plugin", "info", name]).expect_code(0);
        assert!(info.stdout.contains(&format!("conflict:    {conflict}")), "{}", info.stdout);
        assert!(
            super::info(&project, name)["conflicts"][0].as_str().is_some_and(|c| c.starts_with(&conflict))
        );
        let remove = if expected == "plugin name `a`" { "2" } else { name };
        project.run(&["plugin", "remove", remove]).expect_code(0);
        project.run(&["build", "--file", "ours.json"]).expect_code(0);
    }
}

#[test]
fn of_two_files_with_one_name_none_is_removed_silently() {
    let project = greet::project();
    let named = |version: &str| wasm(json!({"version": version, "required_host_fns": ["hm_sandbox_exists"]}));
    project.install(&named("1.0.0"), &["--yes"]).expect_code(0);
    let plugins = project.config().join("plugins");
    let [first, second] = ["greet.wasm", "other.wasm"].map(|file| plugins.join(file));
    // Also if it is the same twice, which is loaded once.
    for bytes in [named("2.0.0"), named("1.0.0")] {
        fs::write(&second, &bytes).expect("a plugin");
        let lock = project.lock();
        let refused = project.run(&["plugin", "remove", "greet"]).expect_code(2);
        assert_eq!(
            refused.stderr,
            format!(
                "error: `greet` can be any of these files: {}, {}\n\
                 hint: name one of them by its file: hm plugin remove greet.wasm, or hm plugin remove other.wasm\n",
                first.display(),
                second.display()
            )
        );
        assert!(first.exists() && second.exists());
        assert_eq!(project.lock(), lock);
        let removed = project.run(&["plugin", "remove", "other"]).expect_code(0);
        assert_eq!(
            removed.stdout,
            format!("removed other: {}\nthere is still: {}\n", second.display(), first.display())
        );
        assert_eq!(project.lock(), lock, "what greet was granted is no affair of the other file");
        project.run(&["build"]).expect_code(0);
    }
    fs::write(&second, named("2.0.0")).expect("a plugin");
    project.run(&["plugin", "remove", "greet.wasm"]).expect_code(0);
    assert!(!first.exists() && second.exists() && !project.lock().contains("greet"), "{}", project.lock());
    fs::write(&first, named("1.0.0")).expect("a plugin");
    let conflict = project.run(&["build"]).expect_code(5);
    let hint = format!(
        "hint: remove the file {} or {}, or give one of them another name in its manifest\n",
        first.display(),
        second.display()
    );
    assert!(conflict.stderr.ends_with(&hint), "{}", conflict.stderr);
    project.run(&["plugin", "remove", "greet.wasm"]).expect_code(0);
    let conflict = project.install(&named("3.0.0"), &["--yes"]).expect_code(5);
    let hint = format!("hint: remove the file {}, or give one of them ", second.display());
    assert!(conflict.stderr.contains(&hint), "{}", conflict.stderr);
    project.run(&["plugin", "remove", "greet"]).expect_code(0);
    assert!(!second.exists());
}

#[test]
fn what_would_conflict_is_neither_installed_nor_trusted() {
    let project = greet::project();
    project.install(&wasm(json!({})), &["--yes"]).expect_code(0);
    let lock = project.lock();
    let rival = wasm(json!({"name": "rival"}));
    let refused = project.install(&rival, &["--yes"]).expect_code(5);
    assert!(
        refused.stderr.contains("runner `greet` is claimed by two plugins: greet ("),
        "{}",
        refused.stderr
    );
    fs::create_dir_all(project.path().join(".hm/plugins")).expect("a folder");
    fs::write(project.path().join(".hm/plugins/rival.wasm"), &rival).expect("a plugin");
    project.run(&["plugin", "trust", "rival", "--yes"]).expect_code(5);
    assert_eq!(project.lock(), lock);
}

#[test]
fn another_takes_the_place_of_a_built_in_one_that_is_switched_off() {
    let project = greet::project();
    let other_json = wasm(json!({"capabilities": [capability("format", "json")]}));
    project.install(&other_json, &["--yes"]).expect_code(5);
    fs::write(
        project.config().join("plugins.toml"),
        "[plugin.json]\nenabled = false\n[plugin.greet.config]\nmode = \"mine\"\n",
    )
    .expect("a file");
    project.install(&other_json, &["--yes"]).expect_code(0);
    project.write(
        "ours.json",
        &json!({"version": "0", "steps": [crate::support::step("ours", "true")]}).to_string(),
    );
    let build = project.run(&["build", "--file", "ours.json", "--format", "json"]).expect_code(0);
    assert_eq!(build.stdout, "mine");
    let list = project.run(&["plugin", "list"]).expect_code(0).stdout;
    assert!(list.contains("json         disabled plugin json is switched off in "), "{list}");
}

/// The runner of steps that name none, and no image.
fn default_runner(project: &Project) -> String {
    let (_, events) = project.events(&["--file", "ours.json"]);
    let of_plan = events.iter().find_map(|event| match event {
        BuildEvent::BuildStart { plan, .. } => Some(plan.default_runner.clone()),
        _ => None,
    });
    of_plan.expect("a build that began")
}

#[test]
fn a_built_in_runner_stays_the_default_while_it_is_on() {
    let project = greet::project();
    project.write(
        "ours.json",
        &json!({"version": "0", "steps": [crate::support::step("ours", "true")]}).to_string(),
    );
    let claims = |name: &str, runner: &str| {
        wasm(json!({"name": name, "capabilities": [capability("default", runner)]}))
    };
    project.install(&claims("a", "x"), &["--yes"]).expect_code(0);
    assert_eq!(default_runner(&project), "local");
    let settings = project.config().join("plugins.toml");
    fs::write(&settings, "[plugin.local]\nenabled = false\n").expect("a file");
    assert_eq!(default_runner(&project), "x");
    let refused = project.install(&claims("b", "y"), &["--yes"]).expect_code(5);
    let conflict = "error: being the default `runner` is claimed by two plugins: a (";
    assert!(refused.stderr.starts_with(conflict), "{}", refused.stderr);
    fs::remove_file(&settings).expect("removed");
    project.install(&claims("b", "y"), &["--yes"]).expect_code(0);
    assert_eq!(default_runner(&project), "local");
}
