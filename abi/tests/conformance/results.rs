//! Results of a call: codes, errors, exits, traps, and which of them go together.

use hm_abi::{CallError, InstanceLimits};

use crate::guest::{CALL, case, check, rig};

#[tokio::test]
async fn codes_errors_and_exits() {
    check(&[
        case(
            "[result.success] 0 is success",
            r#"(func (export "f") (result i32) (call $put (call $input_offset)) (i32.const 0))"#,
            &[("f", "out", "output out")],
        ),
        case(
            "[result.success] [pdk.results] no result is success",
            r#"(func (export "f") (call $put (call $input_offset)))"#,
            &[("f", "out", "output out")],
        ),
        case(
            "[result.code] [result.output-dropped] another code is a failure with that code",
            r#"(func (export "f") (result i32) (call $put (call $input_offset)) (i32.const 7))
               (func (export "g") (result i32) (i32.const -2147483648))"#,
            &[("f", "out", "guest 7"), ("g", "", "guest -2147483648")],
        ),
        case(
            "[result.error] [error.set] a set error is a failure, and its code never reads as success",
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
            "[call.nothing-stays] an error does not stay for the next call",
            r#"(func (export "f") (call $error_set (call $input_offset))) (func (export "g"))"#,
            &[("f", "broken", "guest -1 [broken]"), ("g", "", "output ")],
        ),
        case(
            "[result.trap] a trap",
            r#"(func (export "f") unreachable)"#,
            &[("f", "", "trap wasm `unreachable` instruction executed")],
        ),
        case(
            "[result.trap] a trap and a set error are both told",
            r#"(func (export "f") (call $error_set (call $input_offset)) unreachable)"#,
            &[("f", "broken", "trap wasm `unreachable` instruction executed [broken]")],
        ),
        case(
            "[result.trap] [limit.stack] other traps",
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
            "[result.exit-zero] proc_exit(0) is success and keeps the output",
            r#"(func (export "f") (call $put (call $input_offset)) (call $proc_exit (i32.const 0)) unreachable)"#,
            &[("f", "out", "output out")],
        ),
        case(
            "[result.exit-zero-error] proc_exit(0) beside a set error is a failure",
            r#"(func (export "f") (call $error_set (call $input_offset)) (call $proc_exit (i32.const 0)))"#,
            &[("f", "broken", "guest -1 [broken]")],
        ),
        case(
            "[result.exit] [wasi.exit] another exit code is a failure with that code, whatever it is",
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
        case(
            "[result.output-dropped] however a call fails, its output is not seen, nor in the next",
            r#"(func (export "trap") (call $put (call $input_offset)) unreachable)
               (func (export "exit") (call $put (call $input_offset)) (call $proc_exit (i32.const 1)))
               (func (export "error") (call $put (call $input_offset)) (call $error_set (call $input_offset)))
               (func (export "next"))"#,
            &[
                ("trap", "out", "trap wasm `unreachable` instruction executed"),
                ("next", "", "output "),
                ("exit", "out", "exit 1"),
                ("next", "", "output "),
                ("error", "out", "guest -1 [out]"),
                ("next", "", "output "),
            ],
        ),
        case(
            "[result.code] [result.error] a code and an error are both told, also if the text is not UTF-8",
            r#"(data (i32.const 0) "\ff\fe") (func (export "f") (result i32)
                (call $error_set (call $text (i32.const 0) (i32.const 2))) (i32.const 4))"#,
            &[("f", "", "guest 4 [\u{fffd}\u{fffd}]")],
        ),
        case(
            "[result.fault] breaking a rule is a trap with the error beside",
            r#"(func (export "f") (call $error_set (call $input_offset)) (call $output_set (i64.const 5) (i64.const 5)))"#,
            &[("f", "broken", "trap `output_set` was given 5 bytes at offset 5, which no block holds [broken]")],
        ),
        case(
            "[limit.stack] endless recursion ends, and the next call is well",
            r#"(func $deep (export "deep") (param i64 i64 i64 i64) (result i64)
                (i64.add (call $deep (local.get 1) (local.get 2) (local.get 3) (local.get 0)) (i64.const 1)))
               (func (export "f") (drop (call $deep (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4))))
               (func (export "g") (call $put (call $input_offset)))"#,
            &[("f", "", "trap call stack exhausted"), ("g", "well", "output well")],
        ),
    ])
    .await;
}

#[tokio::test]
async fn what_cannot_be_called() {
    check(&[
        case(
            "[result.no-function] a missing export is named",
            "",
            &[("f", "", "error the plug-in has no function `f`")],
        ),
        case(
            "[result.no-function] an export that is no function is none",
            "",
            &[("memory", "", "error the plug-in has no function `memory`")],
        ),
        case(
            "[result.no-function] nor is an exported global or table",
            r#"(global (export "global") i32 (i32.const 1)) (table (export "table") 1 funcref)"#,
            &[
                ("global", "", "error the plug-in has no function `global`"),
                ("table", "", "error the plug-in has no function `table`"),
                ("", "", "error the plug-in has no function ``"),
            ],
        ),
        case(
            "[result.signature] nor can a function be called with another number, or a reference, as its result",
            r#"(func (export "f32") (result f32) (f32.const 0)) (func (export "reference") (result funcref) (ref.null func))"#,
            &[
                (
                    "f32",
                    "",
                    "error the plug-in's function `f32` has type `(type (func (result f32)))`, but must take \
                     nothing and return at most an i32",
                ),
                (
                    "reference",
                    "",
                    "error the plug-in's function `reference` has type `(type (func (result (ref null func))))`, but must \
                     take nothing and return at most an i32",
                ),
            ],
        ),
        case(
            "[result.signature] a parameter, two results, or another result than i32 is a wrong signature",
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
            "[http.no-client] [result.denied] a request ends the call, and the denial names the function",
            r#"(func (export "f") (drop (call $http_request (call $input_offset) (i64.const 0))))"#,
            &[("f", "{\"url\":\"https://example.com\"}", "denied http_request")],
        ),
        case(
            "[result.denied] the guest's own error is told beside",
            r#"(func (export "f") (call $error_set (call $input_offset))
                (drop (call $http_request (call $input_offset) (i64.const 0))))"#,
            &[("f", "broken", "denied http_request [broken]")],
        ),
        case(
            "[http.no-client] there is no status and there are no headers",
            r#"(func (export "f") (call $number
                (i64.add (i64.extend_i32_u (call $http_status_code)) (call $http_headers))))"#,
            &[("f", "", "number 0")],
        ),
    ])
    .await;
}

/// [result.backtrace] Functions by name, innermost first.
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

/// [result.backtrace-cut] [result.demangled] Deep recursion, endless names and names of Rust.
#[tokio::test]
async fn a_backtrace_is_bounded_and_can_be_read() {
    let long = "n".repeat(5000);
    let guest = format!(
        r#"(func ${long} (export "deep") (call ${long}))
        (func $_ZN4core3fmt9Formatter3pad17h0123456789abcdefE (export "rust") unreachable)"#
    );
    let mut rig = rig(&guest, InstanceLimits::standard());
    let mut backtrace = async |export| match rig.instance.call(export, &[], &CALL).await {
        Err(CallError::Trap { backtrace, .. }) => backtrace,
        other => panic!("{other:?}"),
    };
    let deep = backtrace("deep").await;
    assert_eq!(deep.len(), 64);
    let name = format!("{}…", "n".repeat(256));
    assert!(deep.iter().all(|frame| *frame == name), "{deep:?}");
    assert_eq!(backtrace("rust").await, ["core::fmt::Formatter::pad"]);
}

/// [fuel.each-call] What one call has used is not missing in the next.
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
