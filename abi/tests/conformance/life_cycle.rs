//! Start, initialisers, and how long an instance lives.

use crate::guest::{case, check};

/// A counter in a global: `count` raises it and outputs it.
macro_rules! counting {
    ($more:literal) => {
        concat!(
            r#"(global $count (mut i64) (i64.const 0))
            (func $raise (param i64) (global.set $count (i64.add (global.get $count) (local.get 0))))
            (func (export "count") (call $raise (i64.const 1)) (call $number (global.get $count)))"#,
            $more
        )
    };
}

#[tokio::test]
async fn starting() {
    check(&[
        case(
            "the start function runs once for an instance",
            counting!(r#"(func $start (call $raise (i64.const 10))) (start $start)"#),
            &[("count", "", "number 11"), ("count", "", "number 12")],
        ),
        case(
            "start functions and initialisers can use every import, and leave no output and no error",
            counting!(
                r#"(data (i32.const 0) "key")
                (func $use (call $put (call $fill (i32.const 3))) (call $error_set (call $fill (i32.const 3)))
                  (call $var_set (call $text (i32.const 0) (i32.const 3)) (call $fill (i32.const 3))))
                (start $use) (func (export "_initialize") (call $use))
                (func (export "f"))
                (func (export "var") (call $put (call $var_get (call $text (i32.const 0) (i32.const 3)))))"#
            ),
            &[("f", "", "output "), ("var", "", "output xxx")],
        ),
        case(
            "_initialize runs before the first call, once",
            counting!(r#"(func (export "_initialize") (call $raise (i64.const 10)))"#),
            &[("count", "", "number 11"), ("count", "", "number 12")],
        ),
        case(
            "__wasm_call_ctors runs where there is no _initialize",
            counting!(r#"(func (export "__wasm_call_ctors") (call $raise (i64.const 100)))"#),
            &[("count", "", "number 101")],
        ),
        case(
            "of both, only _initialize runs",
            counting!(
                r#"(func (export "__wasm_call_ctors") (call $raise (i64.const 100)))
                (func (export "_initialize") (call $raise (i64.const 10)))"#
            ),
            &[("count", "", "number 11")],
        ),
        case(
            "hs_init(0, 0) runs after them",
            counting!(
                r#"(func (export "hs_init") (param i32 i32)
                  (if (i32.or (local.get 0) (local.get 1)) (then unreachable))
                  (global.set $count (i64.mul (global.get $count) (i64.const 2))))
                (func (export "_initialize") (call $raise (i64.const 10)))"#
            ),
            &[("count", "", "number 21")],
        ),
        case(
            "anything of these names with another type is ignored",
            counting!(
                r#"(func (export "_initialize") (param i32) unreachable)
                (func (export "__wasm_call_ctors") (result i32) unreachable)
                (func (export "hs_init") unreachable)"#
            ),
            &[("count", "", "number 1")],
        ),
        case(
            "_start with _initialize is a reactor, and _start does not run by itself",
            counting!(
                r#"(func (export "_initialize") (call $raise (i64.const 10)))
                (func (export "_start") unreachable)"#
            ),
            &[("count", "", "number 11")],
        ),
        case(
            "a failing start function fails the call, and the next one tries again",
            r#"(func $start (call $error_set (call $fill (i32.const 2))) unreachable) (start $start)
               (func (export "f"))"#,
            &[
                ("f", "", "trap wasm `unreachable` instruction executed [xx]"),
                ("f", "", "trap wasm `unreachable` instruction executed [xx]"),
            ],
        ),
        case(
            "an exit in an initialiser is no success",
            r#"(func (export "_initialize") (call $proc_exit (i32.const 0))) (func (export "f"))"#,
            &[("f", "", "trap exit with code 0 before the function was called")],
        ),
        case(
            "a missing export is told before anything runs",
            r#"(func $start unreachable) (start $start)"#,
            &[("f", "", "error the plug-in has no function `f`")],
        ),
    ])
    .await;
}

#[tokio::test]
async fn keeping_and_replacing() {
    check(&[
        case(
            "memory and globals stay from call to call, also over a guest error",
            counting!(
                r#"(func (export "fail") (result i32) (call $raise (i64.const 10)) (i32.const 1))
                (func (export "say") (call $error_set (call $fill (i32.const 2))))"#
            ),
            &[
                ("count", "", "number 1"),
                ("fail", "", "guest 1"),
                ("say", "", "guest -1 [xx]"),
                ("count", "", "number 12"),
            ],
        ),
        case(
            "they stay over calls of what is not there",
            counting!(r#"(func (export "two") (param i32))"#),
            &[
                ("count", "", "number 1"),
                ("none", "", "error the plug-in has no function `none`"),
                ("count", "", "number 2"),
            ],
        ),
        case(
            "after a trap there is a fresh instance",
            counting!(r#"(func (export "trap") unreachable)"#),
            &[
                ("count", "", "number 1"),
                ("trap", "", "trap wasm `unreachable` instruction executed"),
                ("count", "", "number 1"),
                ("count", "", "number 2"),
            ],
        ),
        case(
            "after an exit there is a fresh instance, whatever the code",
            counting!(r#"(func (export "exit") (call $proc_exit (i32.wrap_i64 (call $input_length))))"#),
            &[
                ("count", "", "number 1"),
                ("exit", "", "output "),
                ("count", "", "number 1"),
                ("exit", "x", "exit 1"),
                ("count", "", "number 1"),
            ],
        ),
        case(
            "after _start there is a fresh instance, also if it returned",
            counting!(
                r#"(func (export "_start") (call $raise (i64.const 10)) (call $number (global.get $count)))"#
            ),
            &[
                ("count", "", "number 1"),
                ("_start", "", "number 11"),
                ("count", "", "number 1"),
                ("_start", "", "number 11"),
            ],
        ),
        case(
            "after a denial there is a fresh instance",
            counting!(
                r#"(func (export "http") (drop (call $http_request (call $input_offset) (i64.const 0))))"#
            ),
            &[("count", "", "number 1"), ("http", "{}", "denied http_request"), ("count", "", "number 1")],
        ),
    ])
    .await;
}
