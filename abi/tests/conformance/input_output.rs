//! Input, output and error of a call.

use crate::guest::{case, check};

#[tokio::test]
async fn input() {
    check(&[
        case(
            "[input.block] the input is a block like any other",
            r#"(func (export "f") (call $output_set (call $input_offset) (call $length (call $input_offset))))"#,
            &[("f", "hello", "output hello"), ("f", "other", "output other"), ("f", "", "output ")],
        ),
        case(
            "[pdk.input-block] length_unsafe and loads work on the input block",
            r#"(func (export "f") (call $number (i64.add (call $length_unsafe (call $input_offset))
                (i64.extend_i32_u (call $load_u8 (call $input_offset))))))"#,
            &[("f", "ab", "number 99")],
        ),
        case(
            "[input.empty] an empty input has offset and length 0",
            r#"(func (export "f") (call $number (i64.or (call $input_offset) (call $input_length))))"#,
            &[("f", "", "number 0")],
        ),
        case(
            "input_length",
            r#"(func (export "f") (call $number (call $input_length)))"#,
            &[("f", "hello", "number 5")],
        ),
        case(
            "[input.index] [input.past-end] input_load_u8 takes an index; past the end is 0",
            r#"(func (export "f") (call $number (i64.add
                (i64.extend_i32_u (call $input_load_u8 (i64.const 4)))
                (i64.extend_i32_u (i32.add (call $input_load_u8 (i64.const 5)) (call $input_load_u8 (i64.const -1)))))))"#,
            &[("f", "hello", "number 111"), ("f", "", "number 0")],
        ),
        case(
            "[input.no-part] input_load_u64 reads no part of a number",
            r#"(func (export "f") (call $number (call $input_load_u64 (i64.const 1))))
               (func (export "wraps") (call $number (call $input_load_u64 (i64.const -4))))"#,
            &[
                ("f", "_xxxxxxxx", "number 8680820740569200760"),
                ("f", "_xxxxxxx", "number 0"),
                ("wraps", "_xxxxxxxx", "number 0"),
            ],
        ),
        case(
            "[input.freed] a freed input has length 0 and loads as 0",
            r#"(func (export "f") (call $free (call $input_offset)) (call $number (i64.add (call $input_length)
                (i64.add (call $input_load_u64 (i64.const 0)) (i64.extend_i32_u (call $input_load_u8 (i64.const 0)))))))"#,
            &[("f", "xxxxxxxxx", "number 0")],
        ),
        case(
            "[input.block] it can be written",
            r#"(func (export "f") (call $store_u8 (call $input_offset) (i32.const 72))
                (if (i32.ne (call $input_load_u8 (i64.const 0)) (i32.const 72)) (then unreachable))
                (call $put (call $input_offset)))"#,
            &[("f", "hello", "output Hello")],
        ),
        case(
            "[call.nothing-stays] nothing of an earlier input can be seen",
            r#"(func (export "f") (call $number (i64.or (call $load_u64 (i64.const 4096))
                (i64.or (call $input_length) (call $input_load_u64 (i64.const 0))))))"#,
            &[("f", "????????", "number 4557430888798830399"), ("f", "", "number 0")],
        ),
    ])
    .await;
}

#[tokio::test]
async fn output_and_error() {
    check(&[
        case(
            "[output.last] the last output counts",
            r#"(func (export "f") (call $put (call $fill (i32.const 3))) (call $put (call $fill (i32.const 2))))"#,
            &[("f", "", "output xx")],
        ),
        case(
            "[output.empty] output_set(0, 0) clears",
            r#"(func (export "f") (call $put (call $fill (i32.const 3))) (call $output_set (i64.const 0) (i64.const 0)))"#,
            &[("f", "", "output ")],
        ),
        case(
            "[output.empty] output_set(p, 0) is an empty output",
            r#"(func (export "f") (call $output_set (call $fill (i32.const 3)) (i64.const 0)))"#,
            &[("f", "", "output ")],
        ),
        case(
            "[output.part] an output may be a part of a block",
            r#"(func (export "f") (call $output_set (i64.add (call $input_offset) (i64.const 1)) (i64.const 3)))"#,
            &[("f", "hello", "output ell")],
        ),
        case(
            "[output.past-end] an output past the end of a block is a fault",
            r#"(func (export "f") (call $output_set (call $input_offset) (i64.const 6)))"#,
            &[("f", "hello", "trap `output_set` was given 6 bytes at offset 4096, which no block holds")],
        ),
        case(
            "[output.wraps] an output whose end wraps is a fault",
            r#"(func (export "f") (call $output_set (i64.add (call $input_offset) (i64.const 2)) (i64.const -1)))"#,
            &[(
                "f",
                "hello",
                "trap `output_set` was given 18446744073709551615 bytes at offset 4098, which no block holds",
            )],
        ),
        case(
            "[output.outside] an output outside any block is a fault",
            r#"(func (export "f") (call $output_set (i64.const 0) (i64.const 1)))"#,
            &[("f", "", "trap `output_set` was given 1 bytes at offset 0, which no block holds")],
        ),
        case(
            "[output.kept] of a block that is freed, the output is what it had then",
            r#"(func (export "f") (local $block i64)
                (local.set $block (call $fill (i32.const 5)))
                (call $put (local.get $block))
                (call $store_u8 (local.get $block) (i32.const 97))
                (call $free (local.get $block))
                (call $store_u8 (local.get $block) (i32.const 98))
                (call $free (local.get $block)))"#,
            &[("f", "", "output axxxx")],
        ),
        case(
            "[call.nothing-stays] an output does not stay for the next call",
            r#"(func (export "f") (call $put (call $fill (i32.const 3)))) (func (export "g"))"#,
            &[("f", "", "output xxx"), ("g", "", "output ")],
        ),
        case(
            "[error.kept] freeing the block does not hide the error, and the error is what it had then",
            r#"(func (export "f") (call $error_set (call $input_offset))
                (call $store_u8 (call $input_offset) (i32.const 66))
                (call $free (call $input_offset)) (call $store_u8 (i64.const 4096) (i32.const 67)))"#,
            &[("f", "broken", "guest -1 [Broken]")],
        ),
        case(
            "[error.clear] error_set(0) clears",
            r#"(func (export "f") (call $error_set (call $input_offset)) (call $error_set (i64.const 0)))"#,
            &[("f", "broken", "output ")],
        ),
        case(
            "error_set of an interior offset is a fault",
            r#"(func (export "f") (call $error_set (i64.add (call $input_offset) (i64.const 1))))"#,
            &[("f", "broken", "trap `error_set` was given offset 4097, where no block starts")],
        ),
        case(
            "[result.fault] error_set of an unknown offset is a fault, and an earlier error is told with it",
            r#"(func (export "f") (call $error_set (call $input_offset)) (call $error_set (i64.const 7)))"#,
            &[("f", "first", "trap `error_set` was given offset 7, where no block starts [first]")],
        ),
        case(
            "[error.lossy] an error that is not UTF-8 is decoded as far as it goes",
            r#"(data (i32.const 0) "bad \ff") (func (export "f") (call $error_set (call $text (i32.const 0) (i32.const 5))))"#,
            &[("f", "", "guest -1 [bad \u{fffd}]")],
        ),
        case(
            "[output.none] without output_set there is none",
            r#"(func (export "f") (drop (call $fill (i32.const 3))))"#,
            &[("f", "input", "output ")],
        ),
        case(
            "[output.empty] a length of 0 clears whatever the offset is",
            r#"(func (export "f") (call $put (call $fill (i32.const 3))) (call $output_set (i64.const -1) (i64.const 0)))"#,
            &[("f", "", "output ")],
        ),
        case(
            "[output.past-end] one byte past the end of an interior range is a fault",
            r#"(func (export "f") (call $output_set (i64.add (call $input_offset) (i64.const 4)) (i64.const 2)))
               (func (export "end") (call $output_set (i64.add (call $input_offset) (i64.const 5)) (i64.const 1)))"#,
            &[
                ("f", "hello", "trap `output_set` was given 2 bytes at offset 4100, which no block holds"),
                ("end", "hello", "trap `output_set` was given 1 bytes at offset 4101, which no block holds"),
            ],
        ),
        case(
            "[output.wraps] a range that wraps back into the block is a fault",
            r#"(func (export "f") (call $output_set (i64.add (call $input_offset) (i64.const 4)) (i64.const -2)))"#,
            &[(
                "f",
                "hello",
                "trap `output_set` was given 18446744073709551614 bytes at offset 4100, which no block holds",
            )],
        ),
        case(
            "[output.outside] an unknown offset is a fault",
            r#"(func (export "f") (call $output_set (i64.const 99) (i64.const 1)))"#,
            &[("f", "", "trap `output_set` was given 1 bytes at offset 99, which no block holds")],
        ),
        case(
            "[output.freed] a freed block is a fault, though it can be read",
            r#"(func (export "f") (call $free (call $input_offset)) (call $output_set (call $input_offset) (i64.const 1)))"#,
            &[("f", "hello", "trap `output_set` was given 1 bytes at offset 4096, which no block holds")],
        ),
        case(
            "[output.late] the output is read when the function is over: what is stored after output_set is in it",
            r#"(func (export "f") (call $put (call $input_offset)) (call $store_u8 (call $input_offset) (i32.const 72)))
               (func (export "part") (call $output_set (i64.add (call $input_offset) (i64.const 1)) (i64.const 8))
                (call $store_u64 (i64.add (call $input_offset) (i64.const 1)) (i64.const 77)))
               (func (export "exit") (call $put (call $input_offset))
                (call $store_u8 (call $input_offset) (i32.const 72)) (call $proc_exit (i32.const 0)))"#,
            &[
                ("f", "hello", "output Hello"),
                ("part", "123456789abc", "number 77"),
                ("exit", "hello", "output Hello"),
            ],
        ),
        case(
            "[output.kept] the host frees keys, values and log lines: their bytes are kept as well",
            r#"(func (export "key") (call $put (call $input_offset)) (drop (call $config_get (call $input_offset))))
               (func (export "value") (call $output_set (i64.add (call $input_offset) (i64.const 1)) (i64.const 3))
                (call $var_set (i64.const 0) (call $input_offset)))
               (func (export "line") (call $error_set (call $input_offset)) (call $log_info (call $input_offset)))"#,
            &[
                ("key", "key", "output key"),
                ("value", "hello", "output ell"),
                ("line", "line", "guest -1 [line]"),
            ],
        ),
        case(
            "[output.kept] what is freed before another block is named has no part in it",
            r#"(func (export "f") (call $put (call $input_offset)) (call $free (call $input_offset))
                (call $put (call $fill (i32.const 2))))
               (func (export "none") (call $put (call $input_offset)) (call $free (call $input_offset))
                (call $output_set (i64.const 0) (i64.const 0)))"#,
            &[("f", "first", "output xx"), ("none", "first", "output ")],
        ),
        case(
            "[error.last] the last error counts",
            r#"(func (export "f") (call $error_set (call $input_offset)) (call $error_set (call $fill (i32.const 2))))"#,
            &[("f", "first", "guest -1 [xx]")],
        ),
        case(
            "[error.late] the error is read when the function is over, also by a trap or an exit",
            r#"(func $say (call $error_set (call $input_offset)) (call $store_u8 (call $input_offset) (i32.const 66)))
               (func (export "f") (call $say))
               (func (export "trap") (call $say) unreachable)
               (func (export "fault") (call $say) (call $error_set (i64.const 7)))
               (func (export "exit") (call $say) (call $proc_exit (i32.const 3)))"#,
            &[
                ("f", "broken", "guest -1 [Broken]"),
                ("trap", "broken", "trap wasm `unreachable` instruction executed [Broken]"),
                ("fault", "broken", "trap `error_set` was given offset 7, where no block starts [Broken]"),
                ("exit", "broken", "exit 3 [Broken]"),
            ],
        ),
        case(
            "[error.set] output and error can both be set",
            r#"(func (export "f") (result i32) (call $put (call $input_offset)) (call $error_set (call $input_offset)) (i32.const 0))"#,
            &[("f", "both", "guest -1 [both]"), ("f", "", "output ")],
        ),
    ])
    .await;
}
