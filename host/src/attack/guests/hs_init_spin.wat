;; Never comes to its function: the initialiser of the Haskell run time does not end.
(module (func (export "hs_init") (param i32 i32) (loop $l (br $l))) (func (export "run")))
