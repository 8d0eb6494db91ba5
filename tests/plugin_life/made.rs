//! Plugins for these tests, from the changes to a manifest: each is a runner and a format `greet`, whose step asks
//! `hm_sandbox_exists` something, and whose output is the configuration value `mode`.

use hm_disk::sha256_hex;
use serde_json::{Value, json};

use crate::support::BLOCKS;

/// Text that a noisy plugin prints as soon as anything of it runs.
pub(crate) const CANARY: &str = "the canary sings";

/// A project whose step is for the runner `greet`.
pub(crate) mod greet {
    use serde_json::json;

    use crate::support::{Project, step};

    pub(crate) fn project() -> Project {
        let mut step = step("greeting", "true");
        step["runner"] = json!("greet");
        Project::with_steps(&json!([step]))
    }
}

pub(crate) fn digest(wasm: &[u8]) -> String {
    sha256_hex(wasm)
}

/// A plugin whose manifest has these fields beside the usual ones.
pub(crate) fn wasm(change: Value) -> Vec<u8> {
    Made { manifests: [manifest(change)].into(), ..Made::default() }.assemble()
}

/// The same, but it sings.
pub(crate) fn noisy(change: Value) -> Vec<u8> {
    Made { manifests: [manifest(change)].into(), noisy: true, ..Made::default() }.assemble()
}

/// The same, without this export.
pub(crate) fn without(change: Value, export: &str) -> Vec<u8> {
    Made { manifests: [manifest(change)].into(), without: export.into(), ..Made::default() }.assemble()
}

/// A plugin that asks for more when it is asked a second time.
pub(crate) fn two_faced() -> Vec<u8> {
    let faces = [json!(["hm_log"]), json!(["hm_log", "hm_sandbox_exists"])];
    let manifests = faces.map(|functions| manifest(json!({"required_host_fns": functions})));
    Made { manifests: manifests.into(), ..Made::default() }.assemble()
}

fn manifest(change: Value) -> String {
    let mut manifest = json!({
        "api_version": 1, "name": "greet", "version": "0.1.0", "description": "", "config_schema": null,
        "required_host_fns": [], "allowed_hosts": [],
        "capabilities": [
            {"kind": "step_executor", "runner": "greet", "default": false, "step_schema": null},
            {"kind": "output_formatter", "name": "greet", "mime": "text/plain"},
        ],
    });
    if let Value::Object(fields) = change {
        manifest.as_object_mut().expect("an object").extend(fields);
    }
    manifest.to_string()
}

#[derive(Default)]
struct Made {
    manifests: Vec<String>,
    noisy: bool,
    without: String,
}

impl Made {
    fn assemble(&self) -> Vec<u8> {
        let escaped = |text: &str| text.bytes().map(|byte| format!("\\{byte:02x}")).collect::<String>();
        let result = r#"{"exit_code":0,"committed_snapshot":null,"artifacts":[]}"#;
        let (mut data, mut at, mut faces) = (String::new(), 8192, String::new());
        for (time, manifest) in self.manifests.iter().enumerate() {
            data.push_str(&format!("(data (i32.const {at}) \"{}\")", escaped(manifest)));
            faces.push_str(&format!(
                "(if (i32.eq (global.get $times) (i32.const {time}))
                   (then (call $give (i32.const {at}) (i32.const {}))))",
                manifest.len()
            ));
            at += manifest.len();
        }
        let start = if self.noisy { "(start $sing)" } else { "" };
        let wat = format!(
            r#"(module
              (import "extism:host/env" "config_get" (func $config (param i64) (result i64)))
              (import "extism:host/env" "log_warn" (func $warn (param i64)))
              (import "extism:host/user" "hm_sandbox_exists" (func $exists (param i64) (result i64)))
              {BLOCKS}
              (memory (export "memory") 4)
              (global $times (mut i32) (i32.const 0))
              (data (i32.const 0) "\"x\"")
              (data (i32.const 16) "mode")
              (data (i32.const 32) "{CANARY}")
              (data (i32.const 256) "{result}")
              {data}
              (func $give (param $from i32) (param $len i32)
                (call $answer (call $block (local.get $from) (local.get $len))))
              (func $sing (call $warn (call $block (i32.const 32) (i32.const {sung}))))
              {start}
              (func (export "hm_manifest") {faces}
                (global.set $times (i32.add (global.get $times) (i32.const 1))))
              (func (export "hm_executor_run")
                (drop (call $exists (call $block (i32.const 0) (i32.const 3))))
                (call $give (i32.const 256) (i32.const {result_len})))
              (func (export "hm_output_on_event"))
              (func (export "hm_output_finalize")
                (call $answer (call $config (call $block (i32.const 16) (i32.const 4)))))
              (func (export "hm_hook_on_event"))
              (func (export "hm_subcommand_run")))"#,
            sung = CANARY.len(),
            result = escaped(result),
            result_len = result.len(),
        );
        let export = format!("(export \"{}\")", self.without);
        let wat = if self.without.is_empty() { wat } else { wat.replace(&export, "") };
        wat::parse_str(wat).expect("WAT")
    }
}
