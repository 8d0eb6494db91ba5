;; Plays scripts of host calls. An operation has 32 bytes: call, result a, plus a (i64), unused, result b, plus b (i64).
;; They begin at 4096; results, eight bytes each, at 16384, where the first is always 0. The rest is filled in by script.rs.
(module
  ;; imports
  (memory (export "memory") 1)
  (global $next (mut i32) (i32.const 0))
  (global $end (mut i32) (i32.const 0))

  (func $result_at (param $number i32) (result i32)
    (i32.add (i32.const 16384) (i32.shl (local.get $number) (i32.const 3))))
  (func $operand (param $at i32) (result i64)
    (i64.add (i64.load (call $result_at (i32.load offset=4 (local.get $at)))) (i64.load offset=8 (local.get $at))))

  (func (export "load") (local $i i32)
    (global.set $next (i32.const 0))
    (global.set $end (i32.wrap_i64 (i64.shr_u (call $input_length) (i64.const 5))))
    (block $done (loop $again
      (br_if $done (i64.ge_u (i64.extend_i32_u (local.get $i)) (call $input_length)))
      (i64.store offset=4096 (local.get $i) (call $input_load_u64 (i64.extend_i32_u (local.get $i))))
      (local.set $i (i32.add (local.get $i) (i32.const 8)))
      (br $again))))

  (func (export "run") (result i32) (local $at i32) (local $call i32) (local $a i64) (local $b i64) (local $result i64)
    (loop $again
      (if (i32.ge_u (global.get $next) (global.get $end)) (then (return (i32.const 0))))
      (local.set $at (i32.add (i32.const 4096) (i32.shl (global.get $next) (i32.const 5))))
      (local.set $call (i32.load (local.get $at)))
      (local.set $a (call $operand (local.get $at)))
      (local.set $b (call $operand (i32.add (local.get $at) (i32.const 16))))
      (local.set $result (i64.const 0))
      (global.set $next (i32.add (global.get $next) (i32.const 1)))
      ;; arms
      (i64.store (call $result_at (global.get $next)) (local.get $result))
      (br $again))
    (unreachable))

  (func (export "results") (local $block i64) (local $i i32)
    (local.set $block (call $alloc (i64.shl (i64.extend_i32_u (global.get $next)) (i64.const 3))))
    (block $done (loop $again
      (br_if $done (i32.ge_u (local.get $i) (global.get $next)))
      (call $store_u64
        (i64.add (local.get $block) (i64.shl (i64.extend_i32_u (local.get $i)) (i64.const 3)))
        (i64.load (call $result_at (i32.add (local.get $i) (i32.const 1)))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $again)))
    (call $output_set (local.get $block) (i64.shl (i64.extend_i32_u (global.get $next)) (i64.const 3)))))
