//! Functions of the embedder, as guests see them.

use hm_abi::{
    CallLimits, HostError, HostFunction, HostFunctions, InstanceLimits, LoadError, LogLevel, USER_MODULE,
};

use crate::guest::{CALL, Rig, assemble, load, rig_with};

/// What the functions were called with.
type Calls = Vec<Vec<Vec<u8>>>;

const fn declare(name: &'static str, params: u8, returns: bool) -> HostFunction {
    HostFunction { module: USER_MODULE, name, params, returns, fuel: 1000, fuel_per_byte: 10 }
}

fn functions() -> HostFunctions<Calls> {
    let mut host = HostFunctions::new();
    for (name, params) in [("join0", 0), ("join1", 1), ("join2", 2), ("join3", 3), ("join4", 4)] {
        host.define(declare(name, params, true), |calls: &mut Calls, arguments| {
            Box::pin(async move {
                calls.push(arguments.clone());
                tokio::task::yield_now().await;
                Ok(arguments.join(&b'+'))
            })
        });
    }
    host.define(declare("note", 1, false), |calls: &mut Calls, arguments| {
        Box::pin(async move {
            calls.push(arguments);
            Ok(b"goes nowhere".to_vec())
        })
    })
    .define(declare("empty", 0, true), |_, _| Box::pin(async { Ok(Vec::new()) }))
    .define(declare("large", 0, true), |_, _| Box::pin(async { Ok(vec![b'x'; 1000]) }))
    .define(declare("deny", 0, false), |_, _| {
        Box::pin(async { Err(HostError::Denied { capability: "dir:docs".to_owned() }) })
    })
    .define(declare("limit", 0, false), |_, _| {
        Box::pin(async { Err(HostError::Limit { which: "sockets", asked: 9, allowed: 8 }) })
    })
    .define(declare("reject", 0, false), |_, _| {
        Box::pin(async { Err(HostError::InvalidArgument("no such handle".to_owned())) })
    })
    .define(declare("fail", 0, false), |_, _| {
        Box::pin(async { Err(std::io::Error::other("the disk is full"))? })
    });
    host
}

const GUEST: &str = r#"
(import "extism:host/user" "join0" (func $join0 (result i64)))
(import "extism:host/user" "join1" (func $join1 (param i64) (result i64)))
(import "extism:host/user" "join2" (func $join2 (param i64 i64) (result i64)))
(import "extism:host/user" "join3" (func $join3 (param i64 i64 i64) (result i64)))
(import "extism:host/user" "join4" (func $join4 (param i64 i64 i64 i64) (result i64)))
(import "extism:host/user" "note" (func $note (param i64)))
(import "extism:host/user" "empty" (func $empty (result i64)))
(import "extism:host/user" "large" (func $large (result i64)))
(import "extism:host/user" "deny" (func $deny))
(import "extism:host/user" "limit" (func $limit))
(import "extism:host/user" "reject" (func $reject))
(import "extism:host/user" "fail" (func $fail))
;; body
(global $a (mut i64) (i64.const 0)) (global $b (mut i64) (i64.const 0))
(func $letters (global.set $a (call $fill (i32.const 1))) (global.set $b (call $fill (i32.const 2))))
(func (export "join0") (call $put (call $join0)))
(func (export "join1") (call $put (call $join1 (call $input_offset))))
(func (export "join2") (call $letters) (call $put (call $join2 (call $input_offset) (global.get $b))))
(func (export "join3") (call $letters)
  (call $put (call $join3 (global.get $a) (i64.const 0) (global.get $b))))
(func (export "join4") (call $letters)
  (call $put (call $join4 (global.get $a) (global.get $b) (global.get $a) (call $input_offset))))
(func (export "note") (call $note (call $input_offset)) (call $number (call $input_length)))
(func (export "empty") (call $number (call $empty)))
(func (export "large") (call $number (call $length (call $large))))
(func (export "pdk_order") (local $result i64)
  (call $letters)
  (local.set $result (call $join2 (global.get $a) (global.get $b)))
  (call $free (global.get $a)) (call $free (global.get $b))
  (call $put (local.get $result)))
(func (export "forged") (drop (call $join1 (i64.const 99))))
(func (export "interior") (drop (call $join1 (i64.add (call $fill (i32.const 3)) (i64.const 1)))))
(func (export "deny") (call $deny))
(func (export "limit") (call $limit))
(func (export "reject") (call $reject))
(func (export "fail") (call $error_set (call $input_offset)) (call $fail))
"#;

fn rig() -> Rig<Calls> {
    rig_with(&assemble(GUEST), &functions(), Vec::new(), InstanceLimits::standard(), LogLevel::Info)
}

#[tokio::test]
async fn arguments_and_results() {
    let mut rig = rig();
    for (export, input, expected) in [
        ("join0", "", "output "),
        ("join1", "one", "output one"),
        ("join1", "", "output "),
        ("join2", "in", "output in+xx"),
        ("join3", "", "output x++xx"),
        ("join4", "in", "output x+xx+x+in"),
        ("note", "noted", "number 5"),
        ("empty", "", "number 0"),
        ("large", "", "number 1000"),
        ("pdk_order", "", "output x+xx"),
    ] {
        assert_eq!(rig.call(export, input).await, expected, "{export}");
    }
    let calls = rig.instance.data();
    assert_eq!(calls[1], [b"one".to_vec()]);
    assert_eq!(calls[2], [Vec::new()]);
    assert_eq!(calls[5], [b"x".to_vec(), b"xx".to_vec(), b"x".to_vec(), b"in".to_vec()]);
    assert_eq!(calls[6], [b"noted".to_vec()]);
}

#[tokio::test]
async fn failures_end_the_call_and_the_data_stays() {
    let mut rig = rig();
    rig.instance.data_mut().push(Vec::new());
    for (export, input, expected) in [
        ("forged", "", "trap `join1` was given offset 99, where no block starts"),
        ("interior", "", "trap `join1` was given offset 4097, where no block starts"),
        ("deny", "", "denied dir:docs"),
        ("limit", "", "limit sockets 9 > 8"),
        ("reject", "", "trap `reject`: no such handle"),
        ("fail", "", "host fail: the disk is full"),
        ("fail", "broken", "host fail: the disk is full [broken]"),
    ] {
        assert_eq!(rig.call(export, input).await, expected, "{export}");
    }
    assert_eq!(rig.instance.data().len(), 1);
    assert_eq!(rig.call("join1", "still there").await, "output still there");
}

#[tokio::test]
async fn each_call_and_each_byte_costs_fuel() {
    let mut rig = rig();
    let mut used =
        async |export, input: &[u8]| rig.instance.call(export, input, &CALL).await.unwrap().fuel_used;
    let (short, long) = (used("join1", b"a").await, used("join1", &[b'a'; 101]).await);
    // 100 bytes more, paid on the way in and on the way out, and copied to the output.
    assert_eq!(long - short, 100 * 10 * 2 + 100 / 8);
    assert!(short > 1000);

    let poor = CallLimits { fuel: 500, ..CALL };
    let before = rig.instance.data().len();
    let result = rig.instance.call("join1", b"a", &poor).await;
    assert_eq!(crate::guest::describe(&result), "out of fuel");
    assert_eq!(rig.instance.data().len(), before, "it is charged before it runs");
    let result = rig.instance.call("large", &[], &CallLimits { fuel: 5000, ..CALL }).await;
    assert_eq!(crate::guest::describe(&result), "out of fuel", "a result costs by its size");
}

#[tokio::test]
async fn the_later_of_two_declarations_is_linked() {
    let mut host = functions();
    host.define(declare("join1", 1, true), |_, _| Box::pin(async { Ok(b"later".to_vec()) }));
    let limits = InstanceLimits::standard();
    let mut rig = rig_with(&assemble(GUEST), &host, Vec::new(), limits, LogLevel::Info);
    assert_eq!(rig.call("join1", "in").await, "output later");
}

#[tokio::test]
async fn what_is_imported() {
    let module = load(&assemble(GUEST), &functions()).unwrap();
    let names = "join0 join1 join2 join3 join4 note empty large deny limit reject fail";
    assert_eq!(module.host_imports(), names.split(' ').collect::<Vec<_>>());

    let result = load(&assemble(GUEST), &HostFunctions::<Calls>::new()).map(|_| ());
    assert!(matches!(result, Err(LoadError::UnknownImport { module, name })
        if module == USER_MODULE && name == "join0"));

    let mut host = functions();
    host.define(declare("join1", 2, true), |_, _| Box::pin(async { Ok(Vec::new()) }));
    let result = load(&assemble(GUEST), &host).map(|_| ());
    assert!(matches!(result, Err(LoadError::WrongImportType { message }) if message.contains("join1")));

    host.define(declare("join9", 9, true), |_, _| Box::pin(async { Ok(Vec::new()) }));
    let result = load(&assemble(GUEST), &host).map(|_| ());
    assert!(matches!(result, Err(LoadError::HostFunction { name, params: 9 }) if name == "join9"));
}
