//! What a container may use, and what it never gets: the engine is asked, and a command inside tries.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use super::lab::{Engine, root, told};
use crate::support::{Project, Running, exits, logs, wait_until};

/// Description that the engine gives of the container of a project's only step, while it runs.
fn container(engine: &Engine, project: &Project) -> Value {
    let mut command = project.hm(&["build"]);
    command.stdout(Stdio::null());
    let build = Running::start(command);
    let mut found = Vec::new();
    wait_until("the container runs", || {
        found = engine.running(build.0.id());
        !found.is_empty()
    });
    engine.inspect(&found[0])
}

#[test]
fn a_container_is_confined() {
    let Some(engine) = Engine::get() else { return };
    let inspected = container(engine, &engine.project(&json!([root("k", "sleep 60")])));
    let host = &inspected["HostConfig"];
    assert_eq!(host["Privileged"], false);
    for list in ["Binds", "CapAdd", "Devices", "VolumesFrom", "Mounts", "PortBindings", "DeviceRequests"] {
        let nothing = [json!(null), json!([]), json!({})].contains(&host[list]);
        assert!(nothing, "{list}: {}", host[list]);
    }
    assert_eq!(inspected["Mounts"], json!([]));
    for mode in ["IpcMode", "PidMode", "UTSMode", "UsernsMode", "NetworkMode"] {
        assert_ne!(host[mode], "host", "{mode}");
    }
    assert_eq!(host["PidsLimit"], 4096);
    assert_eq!(host["AutoRemove"], false);
    let labels = &inspected["Config"]["Labels"];
    for label in ["run", "step", "owner"] {
        assert!(labels[format!("dev.harmont.hm.{label}")].is_string(), "{labels}");
    }
    let name = inspected["Name"].as_str().expect("a name");
    assert!(name.starts_with("/hm-") && name.ends_with("-k"), "{name}");
}

#[test]
fn configured_limits_hold_and_the_smaller_wins() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&json!([root("k", "sleep 60")]));
    project.write(".hm/config.toml", "[docker]\nmemory = \"100MB\"\ncpus = 4\n");
    let of_user = project.config().join("config.toml");
    fs::write(&of_user, "[docker]\nmemory = \"1GB\"\ncpus = 0.5\npids = 100\n").expect("a file");
    let inspected = container(engine, &project);
    let host = &inspected["HostConfig"];
    assert_eq!(
        (&host["Memory"], &host["MemorySwap"], &host["NanoCpus"], &host["PidsLimit"]),
        (&json!(100_000_000), &json!(100_000_000), &json!(500_000_000), &json!(100))
    );
}

#[test]
fn more_than_the_limits_allow_fails_the_step_alone() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&json!([
        root("memory", "head -c 300000000 /dev/zero | tail -c 300000000 | wc -c"),
        root("processes", "i=0; while [ $i -lt 100 ]; do sleep 5 & i=$((i+1)); done; wait"),
        root("modest", "echo fine"),
    ]));
    fs::write(project.config().join("config.toml"), "[docker]\nmemory = \"50MB\"\npids = 30\n")
        .expect("a file");
    let (ran, events) = project.events(&["-j1", "--keep-going"]);
    ran.expect_code(1);
    let exits = exits(&events);
    assert!(exits["memory"] != 0 || logs(&events)["memory"] != ["300000000"], "{events:?}");
    assert_ne!(exits["processes"], 0, "{events:?}");
    assert_eq!(exits["modest"], 0);
}

#[test]
fn the_network_is_there_unless_somebody_takes_it_away() {
    let Some(engine) = Engine::get() else { return };
    let bridge =
        engine.docker(&["network", "ls", "--format", "{{.Name}}"]).lines().any(|name| name == "bridge");
    if !bridge {
        return crate::support::skipped("this engine has no network for containers");
    }
    let interfaces = |network: Option<bool>, args: &[&str], config: &str| {
        let step = root("net", "ls /sys/class/net");
        let step = match network {
            Some(network) => told(step, json!({"network": network})),
            None => step,
        };
        let project = engine.project(&json!([step]));
        fs::write(project.config().join("config.toml"), config).expect("a file");
        let (ran, events) = project.events(args);
        ran.expect_code(0);
        let mut names = logs(&events)["net"].clone();
        // Where the kernel has them, every namespace does.
        names.retain(|name| name.starts_with("eth") || name == "lo");
        names
    };
    for (network, args, config) in [(None, &[][..], ""), (Some(true), &[], "")] {
        assert_eq!(interfaces(network, args, config), ["eth0", "lo"], "{network:?} {args:?} {config}");
    }
    for (network, args, config) in
        [(Some(false), &[][..], ""), (Some(true), &["--offline"], ""), (None, &[], "offline = true\n")]
    {
        assert_eq!(interfaces(network, args, config), ["lo"], "{network:?} {args:?} {config}");
    }
}

#[test]
fn a_command_cannot_get_out() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&json!([
        root("mount", "mkdir m; mount -t tmpfs none m"),
        root("device", "mknod disk b 8 0 && head -c 1 disk"),
        root("socket", "ls /var/run/docker.sock /run/docker.sock"),
    ]));
    let (ran, events) = project.events(&["--keep-going"]);
    ran.expect_code(1);
    let exits = exits(&events);
    for key in ["mount", "device", "socket"] {
        assert_ne!(exits[key], 0, "{key}");
    }
}
