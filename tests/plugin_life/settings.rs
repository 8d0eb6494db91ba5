//! `plugins.toml` of the user and of the project, as plugins get to feel it.

use std::fs;

use serde_json::json;

use super::made::{greet, wasm};
use crate::support::{Project, step};

/// A project with `greet` installed, and these two files.
fn with(change: serde_json::Value, user: &str, project_file: &str) -> Project {
    let project = greet::project();
    project.write("ours.json", &json!({"version": "0", "steps": [step("ours", "true")]}).to_string());
    project.install(&wasm(change), &["--yes"]).expect_code(0);
    fs::write(project.config().join("plugins.toml"), user).expect("a file");
    project.write(".hm/plugins.toml", project_file);
    project
}

/// The configuration value `mode`, as the guest sees it.
fn mode(project: &Project) -> String {
    project.run(&["build", "--file", "ours.json", "--format", "greet"]).expect_code(0).stdout
}

#[test]
fn configuration_reaches_the_guest_the_projects_over_the_users() {
    for (user, project, expected) in [
        ("", "", ""),
        ("mode = 'plain \"text\"'", "", "plain \"text\""),
        ("mode = 7", "", "7"),
        ("mode = {deep = [1, true]}", "", r#"{"deep":[1,true]}"#),
        ("mode = 1\nother = 2", "mode = 'project'", "project"),
        ("other = 2", "third = 3", ""),
    ] {
        let section = |keys: &str| {
            if keys.is_empty() { String::new() } else { format!("[plugin.greet.config]\n{keys}\n") }
        };
        assert_eq!(mode(&with(json!({}), &section(user), &section(project))), expected, "{user} {project}");
    }
}

#[test]
fn configuration_is_checked_by_the_plugins_schema() {
    let schema = json!({"type": "object", "properties": {"mode": {"type": "integer"}, "api_token": {"type": "string"}}});
    let project = with(
        json!({"config_schema": schema}),
        "[plugin.greet.config]\napi_token = 'hunter2'\n",
        "[plugin.greet.config]\nmode = 'fast'\n",
    );
    let build = project.run(&["build"]).expect_code(2);
    assert!(
        build.stderr.contains(".hm/plugins.toml: plugin.greet.config.mode is not what the plugin takes: "),
        "{}",
        build.stderr
    );
    let list = project.run(&["plugin", "list"]).expect_code(0);
    assert!(list.stdout.contains("greet        broken "), "{}", list.stdout);
    project.write(".hm/plugins.toml", "[plugin.greet.config]\nmode = 3\n");
    let info = super::info(&project, "greet");
    assert_eq!(info["config"], json!({"api_token": "(not shown)", "mode": 3}));
    let text = project.run(&["plugin", "info", "greet"]).expect_code(0).stdout;
    assert!(text.contains("api_token = \"(not shown)\"") && !text.contains("hunter2"), "{text}");
}

#[test]
fn grants_are_narrowed_by_both_and_widened_by_the_user_alone() {
    let asks = json!({"required_host_fns": ["hm_sandbox_exists"], "allowed_hosts": ["a.example"]});
    let deny = "[plugin.greet]\ndeny = ['hm_sandbox_exists', 'a.example']\n";
    for (user, project) in [(deny, ""), ("", deny)] {
        let project = with(asks.clone(), user, project);
        project.run(&["build"]).expect_code(6);
        let info = super::info(&project, "greet");
        assert_eq!(
            (&info["functions"][0]["allowed"], &info["reach"][0]["allowed"]),
            (&json!(false), &json!(false))
        );
    }
    let grant = "[plugin.greet]\ngrant = ['hm_sandbox_exists']\n";
    let by_name = with(json!({}), grant, "");
    by_name.run(&["build"]).expect_code(0);
    by_name.write(".hm/plugins.toml", grant);
    let refused = by_name.run(&["build"]).expect_code(2);
    assert!(refused.stderr.contains("[plugin.greet]: a project cannot grant anything"), "{}", refused.stderr);
}

#[test]
fn what_is_denied_or_granted_beside_the_point_is_said() {
    let asks = json!({"allowed_hosts": ["localhost:8123"]});
    let said = |user: &str| with(asks.clone(), user, "").run(&["build"]).stderr;
    for what in ["deny", "grant"] {
        let text = said(&format!("[plugin.greet]\n{what} = ['localhost']\n"));
        let expected = format!(
            "warning: plugins.toml: plugin.greet.{what}: greet does not ask for localhost; it asks for localhost:8123\n"
        );
        assert!(text.contains(&expected), "{text}");
        assert!(!said(&format!("[plugin.greet]\n{what} = ['localhost:8123']\n")).contains("does not ask"));
    }
}

#[test]
fn limits_hold() {
    let asks = json!({"required_host_fns": ["hm_sandbox_exists"]});
    let fuel = |user: &str, project: &str| with(asks.clone(), user, project).run(&["build"]);
    let section = |fuel: u64| format!("[plugin.greet.limits]\nfuel = {fuel}\n");
    fuel(&section(1_000_000), "").expect_code(0);
    for (user, project) in
        [(section(10), String::new()), (section(1_000_000), section(10)), (section(10), section(1_000_000))]
    {
        let build = fuel(&user, &project).expect_code(6);
        assert!(build.stdout.contains("fuel"), "{}", build.stdout);
    }
    let memory =
        with(asks, "[plugin.greet.limits]\nmemory_mb = 1\nhttp_requests = 3\ntimeout_seconds = 9\n", "");
    memory.run(&["build"]).expect_code(0);
    let limits = super::info(&memory, "greet")["limits"].clone();
    assert_eq!(
        limits,
        json!({"step_fuel": 5_000_000_000_u64, "event_fuel": 1_000_000_000, "memory_mb": 1, "http_requests": 3, "timeout_seconds": 9})
    );
}

#[test]
fn files_that_cannot_be_meant_stop_the_build_and_unknown_names_do_not() {
    for (text, expected) in [
        ("[plugin.greet]\nenable = true\n", "unknown field `enable`"),
        ("[plugins.greet]\n", "unknown field `plugins`"),
        (
            "[plugin.greet]\ndeny = ['hm_nonsense']\n",
            "[plugin.greet]: deny: \"hm_nonsense\" is not a host function",
        ),
        ("[plugin.greet.limits]\nmemory_mb = -1\n", "plugins.toml cannot be understood"),
    ] {
        for (user, project) in [(text, ""), ("", text)] {
            let project = with(json!({}), user, project);
            for args in [&["build"][..], &["plugin", "list"]] {
                let ran = project.run(args).expect_code(2);
                assert!(
                    ran.stderr.contains("plugins.toml") && ran.stderr.contains(expected),
                    "{}",
                    ran.stderr
                );
            }
        }
    }
    let project = with(json!({}), "[plugin.gret]\nenabled = false\n", "");
    let build = project.run(&["build", "--file", "ours.json"]).expect_code(0);
    assert!(build.stderr.contains("plugins.toml: there is no plugin `gret`"), "{}", build.stderr);
}

#[test]
fn a_plugin_that_is_switched_off_is_not_there() {
    for (user, project) in [("enabled = false", "enabled = true"), ("", "enabled = false")] {
        let section = |keys: &str| format!("[plugin.greet]\n{keys}\n");
        let project = with(json!({}), &section(user), &section(project));
        let build = project.run(&["build"]).expect_code(7);
        assert!(
            build.stderr.contains("asks for runner `greet`, which no plugin provides"),
            "{}",
            build.stderr
        );
        let list = project.run(&["plugin", "list"]).expect_code(0).stdout;
        assert!(list.contains("greet        disabled plugin greet is switched off in "), "{list}");
    }
}
