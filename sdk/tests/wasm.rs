//! Imports and exports of a plugin that is built for wasm32-wasip1.
//! Calling them is for the tests of the hosts.

#[path = "../../xtask/src/wasm.rs"]
#[allow(dead_code, reason = "only a part of it is of use here")]
mod wasm;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use wasmparser::{Parser, Payload};

#[test]
fn a_plugin_imports_what_it_calls_and_exports_what_it_registers() {
    let toolchain = match wasm::Toolchain::find() {
        Ok(toolchain) => toolchain,
        Err(error) => {
            println!("SKIPPED: {error}");
            return;
        }
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut cargo = toolchain.cargo(root, target_dir);
    let status = cargo.args(["--package", "hm-plugin-sdk", "--example", "published"]).status().unwrap();
    assert!(status.success(), "{status}");

    let module = fs::read(target_dir.join(wasm::TARGET).join("release/examples/published.wasm")).unwrap();
    let (mut host_functions, mut exports) = (BTreeSet::new(), BTreeSet::new());
    for payload in Parser::new(0).parse_all(&module) {
        match payload.unwrap() {
            Payload::ImportSection(section) => {
                for import in section.into_imports().map(Result::unwrap) {
                    if import.module == "extism:host/user" {
                        host_functions.insert(import.name);
                    }
                }
            }
            Payload::ExportSection(section) => {
                exports.extend(section.into_iter().map(|export| export.unwrap().name));
            }
            Payload::StartSection { .. } => panic!("a plugin needs no start function"),
            _ => {}
        }
    }
    assert_eq!(host_functions, BTreeSet::from(["hm_log"]));
    assert_eq!(exports, BTreeSet::from(["hm_executor_run", "hm_manifest", "memory"]));
}
