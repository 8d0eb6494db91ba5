//! The imports of the ABI, one by one: each has one type, under two names.

use hm_abi::HostFunctions;

use crate::guest::{assemble, describe, load};

/// A rule, the import, and its type.
const IMPORTS: &[(&str, &str, &str)] = &[
    ("[env.alloc]", "alloc", "(param i64) (result i64)"),
    ("[env.free]", "free", "(param i64)"),
    ("[env.length]", "length", "(param i64) (result i64)"),
    ("[env.length-unsafe]", "length_unsafe", "(param i64) (result i64)"),
    ("[env.load-u8]", "load_u8", "(param i64) (result i32)"),
    ("[env.load-u64]", "load_u64", "(param i64) (result i64)"),
    ("[env.store-u8]", "store_u8", "(param i64 i32)"),
    ("[env.store-u64]", "store_u64", "(param i64 i64)"),
    ("[env.input-offset]", "input_offset", "(result i64)"),
    ("[env.input-length]", "input_length", "(result i64)"),
    ("[env.input-load-u8]", "input_load_u8", "(param i64) (result i32)"),
    ("[env.input-load-u64]", "input_load_u64", "(param i64) (result i64)"),
    ("[env.output-set]", "output_set", "(param i64 i64)"),
    ("[env.error-set]", "error_set", "(param i64)"),
    ("[env.config-get]", "config_get", "(param i64) (result i64)"),
    ("[env.var-get]", "var_get", "(param i64) (result i64)"),
    ("[env.var-set]", "var_set", "(param i64 i64)"),
    ("[env.http-request]", "http_request", "(param i64 i64) (result i64)"),
    ("[env.http-status-code]", "http_status_code", "(result i32)"),
    ("[env.http-headers]", "http_headers", "(result i64)"),
    ("[env.log]", "log_trace", "(param i64)"),
    ("[env.log]", "log_debug", "(param i64)"),
    ("[env.log]", "log_info", "(param i64)"),
    ("[env.log]", "log_warn", "(param i64)"),
    ("[env.log]", "log_error", "(param i64)"),
    ("[env.get-log-level]", "get_log_level", "(result i32)"),
];

/// All types that some import has, and some that none has.
const TYPES: &[&str] = &[
    "",
    "(param i64)",
    "(param i64 i64)",
    "(param i64 i32)",
    "(param i64) (result i64)",
    "(param i64) (result i32)",
    "(param i64 i64) (result i64)",
    "(result i64)",
    "(result i32)",
    "(param i32)",
    "(param i32) (result i32)",
    "(param i32 i32)",
    "(param i32 i32) (result i32)",
    "(param i64 i64 i64)",
    "(param i64) (result i64 i64)",
    "(param f64) (result f64)",
];

fn outcome(import: &str) -> String {
    let wasm = wat::parse_str(format!("(module {import})")).unwrap();
    load::<()>(&wasm, &HostFunctions::new())
        .err()
        .map_or_else(|| "loads".to_owned(), |error| error.to_string())
}

/// [import.type] [import.old-names] No import loads with another type than its own, under either name.
#[test]
fn each_import_has_one_type() {
    for (rule, name, ty) in IMPORTS {
        for (module, name) in [("extism:host/env", (*name).to_owned()), ("env", format!("extism_{name}"))] {
            for other in TYPES {
                let found = outcome(&format!(r#"(import "{module}" "{name}" (func {other}))"#));
                if other == ty {
                    assert_eq!(found, "loads", "{rule} {module} {name} {other}");
                } else {
                    let wrong =
                        "the module imports something with a wrong type: incompatible import type for `";
                    assert!(found.starts_with(wrong), "{rule} {module} {name} {other}: {found}");
                    assert!(found.contains(&name), "{found}");
                }
            }
        }
    }
}

/// [import.only-functions] A name is a function, and nothing else of that name is there.
#[test]
fn the_host_offers_functions_only() {
    let others = ["(global i64)", "(global (mut i32))", "(memory 1)", "(table 1 funcref)"];
    for other in others {
        for name in ["alloc", "input_offset", "log_info"] {
            let found = outcome(&format!(r#"(import "extism:host/env" "{name}" {other})"#));
            assert!(found.starts_with("the module imports something with a wrong type"), "{other}: {found}");
        }
        for name in ["memory", "extism_context", "__heap_base", "__data_end"] {
            let found = outcome(&format!(r#"(import "extism:host/env" "{name}" {other})"#));
            let expected =
                format!("the module imports `{name}` from `extism:host/env`, which does not exist");
            assert_eq!(found, expected, "{other}");
        }
        for (module, name) in
            [("env", "memory"), ("env", "__indirect_function_table"), ("wasi_snapshot_preview1", "memory")]
        {
            let found = outcome(&format!(r#"(import "{module}" "{name}" {other})"#));
            assert_eq!(
                found,
                format!("the module imports `{name}` from `{module}`, which does not exist"),
                "{other}"
            );
        }
    }
}

/// [import.repeated] Every import comes twice, and both are the same function.
#[tokio::test]
async fn imports_may_come_twice() {
    let again: String = IMPORTS
        .iter()
        .map(|(_, name, ty)| format!(r#"(import "extism:host/env" "{name}" (func $again_{name} {ty}))"#))
        .collect();
    let guest = assemble(&format!(
        r#"{again} (import "extism:host/env" "log_error" (func $third (param i64))) ;; body
        (func (export "f") (local $block i64)
          (local.set $block (call $alloc (call $again_input_length)))
          (call $store_u8 (local.get $block) (i32.const 97))
          (call $again_store_u8 (i64.add (local.get $block) (i64.const 1)) (i32.const 98))
          (call $third (i64.const 0))
          (call $again_output_set (local.get $block) (call $again_length (local.get $block))))"#
    ));
    let module = load::<()>(&guest, &HostFunctions::new()).unwrap();
    let mut instance = module.instance((), hm_abi::InstanceOptions::standard());
    assert_eq!(describe(&instance.call("f", b"..", &crate::guest::CALL).await), "output ab");
}

/// [import.old-names] A guest with old names only, and one that mixes them with the present ones.
#[tokio::test]
async fn the_old_names_of_the_imports_work() {
    for module in [
        r#"(import "env" "extism_input_offset" (func $input_offset (result i64)))
            (import "env" "extism_input_length" (func $input_length (result i64)))
            (import "env" "extism_output_set" (func $output_set (param i64 i64)))
            (import "env" "extism_http_request" (func (param i64 i64) (result i64)))"#,
        r#"(import "env" "extism_input_offset" (func $input_offset (result i64)))
            (import "extism:host/env" "length" (func (param i64) (result i64)))
            (import "extism:host/env" "input_length" (func $input_length (result i64)))
            (import "env" "extism_output_set" (func $output_set (param i64 i64)))"#,
    ] {
        let wasm = wat::parse_str(format!(
            r#"(module {module} (func (export "f") (call $output_set (call $input_offset) (call $input_length))))"#
        ));
        let module = load::<()>(&wasm.unwrap(), &HostFunctions::new()).unwrap();
        let mut instance = module.instance((), hm_abi::InstanceOptions::standard());
        assert_eq!(describe(&instance.call("f", b"old", &crate::guest::CALL).await), "output old");
    }
    for name in ["extism_reset", "extism_input_set", "extism_error_get", "extism_memory_bytes", "alloc"] {
        let expected = format!("the module imports `{name}` from `env`, which does not exist");
        assert_eq!(outcome(&format!(r#"(import "env" "{name}" (func))"#)), expected);
    }
}
