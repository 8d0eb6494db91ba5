//! Loading: the modules that can be loaded, and the errors for the rest.

use hm_abi::{HostFunctions, LoadError, Module, ModuleLimits};

use crate::guest::{CALL, ENGINE, assemble, describe, load, rig_with};

fn error_of(wat: &str) -> String {
    match load::<()>(&wat::parse_str(wat).unwrap(), &HostFunctions::new()) {
        Ok(_) => "loads".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// [load.binary] [load.text] [load.component] [load.invalid] [load.no-exports] [load.no-imports] What bytes are a
/// module.
#[test]
fn only_binary_core_modules() {
    for (bytes, expected) in [
        (&b""[..], "not a binary WebAssembly module"),
        (b"(module)", "not a binary WebAssembly module"),
        (b"{\"wasm\": []}", "not a binary WebAssembly module"),
        (b"[[wasm]]\npath = \"a.wasm\"", "not a binary WebAssembly module"),
        (b" \0asm\x01\0\0\0", "not a binary WebAssembly module"),
        (b"\0asm", "not a binary WebAssembly module"),
        (b"\0asm\x02\0\0\0", "not a binary WebAssembly module"),
        (b"\0asm\x0d\0\x01\0", "a WebAssembly component, but plug-ins are core modules"),
    ] {
        let error = load::<()>(bytes, &HostFunctions::new()).map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    assert!(matches!(
        load::<()>(b"\0asm\x01\0\0\0\x99", &HostFunctions::new()),
        Err(LoadError::Invalid { .. })
    ));
    assert_eq!(error_of("(module)"), "loads");
}

/// [load.duplicate-exports] [load.names] Modules that no tool writes.
#[test]
fn names_of_exports_are_text_and_differ() {
    let wasm = wat::parse_str(r#"(module (func (export "name-1")) (func (export "name-2")))"#).unwrap();
    assert!(load::<()>(&wasm, &HostFunctions::new()).is_ok());
    for (name, expected) in [(b"name-1", "duplicate export name"), (b"name-\xff", "malformed UTF-8")] {
        let mut wasm = wasm.clone();
        let at = wasm.windows(6).position(|bytes| bytes == b"name-2").unwrap();
        wasm[at..at + 6].copy_from_slice(name);
        match load::<()>(&wasm, &HostFunctions::new()).map(|_| ()) {
            Err(LoadError::Invalid { message }) => assert!(message.contains(expected), "{message}"),
            other => panic!("{other:?}"),
        }
    }
}

/// [load.no-exports] [load.no-imports] Nothing can be called in an empty module, and a module may be its own world.
#[tokio::test]
async fn modules_may_be_small() {
    let limits = hm_abi::InstanceLimits::standard;
    let empty = wat::parse_str("(module)").unwrap();
    let mut rig = rig_with(&empty, &HostFunctions::new(), (), limits(), hm_abi::LogLevel::Info);
    assert_eq!(rig.call("f", "").await, "error the plug-in has no function `f`");
    let alone = wat::parse_str(r#"(module (func (export "f") (result i32) (i32.const 7)))"#).unwrap();
    let mut rig = rig_with(&alone, &HostFunctions::new(), (), limits(), hm_abi::LogLevel::Info);
    assert_eq!(rig.call("f", "ignored").await, "guest 7");
}

/// [load.size] Not even the first bytes are looked at.
#[test]
fn size_is_checked_before_anything_else() {
    let limits = ModuleLimits { max_bytes: 3, ..ModuleLimits::standard() };
    let result = Module::<()>::load(&ENGINE, b"text", &HostFunctions::new(), &limits).map(|_| ());
    assert!(matches!(result, Err(LoadError::TooLarge { bytes: 4, allowed: 3 })));
}

/// [import.unknown] [import.host-side] [import.type] [import.only-functions] [wasi.unstable] What is not offered, or
/// not so.
#[test]
fn imports() {
    for (import, expected) in [
        (
            r#"(import "extism:host/env" "nope" (func))"#,
            "the module imports `nope` from `extism:host/env`, which does not exist",
        ),
        (
            r#"(import "extism:host/env" "memory" (memory 1))"#,
            "the module imports `memory` from `extism:host/env`, which does not exist",
        ),
        (r#"(import "env" "trace" (func))"#, "the module imports `trace` from `env`, which does not exist"),
        (
            r#"(import "wasi_unstable" "fd_write" (func))"#,
            "the module imports `fd_write` from `wasi_unstable`, which does not exist",
        ),
        (r#"(import "main" "f" (func))"#, "the module imports `f` from `main`, which does not exist"),
    ] {
        assert_eq!(error_of(&format!("(module {import})")), expected);
    }
    for name in ["reset", "input_set", "error_get", "output_offset", "output_length", "memory_bytes"] {
        assert_eq!(
            error_of(&format!(r#"(module (import "extism:host/env" "{name}" (func)))"#)),
            format!("the module imports `{name}` from `extism:host/env`, which is the host's alone")
        );
    }
    for import in [
        r#"(import "extism:host/env" "alloc" (func (param i32) (result i64)))"#,
        r#"(import "extism:host/env" "load_u8" (func (param i64) (result i64)))"#,
        r#"(import "extism:host/env" "alloc" (global i64))"#,
        r#"(import "wasi_snapshot_preview1" "fd_write" (func))"#,
    ] {
        let error = error_of(&format!("(module {import})"));
        assert!(
            error.starts_with(
                "the module imports something with a wrong type: incompatible import type for `"
            ),
            "{error}"
        );
    }
}

/// [load.initial-memory] [load.initial-table] Whether or not it would ever be used.
#[test]
fn what_a_module_starts_with_is_limited() {
    assert_eq!(
        error_of("(module (memory 4097))"),
        "the module starts with 4097 pages of memory, more than the 4096 allowed"
    );
    assert_eq!(
        error_of("(module (table 131073 funcref))"),
        "the module starts with a table of 131073 elements, more than the 131072 allowed"
    );
    assert_eq!(error_of("(module (memory 4096 65536) (table 131072 funcref))"), "loads");
}

/// [load.inert] A module with a start function that traps is asked for its functions.
#[test]
fn what_can_be_called_is_known_without_an_instance() {
    let module = load::<()>(
        &wat::parse_str(
            r#"(module (func $start unreachable) (start $start) (memory (export "memory") 1)
            (func (export "unit")) (func (export "code") (result i32) (i32.const 0))
            (func (export "malloc") (param i32) (result i32) (i32.const 0)))"#,
        )
        .unwrap(),
        &HostFunctions::new(),
    )
    .unwrap();
    assert_eq!(module.exports().collect::<Vec<_>>(), ["code", "unit"]);
    assert!(module.has_function("unit") && module.has_function("code"));
    assert!(!module.has_function("malloc") && !module.has_function("memory") && !module.has_function("none"));
}

/// [import.abort] [import.abort-bare] Texts are UTF-16, and may be missing.
#[tokio::test]
async fn an_abort_of_assembly_script_says_where() {
    let guest = r#"(import "env" "abort" (func $abort (param i32 i32 i32 i32))) ;; body
        (data (i32.const 0) "\0a\00\00\00o\00h\00 \00\bb\03!\00")
        (data (i32.const 32) "\08\00\00\00a\00.\00t\00s\00")
        (func (export "told") (call $abort (i32.const 4) (i32.const 36) (i32.const 12) (i32.const 5)))
        (func (export "bare") (call $abort (i32.const 0) (i32.const -2) (i32.const 0) (i32.const 0)))"#;
    let limits = hm_abi::InstanceLimits::standard();
    let mut rig = rig_with(&assemble(guest), &HostFunctions::new(), (), limits, hm_abi::LogLevel::Info);
    assert_eq!(rig.call("told", "").await, "trap abort: oh λ! at a.ts:12:5");
    assert_eq!(rig.call("bare", "").await, "trap abort: abort at unknown file:0:0");
}

/// [load.shared] Each has its own globals.
#[tokio::test]
async fn one_module_serves_many_instances() {
    let wasm = assemble(
        r#"(global $n (mut i64) (i64.const 0)) (func (export "f")
        (global.set $n (i64.add (global.get $n) (i64.const 1))) (call $number (global.get $n)))"#,
    );
    let module = load::<()>(&wasm, &HostFunctions::new()).unwrap();
    for _ in 0..3 {
        let mut instance = module.clone().instance((), hm_abi::InstanceOptions::standard());
        assert_eq!(describe(&instance.call("f", &[], &CALL).await), "number 1");
    }
}

/// [import.all] All imports that nobody offers are named, each once, and of very many the first.
#[test]
fn all_unknown_imports_are_named() {
    let wasm = wat::parse_str(
        r#"(module (import "env" "one" (func)) (import "extism:host/env" "alloc" (func (param i64) (result i64)))
            (import "mine" "two" (func (param f64) (result f64))) (import "env" "one" (func))
            (import "mine" "three" (func)))"#,
    )
    .unwrap();
    let error = load::<()>(&wasm, &HostFunctions::new()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "the module imports `one` from `env`, `two` from `mine` and `three` from `mine`, which do not exist"
    );
    let many: String = (0..1000).map(|number| format!(r#"(import "env" "f{number}" (func))"#)).collect();
    let wasm = wat::parse_str(format!("(module {many})")).unwrap();
    let error = load::<()>(&wasm, &HostFunctions::new()).err().unwrap();
    let text = error.to_string();
    assert!(text.contains("`f0` from `env`, `f1` from `env`") && text.contains("`f15`"), "{text}");
    assert!(!text.contains("`f16`") && text.ends_with("and others, which do not exist"), "{text}");
}
