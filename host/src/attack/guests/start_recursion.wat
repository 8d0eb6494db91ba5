;; Never comes to its function: the start function calls itself.
(module (func $f (call $f)) (start $f) (func (export "run")))
