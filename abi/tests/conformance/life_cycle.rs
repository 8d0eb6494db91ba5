//! Start, initialisers, and how long an instance lives.

use hm_abi::{CallLimits, HostError, HostFunction, HostFunctions, InstanceLimits, LogLevel, USER_MODULE};

use crate::guest::{CALL, assemble, case, check, describe, rig, rig_with};

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
            "[life.start] [life.once] the start function runs once for an instance",
            counting!(r#"(func $start (call $raise (i64.const 10))) (start $start)"#),
            &[("count", "", "number 11"), ("count", "", "number 12")],
        ),
        case(
            "[life.imports] [life.start-output] start functions and initialisers can use every import, and leave no output and no error",
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
            "[life.initialize] _initialize runs before the first call, once",
            counting!(r#"(func (export "_initialize") (call $raise (i64.const 10)))"#),
            &[("count", "", "number 11"), ("count", "", "number 12")],
        ),
        case(
            "[life.ctors] __wasm_call_ctors runs where there is no _initialize",
            counting!(r#"(func (export "__wasm_call_ctors") (call $raise (i64.const 100)))"#),
            &[("count", "", "number 101")],
        ),
        case(
            "[life.initialize-before-ctors] of both, only _initialize runs",
            counting!(
                r#"(func (export "__wasm_call_ctors") (call $raise (i64.const 100)))
                (func (export "_initialize") (call $raise (i64.const 10)))"#
            ),
            &[("count", "", "number 11")],
        ),
        case(
            "[life.haskell] hs_init(0, 0) runs after them",
            counting!(
                r#"(func (export "hs_init") (param i32 i32)
                  (if (i32.or (local.get 0) (local.get 1)) (then unreachable))
                  (global.set $count (i64.mul (global.get $count) (i64.const 2))))
                (func (export "_initialize") (call $raise (i64.const 10)))"#
            ),
            &[("count", "", "number 21")],
        ),
        case(
            "[life.other-types] anything of these names with another type is ignored",
            counting!(
                r#"(func (export "_initialize") (param i32) unreachable)
                (func (export "__wasm_call_ctors") (result i32) unreachable)
                (func (export "hs_init") unreachable)"#
            ),
            &[("count", "", "number 1")],
        ),
        case(
            "[life.command-reactor] _start with _initialize is a reactor, and _start does not run by itself",
            counting!(
                r#"(func (export "_initialize") (call $raise (i64.const 10)))
                (func (export "_start") unreachable)"#
            ),
            &[("count", "", "number 11")],
        ),
        case(
            "[life.start-fails] a failing start function fails the call, and the next one tries again",
            r#"(func $start (call $error_set (call $fill (i32.const 2))) unreachable) (start $start)
               (func (export "f"))"#,
            &[
                ("f", "", "trap wasm `unreachable` instruction executed [xx]"),
                ("f", "", "trap wasm `unreachable` instruction executed [xx]"),
            ],
        ),
        case(
            "[life.start-exit] an exit in an initialiser is no success",
            r#"(func (export "_initialize") (call $proc_exit (i32.const 0))) (func (export "f"))"#,
            &[("f", "", "trap exit with code 0 before the function was called")],
        ),
        case(
            "[result.no-function] [life.refused] a missing export is told before anything runs",
            r#"(func $start unreachable) (start $start)"#,
            &[("f", "", "error the plug-in has no function `f`")],
        ),
        case(
            "[life.start] [life.initialize] [life.haskell] they run in this order, each once",
            r#"(global $trace (mut i64) (i64.const 0))
               (func $note (param i64) (global.set $trace
                (i64.add (i64.mul (global.get $trace) (i64.const 10)) (local.get 0))))
               (func $start (call $note (i64.const 1))) (start $start)
               (func (export "__wasm_call_ctors") (call $note (i64.const 9)))
               (func (export "_initialize") (call $note (i64.const 2)))
               (func (export "hs_init") (param i32 i32) (call $note (i64.const 3)))
               (func (export "f") (call $note (i64.const 4)) (call $number (global.get $trace)))"#,
            &[("f", "", "number 1234"), ("f", "", "number 12344")],
        ),
        case(
            "[life.ctors] [life.haskell] hs_init runs after constructors, and alone",
            counting!(
                r#"(func (export "__wasm_call_ctors") (call $raise (i64.const 100)))
                (func (export "hs_init") (param i32 i32)
                  (global.set $count (i64.mul (global.get $count) (i64.const 2))))"#
            ),
            &[("count", "", "number 201")],
        ),
        case(
            "[life.haskell] hs_init without any other initialiser",
            counting!(r#"(func (export "hs_init") (param i32 i32) (call $raise (i64.const 5)))"#),
            &[("count", "", "number 6")],
        ),
        case(
            "[life.other-types] __wasm_call_ctors runs where _initialize has another type",
            counting!(
                r#"(func (export "_initialize") (result i32) unreachable)
                (func (export "__wasm_call_ctors") (call $raise (i64.const 100)))
                (func (export "hs_init") (param i64 i64) unreachable)"#
            ),
            &[("count", "", "number 101"), ("_initialize", "", "trap wasm `unreachable` instruction executed")],
        ),
        case(
            "[life.other-types] a global of such a name is no initialiser",
            counting!(
                r#"(global (export "_initialize") i32 (i32.const 1)) (global (export "hs_init") i32 (i32.const 1))
                (func (export "__wasm_call_ctors") (call $raise (i64.const 100)))"#
            ),
            &[("count", "", "number 101")],
        ),
        case(
            "[life.imports] configuration and log can be used in them",
            r#"(data (i32.const 0) "greeting") (global $length (mut i64) (i64.const 0))
               (func $start
                 (global.set $length (call $length (call $config_get (call $text (i32.const 0) (i32.const 8)))))
                 (call $log_info (i64.const 0)))
               (start $start)
               (func (export "f") (call $number (global.get $length)))"#,
            &[("f", "", "number 5")],
        ),
        case(
            "[life.start-input] the input of the call is not theirs",
            r#"(global $seen (mut i64) (i64.const 0))
               (func $look (global.set $seen (i64.or (global.get $seen) (i64.or (call $input_offset) (call $input_length)))))
               (start $look) (func (export "_initialize") (call $look))
               (func (export "f") (call $number (global.get $seen)))"#,
            &[("f", "input", "number 0")],
        ),
        case(
            "[life.start-blocks] their blocks are gone when the function runs",
            r#"(global $block (mut i64) (i64.const 0)) (global $again (mut i64) (i64.const 0))
               (func (export "_initialize")
                 (drop (call $fill (i32.const 8)))
                 (global.set $block (call $fill (i32.const 9))))
               (func (export "f")
                 (call $number (i64.or (call $length (global.get $block)) (call $load_u64 (global.get $block)))))"#,
            &[("f", "12345678", "number 0"), ("f", "", "number 0")],
        ),
        case(
            "[life.start-output] [life.fresh-call] an error of theirs is not that of a function that fails",
            r#"(func (export "_initialize") (call $error_set (call $fill (i32.const 3))))
               (func (export "f") unreachable) (func (export "g") (result i32) (i32.const 5))"#,
            &[("f", "", "trap wasm `unreachable` instruction executed"), ("g", "", "guest 5")],
        ),
        case(
            "[life.start-fails] a failing initialiser too, with what it had set as an error",
            r#"(func (export "_initialize") (call $error_set (call $fill (i32.const 2))) (drop (call $alloc (i64.const -1))))
               (func (export "f"))"#,
            &[("f", "", "limit bytes of Extism memory 18446744073709551615 > 134217728 [xx]")],
        ),
        case(
            "[life.start-exit] an exit with another code in a start function",
            r#"(func $start (call $proc_exit (i32.const 3))) (start $start) (func (export "f"))"#,
            &[("f", "", "exit 3"), ("f", "", "exit 3")],
        ),
    ])
    .await;
}

#[tokio::test]
async fn keeping_and_replacing() {
    check(&[
        case(
            "[life.stays] memory and globals stay from call to call, also over a guest error",
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
            "[life.refused] they stay over calls of what is not there",
            counting!(r#"(func (export "two") (param i32))"#),
            &[
                ("count", "", "number 1"),
                ("none", "", "error the plug-in has no function `none`"),
                ("count", "", "number 2"),
            ],
        ),
        case(
            "[life.fresh-trap] after a trap there is a fresh instance",
            counting!(r#"(func (export "trap") unreachable)"#),
            &[
                ("count", "", "number 1"),
                ("trap", "", "trap wasm `unreachable` instruction executed"),
                ("count", "", "number 1"),
                ("count", "", "number 2"),
            ],
        ),
        case(
            "[life.fresh-exit] after an exit there is a fresh instance, whatever the code",
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
            "[life.fresh-command] [life.command] after _start there is a fresh instance, also if it returned",
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
            "[life.fresh-denied] after a denial there is a fresh instance",
            counting!(
                r#"(func (export "http") (drop (call $http_request (call $input_offset) (i64.const 0))))"#
            ),
            &[("count", "", "number 1"), ("http", "{}", "denied http_request"), ("count", "", "number 1")],
        ),
        case(
            "[life.fresh-trap] linear memory is fresh too, and so it is after a fault",
            r#"(data (i32.const 0) "A")
               (func (export "f") (call $put (call $text (i32.const 0) (i32.const 1))))
               (func (export "write") (i32.store8 (i32.const 0) (i32.const 66)))
               (func (export "fault") (call $error_set (i64.const 5)))"#,
            &[
                ("write", "", "output "),
                ("f", "", "output B"),
                ("fault", "", "trap `error_set` was given offset 5, where no block starts"),
                ("f", "", "output A"),
            ],
        ),
        case(
            "[life.fresh-limit] after a limit there is a fresh instance",
            counting!(r#"(func (export "limit") (drop (call $alloc (i64.const -1))))"#),
            &[
                ("count", "", "number 1"),
                ("limit", "", "limit bytes of Extism memory 18446744073709551615 > 134217728"),
                ("count", "", "number 1"),
            ],
        ),
        case(
            "[life.command] a command's `_start` may end with an exit, and keeps its output",
            r#"(func (export "_start") (call $put (call $input_offset)) (call $proc_exit (i32.const 0)))"#,
            &[("_start", "out", "output out"), ("_start", "again", "output again")],
        ),
        case(
            "[life.command-functions] functions beside `_start` run without it, whatever else is exported",
            counting!(
                r#"(func (export "_start") unreachable) (global (export "state") (mut i32) (i32.const 0))
                (table (export "functions") 1 funcref)"#
            ),
            &[("count", "", "number 1"), ("count", "", "number 2")],
        ),
        case(
            "[life.command-reactor] `_start` of a reactor runs by name, after `_initialize`",
            counting!(
                r#"(func (export "_initialize") (call $raise (i64.const 10)))
                (func (export "_start") (call $raise (i64.const 100)) (call $number (global.get $count)))"#
            ),
            &[("_start", "", "number 110"), ("count", "", "number 11")],
        ),
        case(
            "[life.wrapped] a wrapper runs constructors, the function and destructors in each call",
            r#"(global $trace (mut i64) (i64.const 0))
               (func $note (param i64) (global.set $trace
                (i64.add (i64.mul (global.get $trace) (i64.const 10)) (local.get 0))))
               (func $__wasm_call_ctors (call $note (i64.const 1)))
               (func $f (call $note (i64.const 2)) (call $number (global.get $trace)))
               (func $__wasm_call_dtors (call $note (i64.const 3)))
               (func $f.command_export (export "f")
                 (call $__wasm_call_ctors) (call $f) (call $__wasm_call_dtors))"#,
            &[("f", "", "number 12"), ("f", "", "number 12312")],
        ),
        case(
            "[config.fixed] the configuration is there in every call and every instance",
            r#"(func (export "f") (call $put (call $config_get (call $input_offset)))) (func (export "trap") unreachable)"#,
            &[
                ("f", "greeting", "output hello"),
                ("f", "greeting", "output hello"),
                ("trap", "", "trap wasm `unreachable` instruction executed"),
                ("f", "greeting", "output hello"),
            ],
        ),
    ])
    .await;
}

/// [life.lazy] [life.once] A start function that logs says when it runs, and how often.
#[tokio::test]
async fn nothing_runs_before_the_first_call_and_nothing_twice() {
    let guest = r#"(func $start (call $log_info (i64.const 0))) (start $start)
        (func (export "_initialize") (call $log_warn (i64.const 0)))
        (func (export "f")) (func (export "trap") unreachable)"#;
    let mut rig = rig(guest, InstanceLimits::standard());
    assert_eq!(rig.call("none", "").await, "error the plug-in has no function `none`");
    assert_eq!(rig.logged(), [""; 0]);
    for _ in 0..3 {
        assert_eq!(rig.call("f", "").await, "output ");
        assert_eq!(rig.logged(), ["Info: ", "Warn: "]);
    }
    rig.call("trap", "").await;
    assert_eq!(rig.logged().len(), 2, "the next call makes the fresh instance");
    rig.call("f", "").await;
    assert_eq!(rig.logged().len(), 4);
}

/// [life.fresh-fuel] [life.fresh-host] [life.data-stays] What was in memory is gone, what the embedder had is not.
#[tokio::test]
async fn fuel_and_failing_host_functions_end_an_instance() {
    let guest = assemble(concat!(
        r#"(import "extism:host/user" "fail" (func $fail)) ;; body"#,
        counting!(
            r#"(func (export "fail") (call $fail)) (func (export "spin") (loop $again (br $again)))
            (func (export "set") (call $var_set (i64.const 0) (call $input_offset)) (call $fail))
            (func (export "get") (call $put (call $var_get (i64.const 0))))"#
        )
    ));
    let mut host = HostFunctions::new();
    let fail = HostFunction {
        module: USER_MODULE,
        name: "fail",
        params: 0,
        returns: false,
        fuel: 0,
        fuel_per_byte: 0,
    };
    host.define(fail, |calls: &mut u32, _| {
        *calls += 1;
        Box::pin(async { Err(HostError::failed("on purpose")) })
    });
    let mut rig = rig_with(&guest, &host, 0, InstanceLimits::standard(), LogLevel::Info);
    assert_eq!(rig.call("count", "").await, "number 1");
    assert_eq!(rig.call("fail", "").await, "host fail: on purpose");
    assert_eq!(rig.call("count", "").await, "number 1");
    let poor = CallLimits { fuel: 10_000, ..CALL };
    assert_eq!(describe(&rig.instance.call("spin", b"", &poor).await), "out of fuel");
    assert_eq!(rig.call("count", "").await, "number 1");
    assert_eq!(rig.call("set", "kept").await, "host fail: on purpose");
    assert_eq!(rig.call("get", "").await, "output kept");
    assert_eq!(*rig.instance.data(), 2);
}

/// True if this process has a writable mapping of exactly so many bytes, as no test but one makes.
fn is_mapped(bytes: u64) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains(" rw-p ")).any(|line| {
        let range = line.split(' ').next().and_then(|range| range.split_once('-')).unwrap();
        let [from, to] = [range.0, range.1].map(|number| u64::from_str_radix(number, 16).unwrap());
        to - from == bytes
    })
}

/// [life.freed] [life.reset] A wasm instance that is of no more use gives its memory back at once.
#[tokio::test]
async fn a_spent_instance_keeps_no_memory() {
    const PAGES: u64 = 1237;
    let wasm = wat::parse_str(format!(
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") {PAGES}) (func (export "f")) (func (export "trap") unreachable)
            (func (export "exit") (call $exit (i32.const 0))) (func (export "spin") (loop $l (br $l)))
            (func (export "_start")))"#
    ))
    .unwrap();
    let mut rig =
        rig_with(&wasm, &HostFunctions::<()>::new(), (), InstanceLimits::standard(), LogLevel::Info);
    let mapped = || is_mapped(PAGES * 65_536);
    let short = CallLimits { fuel: u64::MAX, deadline: std::time::Duration::from_millis(30) };
    for (export, expected) in [
        ("trap", "trap wasm `unreachable` instruction executed"),
        ("exit", "output "),
        ("spin", "timed out"),
        ("_start", "output "),
    ] {
        assert_eq!(rig.call("f", "").await, "output ");
        assert!(mapped(), "before {export}");
        assert_eq!(describe(&rig.instance.call(export, b"", &short).await), expected);
        assert!(!mapped(), "after {export}");
        assert_eq!(rig.instance.report().memory_bytes, PAGES * 65_536, "{export}");
    }
    assert_eq!(rig.call("f", "").await, "output ");
    let endless = CallLimits { fuel: u64::MAX, ..CALL };
    let dropped = rig.instance.call("spin", b"", &endless);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(30), dropped).await.is_err());
    assert!(!mapped(), "after a call that was dropped");
    assert_eq!(rig.call("f", "").await, "output ");
    assert!(mapped());
    rig.instance.reset();
    assert!(!mapped(), "after a reset");
    assert_eq!(rig.call("f", "").await, "output ");
}
