//! What a call comes to: codes, errors, exits, traps, and which of them go together.

use hm_abi::{CallError, InstanceLimits};

use crate::guest::{CALL, case, check, rig};

#[tokio::test]
async fn codes_errors_and_exits() {
    check(&[
        case(
            "0 is success",
            r#"(func (export "f") (result i32) (call $put (call $input_offset)) (i32.const 0))"#,
            &[("f", "out", "output out")],
        ),
        case(
            "no result is success",
            r#"(func (export "f") (call $put (call $input_offset)))"#,
            &[("f", "out", "output out")],
        ),
        case(
            "another code is a failure with that code",
            r#"(func (export "f") (result i32) (call $put (call $input_offset)) (i32.const 7))
               (func (export "g") (result i32) (i32.const -2147483648))"#,
            &[("f", "out", "guest 7"), ("g", "", "guest -2147483648")],
        ),
        case(
            "a set error is a failure, and its code never reads as success",
            r#"(func (export "zero") (result i32) (call $error_set (call $input_offset)) (i32.const 0))
               (func (export "nothing") (call $error_set (call $input_offset)))
               (func (export "seven") (result i32) (call $error_set (call $input_offset)) (i32.const 7))"#,
            &[
                ("zero", "broken", "guest -1 [broken]"),
                ("nothing", "broken", "guest -1 [broken]"),
                ("seven", "broken", "guest 7 [broken]"),
            ],
        ),
        case(
            "an error does not stay for the next call",
            r#"(func (export "f") (call $error_set (call $input_offset))) (func (export "g"))"#,
            &[("f", "broken", "guest -1 [broken]"), ("g", "", "output ")],
        ),
        case(
            "a trap",
            r#"(func (export "f") unreachable)"#,
            &[("f", "", "trap wasm `unreachable` instruction executed")],
        ),
        case(
            "a trap and a set error are both told",
            r#"(func (export "f") (call $error_set (call $input_offset)) unreachable)"#,
            &[("f", "broken", "trap wasm `unreachable` instruction executed [broken]")],
        ),
        case(
            "other traps",
            r#"(func (export "bounds") (drop (i32.load (i32.const -4))))
               (func (export "divide") (drop (i32.div_u (i32.const 1) (i32.const 0))))
               (func $deep (export "stack") (call $deep))"#,
            &[
                ("bounds", "", "trap out of bounds memory access"),
                ("divide", "", "trap integer divide by zero"),
                ("stack", "", "trap call stack exhausted"),
            ],
        ),
        case(
            "proc_exit(0) is success and keeps the output",
            r#"(func (export "f") (call $put (call $input_offset)) (call $proc_exit (i32.const 0)) unreachable)"#,
            &[("f", "out", "output out")],
        ),
        case(
            "proc_exit(0) beside a set error is a failure",
            r#"(func (export "f") (call $error_set (call $input_offset)) (call $proc_exit (i32.const 0)))"#,
            &[("f", "broken", "guest -1 [broken]")],
        ),
        case(
            "another exit code is a failure with that code, whatever it is",
            r#"(func (export "one") (call $proc_exit (i32.const 1)))
               (func (export "large") (call $proc_exit (i32.const 300)))
               (func (export "negative") (call $proc_exit (i32.const -5)))
               (func (export "told") (call $error_set (call $input_offset)) (call $proc_exit (i32.const 3)))"#,
            &[
                ("one", "", "exit 1"),
                ("large", "", "exit 300"),
                ("negative", "", "exit -5"),
                ("told", "broken", "exit 3 [broken]"),
            ],
        ),
    ])
    .await;
}

#[tokio::test]
async fn what_cannot_be_called() {
    check(&[
        case(
            "a missing export is named",
            "",
            &[("f", "", "error the plug-in has no function `f`")],
        ),
        case(
            "an export that is no function is none",
            "",
            &[("memory", "", "error the plug-in has no function `memory`")],
        ),
        case(
            "a parameter, two results, or another result than i32 is a wrong signature",
            r#"(func (export "parameter") (param i32))
               (func (export "two") (result i32 i32) (i32.const 0) (i32.const 0))
               (func (export "long") (result i64) (i64.const 0))"#,
            &[
                (
                    "parameter",
                    "",
                    "error the plug-in's function `parameter` has type `(type (func (param i32)))`, but must take \
                     nothing and return at most an i32",
                ),
                (
                    "two",
                    "",
                    "error the plug-in's function `two` has type `(type (func (result i32 i32)))`, but must take \
                     nothing and return at most an i32",
                ),
                (
                    "long",
                    "",
                    "error the plug-in's function `long` has type `(type (func (result i64)))`, but must take \
                     nothing and return at most an i32",
                ),
            ],
        ),
    ])
    .await;
}

#[tokio::test]
async fn http_is_denied() {
    check(&[
        case(
            "a request ends the call, and the denial names the function",
            r#"(func (export "f") (drop (call $http_request (call $input_offset) (i64.const 0))))"#,
            &[("f", "{\"url\":\"https://example.com\"}", "denied http_request")],
        ),
        case(
            "the guest's own error is told beside",
            r#"(func (export "f") (call $error_set (call $input_offset))
                (drop (call $http_request (call $input_offset) (i64.const 0))))"#,
            &[("f", "broken", "denied http_request [broken]")],
        ),
        case(
            "there is no status and there are no headers",
            r#"(func (export "f") (call $number
                (i64.add (i64.extend_i32_u (call $http_status_code)) (call $http_headers))))"#,
            &[("f", "", "number 0")],
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_trap_has_a_backtrace_with_names() {
    let guest = r#"(func $inner unreachable) (func $outer (call $inner)) (func (export "f") (call $outer))"#;
    let mut rig = rig(guest, InstanceLimits::standard());
    let Err(CallError::Trap { backtrace, .. }) = rig.instance.call("f", &[], &CALL).await else {
        panic!("no trap")
    };
    assert_eq!(backtrace.len(), 3, "{backtrace:?}");
    assert!(backtrace[0].contains("inner") && backtrace[1].contains("outer"), "{backtrace:?}");
}

#[tokio::test]
async fn fuel_used_is_counted_anew_for_each_call() {
    let guest = r#"(func (export "f") nop) (func (export "g") (drop (call $fill (i32.const 100))))"#;
    let mut rig = rig(guest, InstanceLimits::standard());
    let mut used = Vec::new();
    for export in ["f", "f", "g", "f"] {
        rig.instance.call(export, &[], &CALL).await.unwrap();
        used.push(rig.instance.report().fuel_used);
    }
    assert!(used[1] > 0 && used[1] == used[3] && used[2] > used[1] + 100, "{used:?}");
}
