;; A command, made anew for each call of it.
(module (memory (export "memory") 0) (func (export "_start")) (func (export "go")))
