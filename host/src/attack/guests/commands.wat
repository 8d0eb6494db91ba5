;; Calls a command of another module without end: each call makes an instance.
(module (import "command" "go" (func $go)) (func (export "run") (loop $l (call $go) (br $l))))
