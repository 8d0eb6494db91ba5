//! For every host function of the table, what becomes of a call that was asked for or not and granted or not: a guest
//! makes it, and either all of it happens or nothing. A function without a case here fails.

mod case;
mod docker;
mod outside;
mod project;
mod steps;
mod words;

use std::collections::BTreeSet;

use hm_abi::{CallError, CallLimits, Engine, Instance, InstanceOptions, Module, ModuleLimits};
use hm_host::host_functions::{
    BackendKind, Grants, HostFn, Permission, PluginState, Policy, RequiredGrant, TABLE, host_functions,
};

use crate::support::BLOCKS;

use case::{Bench, Case, Happened};

/// Nothing here takes this long unless it hangs.
const LIMITS: CallLimits = CallLimits { fuel: 1_000_000_000, deadline: std::time::Duration::from_secs(60) };

/// Bytes that are neither text nor JSON.
const NO_VALUE: &[u8] = b"\xff";

/// An instance of a guest that makes this call.
fn instance(
    engine: &Engine,
    function: &HostFn,
    args: &[Vec<u8>],
    state: PluginState,
) -> Instance<PluginState> {
    let wasm = wat::parse_str(guest(function, args)).expect("a guest");
    let module = Module::load(engine, &wasm, &host_functions(), &ModuleLimits::standard()).expect("a module");
    module.instance(state, InstanceOptions::standard())
}

/// Makes the call; it has to end with all that the function is for, or with a denial that names it and nothing done.
async fn check(engine: &Engine, function: &HostFn, policy: Policy, allowed: bool, bench: &Bench) {
    let name = function.name;
    let Case { role, args, mut done } = case::of(function, bench).await;
    let (state, mut receiver) = bench.state(policy, role);
    let mut instance = instance(engine, function, &args, state);
    let result = instance.call("go", b"", &LIMITS).await;
    if let Some(output) = instance.data_mut().role.output() {
        output.flush().await.expect("files can be written to");
    }
    let answer = match &result {
        Ok(answer) if allowed => answer.as_slice(),
        Err(CallError::Denied { capability, .. }) if !allowed => {
            assert!(capability.starts_with(&format!("{name}: its manifest ")), "{capability}");
            b""
        }
        _ => panic!("{name}: allowed: {allowed}, but {result:?}"),
    };
    let said = std::iter::from_fn(|| receiver.try_recv().ok()).collect();
    let happened = Happened { answer, said, state: instance.data_mut() };
    assert_eq!(done(&happened), allowed, "{name}: allowed: {allowed}");
}

/// A module whose `go` makes this call, with these arguments, and answers what it answers.
fn guest(function: &HostFn, args: &[Vec<u8>]) -> String {
    let (mut data, mut blocks, mut offset) = (String::new(), String::new(), 0);
    for (index, arg) in args.iter().enumerate() {
        let bytes: String = arg.iter().map(|byte| format!("\\{byte:02x}")).collect();
        data.push_str(&format!("(data (i32.const {offset}) \"{bytes}\")\n"));
        let length = arg.len();
        blocks.push_str(&format!(
            "(local.set {index} (call $block (i32.const {offset}) (i32.const {length})))\n"
        ));
        offset += length;
    }
    let name = function.name;
    let locals = "(local i64)".repeat(args.len());
    let params = "i64 ".repeat(args.len());
    let gets: String = (0..args.len()).map(|index| format!("(local.get {index})")).collect();
    let (result, end) = if function.answer.is_none() {
        ("", format!("(call $f {gets})"))
    } else {
        ("(result i64)", format!("(call $answer (call $f {gets}))"))
    };
    format!(
        r#"(module
          (import "extism:host/user" "{name}" (func $f (param {params}) {result}))
          {BLOCKS}
          (memory (export "memory") 4)
          {data}
          (func (export "go") {locals} {blocks} {end}))"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_for_and_granted_is_done_and_nothing_else() {
    let engine = Engine::new().expect("an engine");
    let directory = tempfile::tempdir().expect("a directory");
    let backends = case::backends(directory.path());
    for function in TABLE.iter().filter(|function| case::is_possible(function)) {
        let one = BTreeSet::from([function.name.to_owned()]);
        let some = |yes: bool| if yes { one.clone() } else { BTreeSet::new() };
        for (asked, granted, by_name) in [
            (false, false, false),
            (true, false, false),
            (false, true, false),
            (true, true, false),
            (false, false, true),
        ] {
            let bench = Bench::new(&backends);
            let asks: &[&str] = if asked { &[function.name] } else { &[] };
            let grants = Grants { functions: some(granted), by_name: some(by_name), ..Grants::default() };
            let policy = bench.policy(asks, grants);
            let allowed = by_name || (asked && (granted || function.rules.grant == RequiredGrant::None));
            assert_eq!(
                policy.permission(function.name, function.rules.grant) == Permission::Allowed,
                allowed,
                "{}",
                function.name
            );
            check(&engine, function, policy, allowed, &bench).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_a_function_is_not_for_is_denied_it() {
    let engine = Engine::new().expect("an engine");
    let directory = tempfile::tempdir().expect("a directory");
    let backends = case::backends(directory.path());
    let bench = Bench::new(&backends);
    for function in TABLE {
        // The gate comes before the arguments, which nobody could read.
        let args = vec![NO_VALUE.to_vec(); function.params.len()];
        for role in bench.roles() {
            let kind = role.kind();
            if function.rules.roles.contains(&kind) {
                continue;
            }
            let policy = Policy::by_name(BTreeSet::from([function.name.to_owned()]));
            let mut instance = instance(&engine, function, &args, bench.state(policy, role).0);
            let result = instance.call("go", b"", &LIMITS).await;
            let Err(CallError::Denied { capability, .. }) = result else {
                panic!("{} by {kind:?}: {result:?}", function.name)
            };
            assert_eq!(capability, format!("{}: not for {}", function.name, kind.plural()));
        }
    }
}

/// Makes the call with these arguments, in a role that may make it.
async fn called(
    engine: &Engine,
    function: &HostFn,
    args: &[Vec<u8>],
    bench: &Bench,
) -> Result<Vec<u8>, CallError> {
    let role = bench.roles().into_iter().find(|role| function.rules.roles.contains(&role.kind()));
    let policy = Policy::by_name(BTreeSet::from([function.name.to_owned()]));
    let state = bench.state(policy, role.expect("somebody may call it")).0;
    instance(engine, function, args, state).call("go", b"", &LIMITS).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arguments_that_cannot_be_read_are_refused_by_their_names() {
    let engine = Engine::new().expect("an engine");
    let directory = tempfile::tempdir().expect("a directory");
    let backends = case::backends(directory.path());
    for function in TABLE {
        for (index, param) in function.params.iter().enumerate() {
            let bench = Bench::new(&backends);
            let name = format!("`{}`: argument `{}`: ", function.name, param.name);
            let mut args = vec![Vec::new()];
            if function.params.len() > 1 {
                // Those before it are read.
                args = case::of(function, &bench).await.args;
            }
            args[index] = NO_VALUE.to_vec();
            let result = called(&engine, function, &args, &bench).await;
            // Words of a plugin that are not quite text are shown all the same.
            if param.form.name == "bytes" || (function.name, param.name) == ("hm_log", "text") {
                assert!(result.is_ok(), "{name}{result:?}");
                continue;
            }
            let Err(CallError::Trap { reason, .. }) = result else { panic!("{name}{result:?}") };
            assert!(reason.starts_with(&name), "{reason}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_a_secret_is_not_quoted() {
    let engine = Engine::new().expect("an engine");
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::new(&case::backends(directory.path()));
    for function in TABLE.iter().filter(|function| function.rules.backend == BackendKind::Keyring) {
        let result = called(&engine, function, &[br#""hunter2""#.to_vec()], &bench).await;
        let Err(CallError::Trap { reason, .. }) = result else { panic!("{}: {result:?}", function.name) };
        assert_eq!(reason, format!("`{}`: argument `args`: it is not valid", function.name));
    }
}
