;; Sets an error, and then ends in another way.
(module
  (import "extism:host/env" "input_offset" (func $input (result i64)))
  (import "extism:host/env" "error_set" (func $error (param i64)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "trap") (call $error (call $input)) unreachable)
  (func (export "spin") (call $error (call $input)) (loop $l (br $l)))
  (func (export "exit") (call $error (call $input)) (call $exit (i32.const 0)))
  (func (export "exit_start") (call $error (call $input)) (call $exit (i32.const -2147483648))))
