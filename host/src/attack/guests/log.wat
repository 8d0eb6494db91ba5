;; Logs: too much, too long, and what a terminal would obey.
(module
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "input_offset" (func $input (result i64)))
  (import "extism:host/env" "log_error" (func $log (param i64)))
  (import "extism:host/env" "log_warn" (func $warn (param i64)))
  (func (export "flood") (loop $l (call $log (call $alloc (i64.const 10))) (br $l)))
  (func (export "long") (call $log (call $alloc (i64.const 0x6400000))))
  (func (export "longer") (call $log (call $alloc (i64.const 0x40000000))))
  (func (export "line") (call $warn (call $input))))
