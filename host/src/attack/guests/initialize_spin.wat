;; Never comes to its function: the initialiser of a reactor does not end.
(module (func (export "_initialize") (loop $l (br $l))) (func (export "run")))
