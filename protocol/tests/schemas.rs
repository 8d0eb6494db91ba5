//! The JSON Schemas in `schemas/` are those of the types. After a change that is meant: `HM_BLESS=1 cargo test`.

use std::collections::BTreeMap;
use std::path::Path;
use std::{env, fs};

use hm_plugin_protocol::*;
use serde_json::Value;

macro_rules! schemas {
    ($($file:literal: $name:ty,)*) => {
        fn schemas() -> BTreeMap<String, Value> {
            BTreeMap::from([$((concat!($file, ".json").to_owned(), schemars::schema_for!($name).to_value()),)*])
        }
    };
}

schemas! {
    "archive_read_args": ArchiveReadArgs,
    "args_schema": ArgsSchema,
    "build_event": BuildEvent,
    "callback_data": CallbackData,
    "docker_artifacts_args": DockerArtifactsArgs,
    "docker_commit_args": DockerCommitArgs,
    "docker_exec_args": DockerExecArgs,
    "docker_extract_args": DockerExtractArgs,
    "docker_start_args": DockerStartArgs,
    "executor_input": ExecutorInput,
    "exit_info": ExitInfo,
    "hook_event": HookEvent,
    "hook_outcome": HookOutcome,
    "keyring_args": KeyringArgs,
    "keyring_set_args": KeyringSetArgs,
    "loopback_recv_args": LoopbackRecvArgs,
    "pipeline": Pipeline,
    "plugin_error": PluginError,
    "plugin_manifest": PluginManifest,
    "sandbox_artifacts_args": SandboxArtifactsArgs,
    "sandbox_commit_args": SandboxCommitArgs,
    "sandbox_exec_args": SandboxExecArgs,
    "sandbox_start_args": SandboxStartArgs,
    "socket_read_args": SocketReadArgs,
    "socket_write_args": SocketWriteArgs,
    "step_result": StepResult,
    "subcommand_input": SubcommandInput,
    "tty_confirm_args": TtyConfirmArgs,
    "tty_prompt_args": TtyPromptArgs,
}

#[test]
fn the_schemas_are_those_of_the_types() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let made = schemas();
    if env::var_os("HM_BLESS").is_some() {
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        for (name, schema) in &made {
            fs::write(directory.join(name), serde_json::to_string_pretty(schema).unwrap() + "\n").unwrap();
        }
    }
    let mut kept = BTreeMap::new();
    for entry in fs::read_dir(&directory).unwrap() {
        let entry = entry.unwrap();
        let schema: Value = serde_json::from_slice(&fs::read(entry.path()).unwrap()).unwrap();
        kept.insert(entry.file_name().into_string().unwrap(), schema);
    }
    assert_eq!(
        kept.keys().collect::<Vec<_>>(),
        made.keys().collect::<Vec<_>>(),
        "schemas/ has other files; HM_BLESS=1 writes them anew"
    );
    for (name, schema) in &made {
        // Values, not texts: whether maps keep their order depends on features that other crates switch on.
        assert_eq!(&kept[name], schema, "schemas/{name} is not the type's; HM_BLESS=1 writes it anew");
    }
}
