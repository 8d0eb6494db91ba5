//! Extism memory, edge by edge: blocks, their bytes, and whose they are.

use hm_abi::{HostFunction, HostFunctions, InstanceLimits, LogLevel, USER_MODULE};

use crate::guest::{assemble, case, check, rig_with};

#[tokio::test]
async fn blocks() {
    check(&[
        case(
            "[alloc.zero] alloc(0) is 0",
            r#"(func (export "f") (call $number (call $alloc (i64.const 0))))"#,
            &[("f", "", "number 0")],
        ),
        case(
            "[alloc.length] a block has the length it was asked for",
            r#"(func (export "f") (call $number (call $length (call $alloc (i64.const 77)))))"#,
            &[("f", "", "number 77")],
        ),
        case(
            "[alloc.offsets] offsets are multiples of 16 from 4096 on",
            r#"(func (export "f")
                (call $number (call $alloc (i64.const 1)))
                (call $or (call $alloc (i64.const 1))) (call $or (call $alloc (i64.const 15)))
                (call $or (call $alloc (i64.const 16))) (call $or (call $alloc (i64.const 17)))
                (if (i64.ne (i64.and (global.get $seen) (i64.const 15)) (i64.const 0)) (then unreachable)))
               (global $seen (mut i64) (i64.const 0))
               (func $or (param i64) (global.set $seen (i64.or (global.get $seen) (local.get 0))))"#,
            &[("f", "", "number 4096"), ("f", "", "number 4096")],
        ),
        case(
            "[alloc.offsets] they stay below 2^53 however much is allocated and freed",
            r#"(func (export "f") (local $block i64) (local $i i32)
                (loop $again
                  (local.set $block (call $alloc (i64.const 100000000)))
                  (call $free (local.get $block))
                  (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3))))
                (call $number (i64.shr_u (local.get $block) (i64.const 53))))"#,
            &[("f", "", "number 0")],
        ),
        case(
            "[alloc.grow] an offset is above all that were before, also above freed ones",
            r#"(func (export "f") (local $last i64) (local $next i64) (local $i i32)
                (loop $again
                  (local.set $next (call $alloc (i64.const 40)))
                  (if (i64.le_u (local.get $next) (local.get $last)) (then unreachable))
                  (call $free (local.get $next))
                  (local.set $last (local.get $next))
                  (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5000)))))"#,
            &[("f", "", "output ")],
        ),
        case(
            "[alloc.apart] the byte after a block is in no other",
            r#"(func (export "f") (local $first i64) (local $second i64)
                (local.set $first (call $alloc (i64.const 16)))
                (local.set $second (call $fill (i32.const 16)))
                (if (i64.le_u (local.get $second) (i64.add (local.get $first) (i64.const 16))) (then unreachable))
                (call $number (i64.extend_i32_u (call $load_u8 (i64.add (local.get $first) (i64.const 16))))))"#,
            &[("f", "", "number 0")],
        ),
        case(
            "[alloc.no-wrap] alloc(2^64 - 1) fails and does not wrap",
            r#"(func (export "f") (drop (call $alloc (i64.const -1))))"#,
            &[("f", "", "limit bytes of Extism memory 18446744073709551615 > 134217728")],
        ),
        case(
            "[alloc.no-wrap] alloc(2^64 - 12) fails and does not wrap",
            r#"(func (export "f") (drop (call $alloc (i64.const -12))))"#,
            &[("f", "", "limit bytes of Extism memory 18446744073709551604 > 134217728")],
        ),
        case(
            "[alloc.no-wrap] alloc(2^32 + 10) fails and does not wrap",
            r#"(func (export "f") (drop (call $alloc (i64.const 4294967306))))"#,
            &[("f", "", "limit bytes of Extism memory 4294967306 > 134217728")],
        ),
        case(
            "[alloc.zeroed] a block is zeroed, also after others were written and freed",
            r#"(func (export "f") (local $i i32)
                (loop $again
                  (call $free (call $fill (i32.const 64)))
                  (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 200))))
                (call $number (call $load_u64 (call $alloc (i64.const 64)))))"#,
            &[("f", "", "number 0")],
        ),
        case(
            "[alloc.given-back] memory is given back when the call ends",
            r#"(func (export "f") (drop (call $alloc (i64.const 100000000))))"#,
            &[("f", "", "output "), ("f", "", "output "), ("f", "", "output ")],
        ),
        case(
            "[alloc.gone] blocks of an earlier call are gone",
            r#"(global $old (mut i64) (i64.const 0))
               (func (export "make") (local $i i32)
                 (loop $again
                   (global.set $old (call $fill (i32.const 64)))
                   (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 9)))))
               (func (export "f") (call $number
                 (i64.add (call $length (global.get $old)) (call $load_u64 (global.get $old)))))"#,
            &[("make", "", "output "), ("f", "", "number 0")],
        ),
    ])
    .await;
}

#[tokio::test]
async fn free_and_length() {
    check(&[
        case(
            "[free.no-op] free of 0, of unknown, interior and freed offsets does nothing",
            r#"(func (export "f") (local $block i64)
                (local.set $block (call $fill (i32.const 10)))
                (call $free (i64.const 0))
                (call $free (i64.const -1))
                (call $free (i64.const 12345678))
                (call $free (i64.add (local.get $block) (i64.const 1)))
                (call $number (call $length (local.get $block))))"#,
            &[("f", "", "number 10")],
        ),
        case(
            "[free.twice] a second free does not hit a later block",
            r#"(func (export "f") (local $old i64) (local $new i64)
                (local.set $old (call $fill (i32.const 10)))
                (call $free (local.get $old))
                (local.set $new (call $fill (i32.const 10)))
                (call $free (local.get $old))
                (call $put (local.get $new)))"#,
            &[("f", "", "output xxxxxxxxxx")],
        ),
        case(
            "[free.readable] a freed block can still be read",
            r#"(func (export "f") (local $block i64)
                (local.set $block (call $fill (i32.const 8)))
                (call $free (local.get $block))
                (call $number (call $load_u64 (local.get $block))))"#,
            &[("f", "", "number 8680820740569200760")],
        ),
        case(
            "[length.interior] length of an interior offset is 0",
            r#"(func (export "f")
                (call $number (call $length (i64.add (call $alloc (i64.const 9)) (i64.const 1)))))"#,
            &[("f", "", "number 0")],
        ),
        case(
            "[length.freed] length of a freed block is 0",
            r#"(func (export "f") (local $block i64)
                (local.set $block (call $alloc (i64.const 9)))
                (call $free (local.get $block))
                (call $number (call $length (local.get $block))))"#,
            &[("f", "", "number 0")],
        ),
        case(
            "[length.unknown] length of offset 0 and of forged offsets is 0",
            r#"(func (export "f") (call $number (i64.add (call $length (i64.const 0))
                (i64.add (call $length (i64.const -1)) (call $length (i64.const 9223372036854775807))))))"#,
            &[("f", "", "number 0")],
        ),
        case(
            "[length.interior] [length.freed] [length.unknown] length_unsafe answers the same",
            r#"(func (export "f") (local $block i64)
                (local.set $block (call $alloc (i64.const 33)))
                (if (i64.ne (call $length_unsafe (i64.add (local.get $block) (i64.const 1))) (i64.const 0)) (then unreachable))
                (if (i64.ne (call $length_unsafe (i64.const 0)) (i64.const 0)) (then unreachable))
                (if (i64.ne (call $length_unsafe (i64.const -1)) (i64.const 0)) (then unreachable))
                (call $number (call $length_unsafe (local.get $block)))
                (call $free (local.get $block))
                (if (i64.ne (call $length_unsafe (local.get $block)) (i64.const 0)) (then unreachable)))"#,
            &[("f", "", "number 33")],
        ),
        case(
            "[alloc.reused] a loop of alloc and free can go on past the ceiling",
            r#"(func (export "f") (local $i i32)
                (loop $again
                  (call $free (call $alloc (i64.const 1000000)))
                  (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 300)))))"#,
            &[("f", "", "output ")],
        ),
        case(
            "[free.readable] a freed block can still be written, and stays freed",
            r#"(func (export "f") (local $block i64)
                (local.set $block (call $fill (i32.const 8)))
                (call $free (local.get $block))
                (call $store_u64 (local.get $block) (i64.const 7))
                (if (i64.ne (call $length (local.get $block)) (i64.const 0)) (then unreachable))
                (call $number (call $load_u64 (local.get $block))))"#,
            &[("f", "", "number 7")],
        ),
        case(
            "[free.kept] the bytes are there until 1024 blocks were freed after them",
            r#"(func $free_more (param $i i32)
                (loop $again
                  (call $free (call $alloc (i64.const 1)))
                  (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1))))))
               (func $after (param $blocks i32) (result i64) (local $block i64)
                (local.set $block (call $fill (i32.const 8)))
                (call $free (local.get $block))
                (call $free_more (local.get $blocks))
                (call $load_u64 (local.get $block)))
               (func (export "1023") (call $number (call $after (i32.const 1023))))
               (func (export "1024") (call $number (call $after (i32.const 1024))))"#,
            &[("1023", "", "number 8680820740569200760"), ("1024", "", "number 0")],
        ),
        case(
            "[free.kept] or until 1 MiB was freed after them",
            r#"(func $after (param $bytes i64) (result i64) (local $block i64)
                (local.set $block (call $fill (i32.const 8)))
                (call $free (local.get $block))
                (call $free (call $alloc (local.get $bytes)))
                (call $load_u64 (local.get $block)))
               (func (export "less") (call $number (call $after (i64.const 1048568))))
               (func (export "more") (call $number (call $after (i64.const 1048569))))"#,
            &[("less", "", "number 8680820740569200760"), ("more", "", "number 0")],
        ),
        case(
            "[free.kept] or until their room is needed",
            r#"(func (export "f") (local $block i64)
                (local.set $block (call $fill (i32.const 8)))
                (call $free (local.get $block))
                (call $free (call $alloc (i64.const 134217728)))
                (call $number (call $load_u64 (local.get $block))))"#,
            &[("f", "", "number 0")],
        ),
        case(
            "[length.constant] 300,000 times the length of one of 60,000 blocks",
            r#"(func (export "f") (local $first i64) (local $i i32)
                (local.set $first (call $alloc (i64.const 77)))
                (loop $more
                  (drop (call $alloc (i64.const 1)))
                  (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 60000))))
                (local.set $i (i32.const 0))
                (loop $again
                  (if (i64.ne (call $length (local.get $first)) (i64.const 77)) (then unreachable))
                  (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 300000)))))"#,
            &[("f", "", "output ")],
        ),
    ])
    .await;
}

#[tokio::test]
async fn loads_and_stores() {
    check(&[
        case(
            "[bytes.low] load_u8 extends with zeros",
            r#"(func (export "f") (local $block i64)
                (local.set $block (call $alloc (i64.const 1)))
                (call $store_u8 (local.get $block) (i32.const 255))
                (call $number (i64.extend_i32_s (call $load_u8 (local.get $block)))))"#,
            &[("f", "", "number 255")],
        ),
        case(
            "[bytes.low] store_u8 takes the low 8 bits",
            r#"(func (export "f") (local $block i64)
                (local.set $block (call $alloc (i64.const 2)))
                (call $store_u8 (local.get $block) (i32.const 0x1261))
                (call $store_u8 (i64.add (local.get $block) (i64.const 1)) (i32.const -159))
                (call $put (local.get $block)))"#,
            &[("f", "", "output aa")],
        ),
        case(
            "[bytes.order] [pdk.unaligned] u64 access is little endian and needs no alignment",
            r#"(func (export "f") (local $block i64)
                (local.set $block (call $alloc (i64.const 12)))
                (call $store_u64 (i64.add (local.get $block) (i64.const 3)) (i64.const 0x6867666564636261))
                (call $store_u8 (i64.add (local.get $block) (i64.const 2)) (i32.const 0x5f))
                (call $output_set (i64.add (local.get $block) (i64.const 2)) (i64.const 9)))"#,
            &[("f", "", "output _abcdefgh")],
        ),
        case(
            "[bytes.load-outside] a load outside any block is 0",
            r#"(func (export "f") (local $block i64)
                (local.set $block (call $fill (i32.const 8)))
                (call $number (i64.add
                  (i64.add (call $load_u64 (i64.const 0)) (call $load_u64 (i64.const -1)))
                  (i64.add (call $load_u64 (i64.const 64)) (i64.extend_i32_u (call $load_u8
                    (i64.add (local.get $block) (i64.const 8))))))))"#,
            &[("f", "", "number 0")],
        ),
        case(
            "[bytes.load-across] a u64 load across the end of a block is 0",
            r#"(func (export "f")
                (call $number (call $load_u64 (i64.add (call $fill (i32.const 8)) (i64.const 1)))))"#,
            &[("f", "", "number 0")],
        ),
        case(
            "[bytes.store-outside] a store outside any block, or across an end, changes nothing",
            r#"(func (export "f") (local $block i64) (local $next i64)
                (local.set $block (call $fill (i32.const 9)))
                (local.set $next (call $fill (i32.const 9)))
                (call $store_u64 (i64.const 0) (i64.const -1))
                (call $store_u64 (i64.const -4) (i64.const -1))
                (call $store_u64 (i64.add (local.get $block) (i64.const 2)) (i64.const -1))
                (call $store_u64 (i64.sub (local.get $next) (i64.const 1)) (i64.const -1))
                (call $store_u8 (i64.add (local.get $block) (i64.const 9)) (i32.const 255))
                (call $store_u8 (i64.sub (local.get $block) (i64.const 1)) (i32.const 255))
                (call $put (local.get $block)))"#,
            &[("f", "", "output xxxxxxxxx")],
        ),
        case(
            "[bytes.books] stores around blocks, into freed ones and everywhere else leave all lengths as they are",
            r#"(func (export "f") (local $one i64) (local $freed i64) (local $two i64) (local $at i64)
                (local.set $one (call $fill (i32.const 24)))
                (local.set $freed (call $fill (i32.const 24)))
                (local.set $two (call $fill (i32.const 24)))
                (call $free (local.get $freed))
                (loop $again
                  (if (i32.and (i64.ge_u (local.get $at) (local.get $one))
                        (i64.lt_u (local.get $at) (i64.add (local.get $one) (i64.const 24))))
                    (then)
                    (else (if (i32.and (i64.ge_u (local.get $at) (local.get $two))
                        (i64.lt_u (local.get $at) (i64.add (local.get $two) (i64.const 24))))
                      (then) (else (call $store_u8 (local.get $at) (i32.const 255))))))
                  (br_if $again (i64.lt_u (local.tee $at (i64.add (local.get $at) (i64.const 1))) (i64.const 8192))))
                (if (i64.ne (call $length (local.get $one)) (i64.const 24)) (then unreachable))
                (if (i64.ne (call $length (local.get $freed)) (i64.const 0)) (then unreachable))
                (if (i64.ne (call $length (local.get $two)) (i64.const 24)) (then unreachable))
                (if (i64.ne (call $load_u64 (call $alloc (i64.const 8))) (i64.const 0)) (then unreachable))
                (call $put (local.get $two)))"#,
            &[("f", "", "output xxxxxxxxxxxxxxxxxxxxxxxx")],
        ),
    ])
    .await;
}

#[tokio::test]
async fn whose_block_it_is() {
    check(&[
        case(
            "[owner.output] output_set and error_set leave their blocks to the guest",
            r#"(func (export "f") (local $block i64)
                (local.set $block (call $fill (i32.const 5)))
                (call $put (local.get $block)) (call $error_set (local.get $block)) (call $error_set (i64.const 0))
                (call $number (call $length (local.get $block))))"#,
            &[("f", "", "number 5")],
        ),
        case(
            "[owner.result] a block that the host has made can be freed, once and twice",
            r#"(func (export "f") (local $one i64) (local $two i64)
                (local.set $one (call $config_get (call $input_offset)))
                (local.set $two (call $config_get (i64.const 0)))
                (call $free (local.get $one)) (call $free (local.get $one))
                (if (i64.ne (call $length (local.get $one)) (i64.const 0)) (then unreachable))
                (call $put (local.get $two)))"#,
            &[("f", "greeting", "output of the empty key")],
        ),
        case(
            "[owner.result] it can be written, and left lying",
            r#"(func (export "f") (local $value i64)
                (local.set $value (call $config_get (call $input_offset)))
                (call $store_u8 (local.get $value) (i32.const 72))
                (call $put (local.get $value)))"#,
            &[("f", "greeting", "output Hello"), ("f", "greeting", "output Hello")],
        ),
        case(
            "[owner.late-free] freeing keys late and twice does not hit the values that came after",
            r#"(data (i32.const 0) "greeting")
               (func (export "f") (local $key i64) (local $one i64) (local $two i64)
                (local.set $key (call $text (i32.const 0) (i32.const 8)))
                (local.set $one (call $config_get (local.get $key)))
                (local.set $two (call $config_get (call $text (i32.const 0) (i32.const 8))))
                (call $free (local.get $key)) (call $free (local.get $key))
                (if (i64.ne (call $length (local.get $one)) (i64.const 5)) (then unreachable))
                (call $put (local.get $two)))"#,
            &[("f", "", "output hello")],
        ),
    ])
    .await;
}

/// [argument.unknown] [argument.interior] [argument.freed] Each argument that is an offset is checked.
#[tokio::test]
async fn offsets_as_arguments() {
    let mut host = HostFunctions::<()>::new();
    let user = HostFunction {
        module: USER_MODULE,
        name: "user",
        params: 2,
        returns: false,
        fuel: 0,
        fuel_per_byte: 0,
    };
    host.define(user, |(), _| Box::pin(async { Ok(Vec::new()) }));
    for (name, call) in [
        ("error_set", "(call $error_set (local.get $at))"),
        ("config_get", "(drop (call $config_get (local.get $at)))"),
        ("var_get", "(drop (call $var_get (local.get $at)))"),
        ("var_set", "(call $var_set (local.get $at) (i64.const 0))"),
        ("var_set", "(call $var_set (i64.const 0) (local.get $at))"),
        ("log_trace", "(call $log_trace (local.get $at))"),
        ("log_debug", "(call $log_debug (local.get $at))"),
        ("log_info", "(call $log_info (local.get $at))"),
        ("log_warn", "(call $log_warn (local.get $at))"),
        ("log_error", "(call $log_error (local.get $at))"),
        ("user", "(call $user (local.get $at) (i64.const 0))"),
        ("user", "(call $user (i64.const 0) (local.get $at))"),
    ] {
        let guest = assemble(&format!(
            r#"(import "extism:host/user" "user" (func $user (param i64 i64))) ;; body
            (func $use (param $at i64) {call})
            (func (export "unknown") (call $use (i64.const 5)))
            (func (export "forged") (call $use (i64.const -1)))
            (func (export "interior") (call $use (i64.add (call $input_offset) (i64.const 1))))
            (func (export "freed") (call $free (call $input_offset)) (call $use (call $input_offset)))
            (func (export "zero") (call $use (i64.const 0)))"#
        ));
        let mut rig = rig_with(&guest, &host, (), InstanceLimits::standard(), LogLevel::Error);
        for (export, offset) in [("unknown", 5), ("forged", u64::MAX), ("interior", 4097), ("freed", 4096)] {
            let expected = format!("trap `{name}` was given offset {offset}, where no block starts");
            assert_eq!(rig.call(export, "input").await, expected, "{call}");
        }
        assert_eq!(rig.call("zero", "").await, "output ", "{call}");
    }
}
