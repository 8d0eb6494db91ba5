;; Floods the variables: many, large, with long names, and over and over.
(module
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u64" (func $store (param i64 i64)))
  (import "extism:host/env" "var_set" (func $set (param i64 i64)))
  ;; A key of 8 letters for a number.
  (func $key (param $n i64) (result i64) (local $block i64)
    (local.set $block (call $alloc (i64.const 8)))
    (call $store (local.get $block)
      (i64.or (i64.and (local.get $n) (i64.const 0x3f3f3f3f3f3f3f3f)) (i64.const 0x4040404040404040)))
    (local.get $block))
  (func $flood (param $bytes i64) (local $n i64)
    (loop $l
      (local.set $n (i64.add (local.get $n) (i64.const 1)))
      ;; Spread over the six low bits of three letters.
      (call $set
        (call $key (i64.or (i64.or (i64.and (local.get $n) (i64.const 63))
          (i64.shl (i64.and (i64.shr_u (local.get $n) (i64.const 6)) (i64.const 63)) (i64.const 8)))
          (i64.shl (i64.and (i64.shr_u (local.get $n) (i64.const 12)) (i64.const 63)) (i64.const 16))))
        (call $alloc (local.get $bytes)))
      (br $l)))
  (func (export "count") (call $flood (i64.const 1)))
  (func (export "bytes") (call $flood (i64.const 16384)))
  (func (export "large") (call $set (call $key (i64.const 1)) (call $alloc (i64.const 0x200000))))
  (func (export "long_key") (call $set (call $alloc (i64.const 0x200000)) (call $alloc (i64.const 1))))
  (func (export "over_and_over")
    (loop $l (call $set (call $key (i64.const 1)) (call $alloc (i64.const 1000))) (br $l))))
