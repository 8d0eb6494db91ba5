;; Never comes to its function: the constructors do not end.
(module (func (export "__wasm_call_ctors") (loop $l (br $l))) (func (export "run")))
