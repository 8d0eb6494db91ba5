//! WASI preview 1, and that there is nothing in it.

use hm_abi::{HostFunctions, InstanceLimits, LogLevel};

use crate::guest::{case, check, rig_with};

#[tokio::test]
async fn wasi_is_there_and_empty() {
    check(&[
        case(
            "no arguments and no environment",
            r#"(import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
               (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
               ;; body
               (func (export "f") (call $number (i64.extend_i32_u (i32.add
                 (i32.add (call $args (i32.const 0) (i32.const 4)) (call $environ (i32.const 8) (i32.const 12)))
                 (i32.add (i32.load (i32.const 0)) (i32.load (i32.const 8))))))
                 (drop (i32.const 0)))"#,
            &[("f", "", "number 0")],
        ),
        case(
            "no directories: fd_prestat_get(3) is BADF",
            r#"(import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
               ;; body
               (func (export "f") (call $number (i64.extend_i32_u (call $prestat (i32.const 3) (i32.const 0)))))"#,
            &[("f", "", "number 8")],
        ),
        case(
            "standard input is at its end",
            r#"(import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
               ;; body
               (func (export "f")
                 (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 50))
                 (i32.store (i32.const 8) (i32.const 77))
                 (call $number (i64.extend_i32_u (i32.add (i32.load (i32.const 8))
                   (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))))))"#,
            &[("f", "", "number 77")],
        ),
        case(
            "standard output and error swallow; an import may come twice",
            r#"(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
               (import "wasi_snapshot_preview1" "fd_write" (func $again (param i32 i32 i32 i32) (result i32)))
               ;; body
               (func (export "f")
                 (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 50))
                 (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
                 (if (call $again (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
                 (call $number (i64.extend_i32_u (i32.load (i32.const 8)))))"#,
            &[("f", "", "number 50")],
        ),
        case(
            "clocks and random numbers are real",
            r#"(import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
               (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
               ;; body
               (func (export "f")
                 (if (call $clock (i32.const 0) (i64.const 1) (i32.const 0)) (then unreachable))
                 (if (call $random (i32.const 8) (i32.const 16)) (then unreachable))
                 (if (i64.lt_u (i64.load (i32.const 0)) (i64.const 1700000000000000000)) (then unreachable))
                 (if (i64.eqz (i64.or (i64.load (i32.const 8)) (i64.load (i32.const 16)))) (then unreachable)))"#,
            &[("f", "", "output ")],
        ),
        case(
            "an argument outside memory is an error or a trap, never more",
            r#"(import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
               ;; body
               (func (export "f") (call $number (i64.extend_i32_u (call $random (i32.const -8) (i32.const 16)))))"#,
            &[("f", "", "trap Pointer out of bounds: Region { start: 4294967288, len: 16 }")],
        ),
    ])
    .await;
}

#[tokio::test]
async fn without_an_exported_memory_the_first_wasi_call_is_a_trap() {
    let wasm = wat::parse_str(
        r#"(module
            (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (memory 1)
            (func (export "f") (drop (call $random (i32.const 0) (i32.const 1)))))"#,
    )
    .unwrap();
    let limits = InstanceLimits::standard();
    let mut rig = rig_with(&wasm, &HostFunctions::new(), (), limits, LogLevel::Info);
    assert_eq!(rig.call("f", "").await, "trap missing required memory export");
}
