//! Extism memory, input and output, edge by edge.

use crate::guest::{case, check};

#[tokio::test]
async fn blocks() {
    check(&[
        case(
            "alloc(0) is 0",
            r#"(func (export "f") (call $number (call $alloc (i64.const 0))))"#,
            &[("f", "", "number 0")],
        ),
        case(
            "a block has the length it was asked for",
            r#"(func (export "f") (call $number (call $length (call $alloc (i64.const 77)))))"#,
            &[("f", "", "number 77")],
        ),
        case(
            "the top bit of an offset is clear, and it is below 2^53",
            r#"(func (export "f") (call $number (i64.shr_u (call $alloc (i64.const 1)) (i64.const 53))))"#,
            &[("f", "", "number 0")],
        ),
        case(
            "alloc(2^64 - 1) fails and does not wrap",
            r#"(func (export "f") (drop (call $alloc (i64.const -1))))"#,
            &[("f", "", "limit bytes of Extism memory 18446744073709551615 > 134217728")],
        ),
        case(
            "alloc(2^64 - 12) fails and does not wrap",
            r#"(func (export "f") (drop (call $alloc (i64.const -12))))"#,
            &[("f", "", "limit bytes of Extism memory 18446744073709551604 > 134217728")],
        ),
        case(
            "alloc(2^32 + 10) fails and does not wrap",
            r#"(func (export "f") (drop (call $alloc (i64.const 4294967306))))"#,
            &[("f", "", "limit bytes of Extism memory 4294967306 > 134217728")],
        ),
        case(
            "a block is zeroed, also after others were written and freed",
            r#"(func (export "f") (local $i i32)
                (loop $again
                  (call $free (call $fill (i32.const 64)))
                  (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 200))))
                (call $number (call $load_u64 (call $alloc (i64.const 64)))))"#,
            &[("f", "", "number 0")],
        ),
        case(
            "memory is given back when the call ends",
            r#"(func (export "f") (drop (call $alloc (i64.const 100000000))))"#,
            &[("f", "", "output "), ("f", "", "output "), ("f", "", "output ")],
        ),
        case(
            "blocks of an earlier call are gone",
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
            "free of 0, of unknown, interior and freed offsets does nothing",
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
            "a second free does not hit a later block",
            r#"(func (export "f") (local $old i64) (local $new i64)
                (local.set $old (call $fill (i32.const 10)))
                (call $free (local.get $old))
                (local.set $new (call $fill (i32.const 10)))
                (call $free (local.get $old))
                (call $put (local.get $new)))"#,
            &[("f", "", "output xxxxxxxxxx")],
        ),
        case(
            "a freed block can still be read",
            r#"(func (export "f") (local $block i64)
                (local.set $block (call $fill (i32.const 8)))
                (call $free (local.get $block))
                (call $number (call $load_u64 (local.get $block))))"#,
            &[("f", "", "number 8680820740569200760")],
        ),
        case(
            "length of an interior offset is 0",
            r#"(func (export "f")
                (call $number (call $length (i64.add (call $alloc (i64.const 9)) (i64.const 1)))))"#,
            &[("f", "", "number 0")],
        ),
        case(
            "length of a freed block is 0",
            r#"(func (export "f") (local $block i64)
                (local.set $block (call $alloc (i64.const 9)))
                (call $free (local.get $block))
                (call $number (call $length (local.get $block))))"#,
            &[("f", "", "number 0")],
        ),
        case(
            "length of offset 0 and of forged offsets is 0",
            r#"(func (export "f") (call $number (i64.add (call $length (i64.const 0))
                (i64.add (call $length (i64.const -1)) (call $length (i64.const 9223372036854775807))))))"#,
            &[("f", "", "number 0")],
        ),
        case(
            "length_unsafe answers the same for a block",
            r#"(func (export "f") (call $number (call $length_unsafe (call $alloc (i64.const 33)))))"#,
            &[("f", "", "number 33")],
        ),
        case(
            "a loop of alloc and free can go on past the ceiling",
            r#"(func (export "f") (local $i i32)
                (loop $again
                  (call $free (call $alloc (i64.const 1000000)))
                  (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 300)))))"#,
            &[("f", "", "output ")],
        ),
    ])
    .await;
}

#[tokio::test]
async fn loads_and_stores() {
    check(&[
        case(
            "load_u8 extends with zeros",
            r#"(func (export "f") (local $block i64)
                (local.set $block (call $alloc (i64.const 1)))
                (call $store_u8 (local.get $block) (i32.const 255))
                (call $number (i64.extend_i32_s (call $load_u8 (local.get $block)))))"#,
            &[("f", "", "number 255")],
        ),
        case(
            "store_u8 takes the low 8 bits",
            r#"(func (export "f") (local $block i64)
                (local.set $block (call $alloc (i64.const 2)))
                (call $store_u8 (local.get $block) (i32.const 0x1261))
                (call $store_u8 (i64.add (local.get $block) (i64.const 1)) (i32.const -159))
                (call $put (local.get $block)))"#,
            &[("f", "", "output aa")],
        ),
        case(
            "u64 access is little endian and needs no alignment",
            r#"(func (export "f") (local $block i64)
                (local.set $block (call $alloc (i64.const 12)))
                (call $store_u64 (i64.add (local.get $block) (i64.const 3)) (i64.const 0x6867666564636261))
                (call $store_u8 (i64.add (local.get $block) (i64.const 2)) (i32.const 0x5f))
                (call $output_set (i64.add (local.get $block) (i64.const 2)) (i64.const 9)))"#,
            &[("f", "", "output _abcdefgh")],
        ),
        case(
            "a load outside any block is 0",
            r#"(func (export "f") (local $block i64)
                (local.set $block (call $fill (i32.const 8)))
                (call $number (i64.add
                  (i64.add (call $load_u64 (i64.const 0)) (call $load_u64 (i64.const -1)))
                  (i64.add (call $load_u64 (i64.const 64)) (i64.extend_i32_u (call $load_u8
                    (i64.add (local.get $block) (i64.const 8))))))))"#,
            &[("f", "", "number 0")],
        ),
        case(
            "a u64 load across the end of a block is 0",
            r#"(func (export "f")
                (call $number (call $load_u64 (i64.add (call $fill (i32.const 8)) (i64.const 1)))))"#,
            &[("f", "", "number 0")],
        ),
        case(
            "a store outside any block, or across an end, changes nothing",
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
    ])
    .await;
}

#[tokio::test]
async fn input() {
    check(&[
        case(
            "the input is a block like any other",
            r#"(func (export "f") (call $output_set (call $input_offset) (call $length (call $input_offset))))"#,
            &[("f", "hello", "output hello"), ("f", "other", "output other"), ("f", "", "output ")],
        ),
        case(
            "length_unsafe and loads work on the input block",
            r#"(func (export "f") (call $number (i64.add (call $length_unsafe (call $input_offset))
                (i64.extend_i32_u (call $load_u8 (call $input_offset))))))"#,
            &[("f", "ab", "number 99")],
        ),
        case(
            "an empty input has offset and length 0",
            r#"(func (export "f") (call $number (i64.or (call $input_offset) (call $input_length))))"#,
            &[("f", "", "number 0")],
        ),
        case(
            "input_length",
            r#"(func (export "f") (call $number (call $input_length)))"#,
            &[("f", "hello", "number 5")],
        ),
        case(
            "input_load_u8 takes an index; past the end is 0",
            r#"(func (export "f") (call $number (i64.add
                (i64.extend_i32_u (call $input_load_u8 (i64.const 4)))
                (i64.extend_i32_u (i32.add (call $input_load_u8 (i64.const 5)) (call $input_load_u8 (i64.const -1)))))))"#,
            &[("f", "hello", "number 111"), ("f", "", "number 0")],
        ),
        case(
            "input_load_u64 reads no part of a number",
            r#"(func (export "f") (call $number (call $input_load_u64 (i64.const 1))))
               (func (export "wraps") (call $number (call $input_load_u64 (i64.const -4))))"#,
            &[
                ("f", "_xxxxxxxx", "number 8680820740569200760"),
                ("f", "_xxxxxxx", "number 0"),
                ("wraps", "_xxxxxxxx", "number 0"),
            ],
        ),
        case(
            "a freed input has length 0 and loads as 0",
            r#"(func (export "f") (call $free (call $input_offset)) (call $number (i64.add (call $input_length)
                (i64.add (call $input_load_u64 (i64.const 0)) (i64.extend_i32_u (call $input_load_u8 (i64.const 0)))))))"#,
            &[("f", "xxxxxxxxx", "number 0")],
        ),
    ])
    .await;
}

#[tokio::test]
async fn output_and_error() {
    check(&[
        case(
            "the last output counts",
            r#"(func (export "f") (call $put (call $fill (i32.const 3))) (call $put (call $fill (i32.const 2))))"#,
            &[("f", "", "output xx")],
        ),
        case(
            "output_set(0, 0) clears",
            r#"(func (export "f") (call $put (call $fill (i32.const 3))) (call $output_set (i64.const 0) (i64.const 0)))"#,
            &[("f", "", "output ")],
        ),
        case(
            "output_set(p, 0) is an empty output",
            r#"(func (export "f") (call $output_set (call $fill (i32.const 3)) (i64.const 0)))"#,
            &[("f", "", "output ")],
        ),
        case(
            "an output may be a part of a block",
            r#"(func (export "f") (call $output_set (i64.add (call $input_offset) (i64.const 1)) (i64.const 3)))"#,
            &[("f", "hello", "output ell")],
        ),
        case(
            "an output past the end of a block is a fault",
            r#"(func (export "f") (call $output_set (call $input_offset) (i64.const 6)))"#,
            &[("f", "hello", "trap `output_set` was given 6 bytes at offset 4096, which no block holds")],
        ),
        case(
            "an output whose end wraps is a fault",
            r#"(func (export "f") (call $output_set (i64.add (call $input_offset) (i64.const 2)) (i64.const -1)))"#,
            &[(
                "f",
                "hello",
                "trap `output_set` was given 18446744073709551615 bytes at offset 4098, which no block holds",
            )],
        ),
        case(
            "an output outside any block is a fault",
            r#"(func (export "f") (call $output_set (i64.const 0) (i64.const 1)))"#,
            &[("f", "", "trap `output_set` was given 1 bytes at offset 0, which no block holds")],
        ),
        case(
            "output_set is a snapshot: what happens to the block afterwards does not matter",
            r#"(func (export "f") (local $block i64)
                (local.set $block (call $fill (i32.const 5)))
                (call $put (local.get $block))
                (call $store_u8 (local.get $block) (i32.const 97))
                (call $free (local.get $block)))"#,
            &[("f", "", "output xxxxx")],
        ),
        case(
            "an output does not stay for the next call",
            r#"(func (export "f") (call $put (call $fill (i32.const 3)))) (func (export "g"))"#,
            &[("f", "", "output xxx"), ("g", "", "output ")],
        ),
        case(
            "error_set is a snapshot: freeing the block does not hide the error",
            r#"(func (export "f") (call $error_set (call $input_offset)) (call $free (call $input_offset)))"#,
            &[("f", "broken", "guest -1 [broken]")],
        ),
        case(
            "error_set(0) clears",
            r#"(func (export "f") (call $error_set (call $input_offset)) (call $error_set (i64.const 0)))"#,
            &[("f", "broken", "output ")],
        ),
        case(
            "error_set of an interior offset is a fault",
            r#"(func (export "f") (call $error_set (i64.add (call $input_offset) (i64.const 1))))"#,
            &[("f", "broken", "trap `error_set` was given offset 4097, where no block starts")],
        ),
        case(
            "error_set of an unknown offset is a fault, and an earlier error is told with it",
            r#"(func (export "f") (call $error_set (call $input_offset)) (call $error_set (i64.const 7)))"#,
            &[("f", "first", "trap `error_set` was given offset 7, where no block starts [first]")],
        ),
        case(
            "an error that is not UTF-8 is decoded as far as it goes",
            r#"(data (i32.const 0) "bad \ff") (func (export "f") (call $error_set (call $text (i32.const 0) (i32.const 5))))"#,
            &[("f", "", "guest -1 [bad \u{fffd}]")],
        ),
    ])
    .await;
}
