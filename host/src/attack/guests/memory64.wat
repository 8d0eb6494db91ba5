;; A feature that is off: memory with 64-bit addresses.
(module (memory i64 1) (func (export "run")))
