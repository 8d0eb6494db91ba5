;; The other half.
(module (import "a" "f" (func $f)) (func (export "f") (call $f)))
