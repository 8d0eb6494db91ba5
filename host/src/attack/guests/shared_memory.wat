;; A feature that is off: memory that threads share.
(module (memory 1 1 shared) (func (export "run")))
