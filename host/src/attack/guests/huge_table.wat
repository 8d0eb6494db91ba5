;; Asks for a table of ten million elements before anything runs.
(module (table 10000000 funcref) (func (export "run")))
