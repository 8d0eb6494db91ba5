;; One half of a circle of modules.
(module (import "b" "f" (func $f)) (func (export "f") (call $f)) (func (export "run") (call $f)))
