;; No attack, but who lives next door: counts its calls, and adds up the numbers up to the one that its input is.
(module
  (import "extism:host/env" "input_load_u64" (func $input (param i64) (result i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u64" (func $store (param i64 i64)))
  (import "extism:host/env" "output_set" (func $output (param i64 i64)))
  (global $calls (mut i64) (i64.const 0))
  (func (export "work") (local $left i64) (local $sum i64) (local $block i64)
    (global.set $calls (i64.add (global.get $calls) (i64.const 1)))
    (local.set $left (call $input (i64.const 0)))
    (loop $next
      (local.set $sum (i64.add (local.get $sum) (local.get $left)))
      (br_if $next (i64.ne (i64.const 0) (local.tee $left (i64.sub (local.get $left) (i64.const 1))))))
    (local.set $block (call $alloc (i64.const 16)))
    (call $store (local.get $block) (local.get $sum))
    (call $store (i64.add (local.get $block) (i64.const 8)) (global.get $calls))
    (call $output (local.get $block) (i64.const 16))))
