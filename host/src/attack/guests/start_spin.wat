;; Never comes to its function: the start function does not end.
(module (func $spin (loop $l (br $l))) (start $spin) (func (export "run")))
