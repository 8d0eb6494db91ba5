//! Cases of the functions on stored values and on the files of the project, and what else they refuse.

use std::fs;

use hm_abi::{CallError, Engine, InstanceOptions, Module, ModuleLimits};
use hm_host::host_functions::{HostFn, Policy, Role, host_functions};
use hm_plugin_protocol::{ArchiveId, ArchiveReadArgs, KvScope};

use super::case::{Bench, Case, json};

pub(super) async fn case(name: &str, bench: &Bench) -> Case {
    let at = |name: &str| bench.directory.path().join(name);
    match name {
        "hm_kv_get" => {
            fs::create_dir(at("state")).expect("a directory");
            fs::write(at("state/p.kv"), r#"{"key":[118]}"#).expect("a file");
            answer(vec![json(KvScope::Plugin), b"key".to_vec()], b"[118]".to_vec())
        }
        "hm_kv_set" => {
            let path = at("state/p.kv");
            Case {
                role: Role::Hook,
                args: vec![json(KvScope::Plugin), b"key".to_vec(), b"v".to_vec()],
                done: Box::new(move |_| fs::read(&path).is_ok_and(|kept| kept == br#"{"key":[118]}"#)),
            }
        }
        "hm_archive_total_size" => {
            let size = bench.backends.workspace.archive().await.expect("an archive").size();
            of_step(bench, json(bench.archive), size.to_le_bytes().to_vec())
        }
        "hm_archive_read" => {
            let args = ArchiveReadArgs { id: bench.archive, offset: 0, max: 2 };
            of_step(bench, json(args), b"\x1f\x8b".to_vec())
        }
        "hm_fs_read_config" => {
            fs::write(at("project/.hm/file"), "v").expect("a file");
            answer(vec![b"file".to_vec()], b"[118]".to_vec())
        }
        _ => panic!("no case for {name}"),
    }
}

/// A call that gives this answer.
fn answer(args: Vec<Vec<u8>>, expected: Vec<u8>) -> Case {
    Case { role: Role::Hook, args, done: Box::new(move |happened| happened.answer == expected) }
}

/// One of an executor.
fn of_step(bench: &Bench, arg: Vec<u8>, expected: Vec<u8>) -> Case {
    Case { role: Role::Executor(Box::new(bench.step().0)), ..answer(vec![arg], expected) }
}

/// Makes a call that is allowed.
async fn call(bench: &Bench, name: &str, args: &[Vec<u8>]) -> Result<Vec<u8>, CallError> {
    let policy = Policy::by_name([name.to_owned()].into());
    let (state, _said) = bench.state(policy, Role::Executor(Box::new(bench.step().0)));
    let engine = Engine::new().expect("an engine");
    super::instance(&engine, HostFn::named(name).expect("a function"), args, state)
        .call("go", b"", &super::LIMITS)
        .await
}

#[tokio::test]
async fn an_archive_of_another_step_is_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::new(&super::case::backends(directory.path()));
    let id = ArchiveId(uuid::Uuid::new_v4());
    let read = json(ArchiveReadArgs { id, offset: 0, max: 1 });
    for (name, arg) in [("hm_archive_total_size", json(id)), ("hm_archive_read", read)] {
        let result = call(&bench, name, &[arg]).await;
        let Err(CallError::Host { source, .. }) = result else { panic!("{name}: {result:?}") };
        assert_eq!(source.to_string(), "the archive is not the one that this step was given");
    }
    for (offset, expected) in [(0, 8), (u64::MAX, 0)] {
        let args = ArchiveReadArgs { id: bench.archive, offset, max: 8 };
        let answer = call(&bench, "hm_archive_read", &[json(args)]).await.expect("its own");
        assert_eq!(answer.len(), expected);
    }
}

#[tokio::test]
async fn what_is_not_configuration_is_denied_and_what_is_not_there_is_null() {
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::new(&super::case::backends(directory.path()));
    let hm = bench.directory.path().join("project/.hm");
    fs::write(bench.directory.path().join("project/canary"), "canary").expect("a file");
    std::os::unix::fs::symlink("../canary", hm.join("link")).expect("a link");
    for path in ["../canary", "link", "/etc/passwd"] {
        let result = call(&bench, "hm_fs_read_config", &[path.as_bytes().to_vec()]).await;
        let Err(CallError::Denied { capability, .. }) = result else { panic!("{path}: {result:?}") };
        let expected = format!("hm_fs_read_config: {path:?} is not below the project's .hm or .harmont");
        assert_eq!(capability, expected);
    }
    let missing = call(&bench, "hm_fs_read_config", &[b"missing".to_vec()]).await;
    assert_eq!(missing.expect("no error"), b"null");
}

#[tokio::test]
async fn values_that_are_too_large_reach_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::new(&super::case::backends(directory.path()));
    let wasm = wat::parse_str(
        r#"(module
          (import "extism:host/user" "hm_kv_set" (func $set (param i64 i64 i64)))
          (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
          (import "extism:host/env" "input_offset" (func $input (result i64)))
          (func (export "two_mib") (call $set (call $input) (i64.const 0) (call $alloc (i64.const 0x200000))))
          (func (export "one_gib") (call $set (call $input) (i64.const 0) (call $alloc (i64.const 0x40000000)))))"#,
    );
    let (engine, limits) = (Engine::new().expect("an engine"), ModuleLimits::standard());
    let module =
        Module::load(&engine, &wasm.expect("a guest"), &host_functions(), &limits).expect("a module");
    for export in ["two_mib", "one_gib"] {
        for scope in [KvScope::Plugin, KvScope::Build, KvScope::Step] {
            let (state, _said) = bench.state(Policy::by_name(["hm_kv_set".to_owned()].into()), Role::Hook);
            let mut instance = module.instance(state, InstanceOptions::standard());
            let result = instance.call(export, &json(scope), &super::LIMITS).await;
            let Err(CallError::Limit { which, .. }) = &result else { panic!("{export}: {result:?}") };
            assert!(export == "one_gib" || *which == "bytes of a stored value", "{which}");
            assert_eq!(instance.data_mut().values.get(""), None);
        }
    }
    assert_eq!(bench.context.build_values.get("p", ""), None);
    assert!(!bench.directory.path().join("state").exists());
}
