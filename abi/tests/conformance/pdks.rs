//! Uses of the ABI that are peculiar to the PDKs of single languages.

use crate::guest::{case, check};

#[tokio::test]
async fn what_pdks_rely_on() {
    check(&[
        case(
            "[pdk.own-names] a guest may export functions of any name: they are its own",
            r#"(func (export "malloc") (param i32) (result i32) unreachable)
               (func (export "free") (param i32) unreachable)
               (func (export "alloc") (param i64) (result i64) unreachable)
               (func (export "output_set") (param i64 i64) unreachable)
               (func (export "reset") unreachable)
               (func (export "f") (call $free (call $alloc (i64.const 5))) (call $put (call $input_offset)))"#,
            &[("f", "own", "output own"), ("reset", "", "trap wasm `unreachable` instruction executed")],
        ),
        case(
            "[pdk.results] functions without and with a result in one module",
            r#"(func (export "unit") (call $put (call $input_offset)))
               (func (export "code") (result i32) (call $put (call $input_offset)) (i32.const 0))"#,
            &[("unit", "same", "output same"), ("code", "same", "output same")],
        ),
        case(
            "[pdk.byte-wise] a block is written and read byte by byte",
            r#"(func (export "f") (local $i i64) (local $block i64)
                (local.set $block (call $alloc (call $input_length)))
                (loop $next
                  (call $store_u8 (i64.add (local.get $block) (local.get $i))
                    (i32.sub (call $load_u8 (i64.add (call $input_offset) (local.get $i))) (i32.const 32)))
                  (local.set $i (i64.add (local.get $i) (i64.const 1)))
                  (br_if $next (i64.lt_u (local.get $i) (call $input_length))))
                (call $put (local.get $block)))"#,
            &[("f", "assemblyscript", "output ASSEMBLYSCRIPT")],
        ),
        case(
            "[pdk.byte-wise] words first, and the tail byte by byte",
            r#"(func (export "f") (local $i i64) (local $block i64) (local $length i64)
                (local.set $length (call $length (call $input_offset)))
                (local.set $block (call $alloc (local.get $length)))
                (block $tail (loop $words
                  (br_if $tail (i64.lt_u (i64.sub (local.get $length) (local.get $i)) (i64.const 8)))
                  (call $store_u64 (i64.add (local.get $block) (local.get $i)) (call $input_load_u64 (local.get $i)))
                  (local.set $i (i64.add (local.get $i) (i64.const 8)))
                  (br $words)))
                (block $done (loop $bytes
                  (br_if $done (i64.ge_u (local.get $i) (local.get $length)))
                  (call $store_u8 (i64.add (local.get $block) (local.get $i)) (call $input_load_u8 (local.get $i)))
                  (local.set $i (i64.add (local.get $i) (i64.const 1)))
                  (br $bytes)))
                (call $put (local.get $block)))"#,
            &[
                ("f", "eight...and a tail", "output eight...and a tail"),
                ("f", "short", "output short"),
                ("f", "sixteen bytes ..", "output sixteen bytes .."),
            ],
        ),
        case(
            "[pdk.input-block] C takes the length with length_unsafe, outputs a part, and frees the block at once",
            r#"(func (export "f") (local $in i64) (local $length i64)
                (local.set $in (call $input_offset))
                (local.set $length (call $length_unsafe (local.get $in)))
                (if (i64.ne (call $load_u64 (local.get $in)) (call $input_load_u64 (i64.const 0))) (then unreachable))
                (call $output_set (i64.add (local.get $in) (i64.const 2)) (i64.sub (local.get $length) (i64.const 4)))
                (call $free (local.get $in)))"#,
            &[("f", "<<the middle>>", "output the middle")],
        ),
        case(
            "[pdk.empty-error] only the code tells of a failure without a text",
            r#"(func (export "f") (result i32) (call $error_set (call $alloc (i64.const 0))) (i32.const -1))
               (func (export "zero") (result i32) (call $error_set (call $alloc (i64.const 0))) (i32.const 0))"#,
            &[("f", "", "guest -1"), ("zero", "", "output ")],
        ),
        case(
            "[owner.late-free] Go frees a key when its function returns, long after the host did",
            r#"(data (i32.const 0) "greeting")
               (func $get (result i64) (local $key i64) (local $value i64)
                (local.set $key (call $text (i32.const 0) (i32.const 8)))
                (local.set $value (call $config_get (local.get $key)))
                (call $free (local.get $key))
                (local.get $value))
               (func (export "f") (local $one i64) (local $two i64)
                (local.set $one (call $get)) (local.set $two (call $get))
                (call $var_set (i64.const 0) (local.get $one))
                (call $free (local.get $one))
                (call $put (local.get $two)))"#,
            &[("f", "", "output hello")],
        ),
    ])
    .await;
}
