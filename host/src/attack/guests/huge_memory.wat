;; Asks for 4 GiB before anything runs.
(module (memory 65536) (func (export "run")))
