//! The wire form of every type, next to the published 0.0.1 crate: same text out, same texts accepted and refused.
//! Tests of what this crate adds to 0.0.1 on purpose (unknown fields of pipelines) are in `pipelines`.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fmt::Debug;

use hm_plugin_protocol as ours;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const ID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

/// The text that one of the two crates writes for a text that it has read, or nothing.
fn read_and_write<T: Serialize + DeserializeOwned>(json: &str) -> Option<String> {
    serde_json::from_str::<T>(json).ok().map(|value| serde_json::to_string(&value).unwrap())
}

/// Every text that differs from this one in one place: a field left out, null, of another type, or one too many.
fn mutations(value: &Value) -> Vec<Value> {
    match value {
        Value::Object(fields) => {
            let mut mutated = Vec::new();
            for (key, field) in fields {
                let mut without = fields.clone();
                without.remove(key);
                mutated.push(Value::Object(without));
                let others = [Value::Null, Value::from(-1), Value::from("x"), Value::Bool(true)];
                for other in others.into_iter().chain(mutations(field)) {
                    let mut changed = fields.clone();
                    changed.insert(key.clone(), other);
                    mutated.push(Value::Object(changed));
                }
            }
            mutated
        }
        Value::Array(items) => {
            let mut mutated = Vec::new();
            for (index, item) in items.iter().enumerate() {
                for other in mutations(item) {
                    let mut changed = items.clone();
                    changed[index] = other;
                    mutated.push(Value::Array(changed));
                }
            }
            mutated
        }
        _ => Vec::new(),
    }
}

/// The crates agree on this text, which is in the form that they write, and on all texts near it.
fn same<Ours, Published>(json: &str)
where
    Ours: Serialize + DeserializeOwned + PartialEq + Debug,
    Published: Serialize + DeserializeOwned,
{
    let json = json.replace("ID", ID);
    assert_eq!(read_and_write::<Ours>(&json).as_deref(), Some(json.as_str()), "ours changes it");
    assert_eq!(read_and_write::<Published>(&json).as_deref(), Some(json.as_str()), "0.0.1 changes it");
    for mutated in mutations(&serde_json::from_str(&json).unwrap()) {
        let mutated = mutated.to_string();
        assert_eq!(read_and_write::<Ours>(&mutated), read_and_write::<Published>(&mutated), "{mutated}");
    }
    if let Value::Object(mut fields) = serde_json::from_str(&json).unwrap() {
        fields.insert("one_too_many".into(), 1.into());
        let more = Value::Object(fields).to_string();
        let published = read_and_write::<Published>(&more);
        assert_eq!(read_and_write::<Ours>(&more).is_some(), published.is_some(), "{more}");
    }
}

macro_rules! same {
    ($($test:ident: $($name:ident { $($json:literal)* })*;)*) => {$(
        #[test]
        fn $test() {
            $($(same::<ours::$name, published::$name>($json);)*)*
        }
    )*};
}

same! {
    manifests:
        PluginManifest {
            r#"{"api_version":1,"name":"docker","version":"0.1.0-rc.1","description":"d","capabilities":[],"required_host_fns":["hm_log"],"config_schema":{"type":"object"},"allowed_hosts":["a.example"]}"#
            r#"{"api_version":2,"name":"","version":"1.0.0","description":"","capabilities":[{"kind":"step_executor","runner":"r","default":true,"step_schema":null}],"required_host_fns":[],"config_schema":null,"allowed_hosts":[]}"#
        }
        Capability {
            r#"{"kind":"subcommand","verb":"cloud","about":"a","args_schema":{"args":[]},"subcommands":[{"verb":"login","about":"b","args_schema":null,"subcommands":[]}]}"#
            r#"{"kind":"step_executor","runner":"docker","default":false,"step_schema":{"type":"object"}}"#
            r#"{"kind":"lifecycle_hook","events":["build_start","step_queued","step_start","step_log","step_cache_hit","step_end","build_end"],"phase":"before","timeout_ms":100}"#
            r#"{"kind":"output_formatter","name":"human","mime":"text/plain"}"#
        }
        SubcommandSpec { r#"{"verb":"v","about":"a","args_schema":{},"subcommands":[]}"# }
        StepExecutorSpec { r#"{"runner":"r","default":false,"step_schema":null}"# }
        LifecycleHookSpec { r#"{"events":[],"phase":"after","timeout_ms":4294967295}"# }
        OutputFormatterSpec { r#"{"name":"json","mime":"application/x-ndjson"}"# };
    executors:
        ExecutorInput {
            r#"{"step":{"key":"k","label":null,"cmd":"c","builds_in":null,"image":null,"env":null,"timeout_seconds":null,"cache":null},"workspace_archive_id":"ID","env":{"A":"1"},"workdir":"/w","run_id":"ID","step_id":"ID","cache_lookup":{"kind":"miss_no_commit"},"parent_snapshot":null}"#
            r#"{"step":{"key":"k","label":"l","cmd":"c","builds_in":"b","image":"i","env":{"B":"2"},"timeout_seconds":3,"cache":{"policy":"ttl","key":"x"},"runner":"r","runner_args":{"shell":"bash"}},"workspace_archive_id":"ID","env":{},"workdir":"","run_id":"ID","step_id":"ID","cache_lookup":{"kind":"hit","tag":"t"},"parent_snapshot":"p"}"#
        }
        StepResult {
            r#"{"exit_code":-1,"committed_snapshot":"s","artifacts":[{"key":"k","mime":"m","size_bytes":18446744073709551615}]}"#
            r#"{"exit_code":0,"committed_snapshot":null,"artifacts":[]}"#
        }
        ArtifactRef { r#"{"key":"k","mime":"m","size_bytes":0}"# }
        CacheDecision {
            r#"{"kind":"hit","tag":"t"}"#
            r#"{"kind":"miss_build_as","tag":"t"}"#
            r#"{"kind":"miss_no_commit"}"#
        }
        ArchiveId { r#""ID""# }
        SnapshotRef { r#""hm-cache:abc""# };
    events:
        BuildEvent {
            r#"{"kind":"build_start","run_id":"ID","plan":{"step_count":3,"chain_count":2,"default_runner":"local"},"started_at":"2026-11-22T16:20:00.123456Z"}"#
            r#"{"kind":"step_queued","step_id":"ID","key":"k","chain_idx":0}"#
            r#"{"kind":"step_start","step_id":"ID","runner":"local","image":null}"#
            r#"{"kind":"step_start","step_id":"ID","runner":"docker","image":"alpine:3.20"}"#
            r#"{"kind":"step_log","step_id":"ID","stream":"stdout","line":"a \"b\" \u001b[0m ü","ts":"2026-11-22T16:20:00Z"}"#
            r#"{"kind":"step_log","step_id":"ID","stream":"stderr","line":"","ts":"1970-01-01T00:00:00Z"}"#
            r#"{"kind":"step_cache_hit","step_id":"ID","key":"k","tag":"t"}"#
            r#"{"kind":"step_end","step_id":"ID","exit_code":124,"duration_ms":18446744073709551615,"snapshot":null}"#
            r#"{"kind":"step_end","step_id":"ID","exit_code":0,"duration_ms":0,"snapshot":"s"}"#
            r#"{"kind":"chain_failed","chain_idx":1,"failed_step_id":"ID","failed_step_key":"k","exit_code":2,"message":"m","ts":"2026-11-22T16:20:00Z"}"#
            r#"{"kind":"build_end","exit_code":1,"duration_ms":5}"#
        }
        PlanSummary { r#"{"step_count":0,"chain_count":0,"default_runner":"docker"}"# }
        StdStream { r#""stdout""# r#""stderr""# };
    hooks:
        HookEvent {
            r#"{"event":{"kind":"build_end","exit_code":1,"duration_ms":5},"phase":"before"}"#
            r#"{"event":{"kind":"build_end","exit_code":1,"duration_ms":5},"phase":"after"}"#
        }
        HookOutcome { r#"{"kind":"continue"}"# r#"{"kind":"abort","reason":"r"}"# }
        HookPhase { r#""before""# r#""after""# }
        HookEventKind {
            r#""build_start""# r#""step_queued""# r#""step_start""# r#""step_log""# r#""step_cache_hit""# r#""step_end""#
            r#""build_end""#
        };
    subcommands_and_errors:
        SubcommandInput { r#"{"verb_path":["cloud","login"],"args":{"token":"t"},"env":{"HARMONT_A":"1"}}"# }
        ExitInfo { r#"{"exit_code":3,"message":"m"}"# r#"{"exit_code":0,"message":null}"# }
        PluginError {
            r#"{"code":"c","message":"m","doc_url":"https://example.com"}"#
            r#"{"code":"c","message":"m","doc_url":null}"#
        };
    pipelines:
        Pipeline {
            r#"{"version":"0","env":{"CI":"1"},"default_image":"debian:12","steps":[{"type":"command","key":"k","label":null,"cmd":"c","builds_in":null,"image":null,"env":null,"timeout_seconds":null,"cache":null},{"type":"wait","continue_on_failure":true}]}"#
            r#"{"version":"0","env":null,"default_image":null,"steps":[]}"#
        }
        Step { r#"{"type":"wait","continue_on_failure":false}"# }
        CommandStep {
            r#"{"key":"k","label":"l","cmd":"c","builds_in":"b","image":"i","env":{"B":"2"},"timeout_seconds":3,"cache":{"policy":"none","key":null},"runner":"r","runner_args":[1,"x",null]}"#
        }
        WaitStep { r#"{"continue_on_failure":true}"# }
        Cache { r#"{"policy":"forever","key":"k"}"# };
    host_functions:
        Level { r#""trace""# r#""debug""# r#""info""# r#""warn""# r#""error""# }
        KvScope { r#""plugin""# r#""build""# r#""step""# }
        SocketHandle { "18446744073709551615" }
        LoopbackHandle { "49152" }
        ArchiveReadArgs { r#"{"id":"ID","offset":18446744073709551615,"max":0}"# }
        CallbackData { r#"{"path":"/callback","query":{"code":"a b"}}"# }
        KeyringArgs { r#"{"service":"s","account":"a"}"# }
        KeyringSetArgs { r#"{"service":"s","account":"a","secret":"x"}"# }
        LoopbackRecvArgs { r#"{"h":1,"timeout_ms":4294967295}"# }
        SocketReadArgs { r#"{"h":1,"max":18446744073709551615}"# }
        SocketWriteArgs { r#"{"h":1,"bytes":[0,255]}"# }
        TtyConfirmArgs { r#"{"msg":"m","default":true}"# }
        TtyPromptArgs { r#"{"msg":"m","mask":false}"# }
        DockerStartArgs { r#"{"image":"i","env":{"A":"1"},"workdir":"/w","name_hint":"n"}"# }
        DockerExecArgs {
            r#"{"container_id":"c","cmd":["sh","-c","x"],"env":{},"workdir":"/w","stdin_archive_id":"ID"}"#
            r#"{"container_id":"c","cmd":[],"env":{},"workdir":"","stdin_archive_id":null}"#
        }
        DockerCommitArgs { r#"{"container_id":"c","tag":"t"}"# }
        DockerExtractArgs { r#"{"container_id":"c","archive_id":"ID","workdir":"/w"}"# };
}

/// Fields that 0.0.1 does not have.
#[test]
fn sandboxes_and_more_of_docker() {
    fn unchanged<T: Serialize + DeserializeOwned>(json: &str) {
        let json = json.replace("ID", ID);
        assert_eq!(read_and_write::<T>(&json), Some(json));
    }
    unchanged::<ours::DockerStartArgs>(
        r#"{"image":"i","env":{},"workdir":"/w","name_hint":"n","network":false}"#,
    );
    unchanged::<ours::DockerArtifactsArgs>(r#"{"container_id":"c","paths":["dist/*.whl"],"workdir":"/w"}"#);
    unchanged::<ours::SandboxStartArgs>(r#"{"archive_id":"ID","parent":null}"#);
    unchanged::<ours::SandboxStartArgs>(r#"{"archive_id":"ID","parent":"p"}"#);
    unchanged::<ours::SandboxArtifactsArgs>(r#"{"sandbox_id":"s","paths":["dist/*.whl"]}"#);
    unchanged::<ours::SandboxCommitArgs>(r#"{"sandbox_id":"s","keep_as":null}"#);
    unchanged::<ours::SandboxCommitArgs>(r#"{"sandbox_id":"s","keep_as":"t"}"#);
    unchanged::<ours::SandboxExecArgs>(
        r#"{"sandbox_id":"s","cmd":["sh","-c","x"],"env":{"A":"1"},"workdir":"/w","network":true}"#,
    );
}

#[test]
fn the_api_version_is_the_published_one() {
    assert_eq!(ours::HM_PLUGIN_API_VERSION, published::HM_PLUGIN_API_VERSION);
}

#[test]
fn the_mutations_of_a_text_reach_its_depths() {
    let mutated = mutations(&serde_json::json!({"a": [{"b": 1}]}));
    assert!(mutated.contains(&serde_json::json!({"a": [{}]})));
    assert!(mutated.contains(&serde_json::json!({"a": [{"b": null}]})));
    assert!(mutated.contains(&serde_json::json!({"a": "x"})));
}

#[test]
fn inputs_of_plugins_refuse_unknown_fields() {
    let input = r#"{"verb_path":[],"args":null,"env":{},"more":1}"#;
    let error = serde_json::from_str::<ours::SubcommandInput>(input).unwrap_err().to_string();
    assert!(error.starts_with("unknown field `more`"), "{error}");
    let event = r#"{"event":{"kind":"build_end","exit_code":1,"duration_ms":5},"phase":"after","more":1}"#;
    assert!(serde_json::from_str::<ours::HookEvent>(event).is_err());
}
