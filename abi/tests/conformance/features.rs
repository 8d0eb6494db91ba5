//! Wasm features: a guest that runs with each that is on, and one that is refused for each that is off.

use hm_abi::{Code, HostFunctions, LoadError, ModuleLimits};

use crate::guest::{CALL, ENGINE, describe, load};

/// [feature.on] Each guest returns 42 by means of the feature.
#[tokio::test]
async fn what_is_on_runs() {
    for (feature, module) in [
        (
            "mutable globals",
            r#"(global $g (export "g") (mut i32) (i32.const 40))
            (func (export "f") (result i32)
              (global.set $g (i32.add (global.get $g) (i32.const 2))) (global.get $g))"#,
        ),
        (
            "floats",
            r#"(func (export "f") (result i32) (i32.trunc_f64_s (f64.mul (f64.const 10.5) (f64.const 4))))"#,
        ),
        (
            "sign extension",
            r#"(func (export "f") (result i32) (i32.add (i32.extend8_s (i32.const 255)) (i32.const 43)))"#,
        ),
        (
            "saturating float to int",
            r#"(func (export "f") (result i32) (i32.sub (i32.trunc_sat_f64_s (f64.const 1e300)) (i32.const 2147483605)))"#,
        ),
        (
            "multiple results",
            r#"(func $two (result i32 i32) (i32.const 6) (i32.const 7))
            (func (export "f") (result i32) (i32.mul (call $two)))"#,
        ),
        (
            "bulk memory",
            r#"(memory 1) (data $d "\2a")
            (func (export "f") (result i32)
              (memory.init $d (i32.const 8) (i32.const 0) (i32.const 1))
              (memory.copy (i32.const 16) (i32.const 8) (i32.const 1))
              (memory.fill (i32.const 8) (i32.const 0) (i32.const 1))
              (i32.load8_u (i32.const 16)))"#,
        ),
        (
            "reference types",
            r#"(table $a 1 funcref) (table $b 0 funcref) (elem declare func $g)
            (func $g (result i32) (i32.const 42)) (type $t (func (result i32)))
            (func (export "f") (result i32)
              (drop (table.grow $b (ref.func $g) (i32.const 1)))
              (call_indirect $b (type $t) (i32.const 0)))"#,
        ),
        (
            "SIMD",
            r#"(func (export "f") (result i32)
            (i32x4.extract_lane 2 (i32x4.add (v128.const i32x4 0 0 40 0) (v128.const i32x4 1 1 2 1))))"#,
        ),
        (
            "extended constants",
            r#"(global $g i32 (i32.mul (i32.const 6) (i32.add (i32.const 3) (i32.const 4))))
            (func (export "f") (result i32) (global.get $g))"#,
        ),
        (
            "tail calls",
            r#"(func $down (param i32) (result i32)
              (if (result i32) (local.get 0)
                (then (return_call $down (i32.sub (local.get 0) (i32.const 1)))) (else (i32.const 42))))
            (func (export "f") (result i32) (call $down (i32.const 1000000)))"#,
        ),
    ] {
        let module =
            load::<()>(&wat::parse_str(format!("(module {module})")).unwrap(), &HostFunctions::new());
        let mut instance = module.expect(feature).instance((), hm_abi::InstanceOptions::standard());
        assert_eq!(describe(&instance.call("f", b"", &CALL).await), "guest 42", "{feature}");
    }
}

/// [feature.off] Whether a module is only checked or also compiled, it is refused as not valid.
#[test]
fn what_is_off_is_refused() {
    for (feature, module) in [
        ("shared memory", "(memory 1 1 shared)"),
        ("atomics", "(memory 1) (func (drop (i32.atomic.load (i32.const 0))))"),
        ("shared everything", "(func (param (ref null (shared func))))"),
        ("memories", "(memory 1) (memory 1)"),
        ("64-bit memory", "(memory i64 1)"),
        ("64-bit tables", "(table i64 1 funcref)"),
        ("garbage collection", "(type (struct (field i32)))"),
        ("externref", "(table 1 externref)"),
        ("typed references", "(type $t (func)) (func (param (ref null $t)))"),
        ("exceptions", "(tag)"),
        ("old exceptions", "(func try end)"),
        (
            "relaxed SIMD",
            "(func (param v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 0)))",
        ),
        (
            "wide arithmetic",
            "(func (param i64) (result i64 i64) (i64.mul_wide_s (local.get 0) (local.get 0)))",
        ),
        ("page sizes", "(memory 1 (pagesize 1))"),
        ("stack switching", "(type $f (func)) (type (cont $f))"),
    ] {
        let wasm = wat::parse_str(format!("(module {module})")).unwrap();
        let limits = ModuleLimits::standard();
        let checked = Code::check(&ENGINE, &wasm, &limits);
        let compiled = Code::compile(&ENGINE, &wasm, &limits).map(|_| ());
        for result in [checked, compiled] {
            assert!(matches!(result, Err(LoadError::Invalid { .. })), "{feature}: {:?}", result.err());
        }
    }
}
