//! Prices of the work of a guest and of its host.

use hm_abi::InstanceLimits;

use crate::guest::{CALL, rig};

/// The fuel that each of two functions uses, `a` and `b`, and by how much `b` uses more.
async fn difference(guest: &str) -> u64 {
    let mut rig = rig(guest, InstanceLimits::standard());
    let mut used = Vec::new();
    // The first call also pays for the start.
    for export in ["a", "a", "b"] {
        rig.instance.call(export, b"12345678", &CALL).await.unwrap();
        used.push(rig.instance.report().fuel_used);
    }
    used[2].checked_sub(used[1]).expect("the second function does more")
}

/// [fuel.instructions] A hundred more of one instruction.
#[tokio::test]
async fn instructions() {
    let more = "(global.set $n (i32.const 1))".repeat(50);
    let guest =
        format!(r#"(global $n (mut i32) (i32.const 0)) (func (export "a")) (func (export "b") {more})"#);
    assert_eq!(difference(&guest).await, 100);
}

/// [fuel.look-up] [fuel.log] One more call of each, whose own instructions are at most ten.
#[tokio::test]
async fn calls() {
    for (call, price) in [
        ("(drop (call $alloc (i64.const 1)))", 100),
        ("(call $output_set (i64.const 0) (i64.const 0))", 100),
        ("(call $error_set (call $input_offset)) (call $error_set (i64.const 0))", 100),
        ("(drop (call $config_get (i64.const 4096)))", 100),
        ("(drop (call $var_get (i64.const 0)))", 100),
        ("(call $log_info (i64.const 0))", 1000 + 100),
        ("(drop (call $length (i64.const 4096)))", 0),
        ("(drop (call $load_u64 (i64.const 4096)))", 0),
        ("(call $store_u8 (i64.const 4096) (i32.const 1))", 0),
        ("(call $free (i64.const 4096))", 0),
    ] {
        let guest = format!(r#"(func (export "a")) (func (export "b") {call})"#);
        let found = difference(&guest).await;
        assert!((price..=price + 12).contains(&found), "{call}: {found}");
    }
}

/// [fuel.bytes] The same with 8000 bytes more: they are paid when the block is made, and once more when it is used.
#[tokio::test]
async fn bytes() {
    for (call, price) in [
        ("", 1000),
        ("(call $output_set (local.get $block) (local.get $length))", 2000),
        ("(call $error_set (local.get $block)) (call $error_set (i64.const 0))", 2000),
        ("(call $log_info (local.get $block))", 2000),
        ("(drop (call $config_get (local.get $block)))", 2000),
        ("(drop (call $var_get (local.get $block)))", 2000),
        ("(call $var_set (local.get $block) (i64.const 0))", 2000),
        ("(call $var_set (i64.const 0) (local.get $block))", 2000),
    ] {
        let guest = format!(
            r#"(func $use (param $length i64) (local $block i64)
              (local.set $block (call $alloc (local.get $length))) {call})
            (func (export "a") (call $use (i64.const 8)))
            (func (export "b") (call $use (i64.const 8008)))"#
        );
        assert_eq!(difference(&guest).await, price, "{call}");
    }
}
