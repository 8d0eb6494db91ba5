//! WASI preview 1, and that there is nothing in it.

use hm_abi::{HostFunctions, InstanceLimits, LogLevel};

use crate::guest::{case, check, rig_with};

#[tokio::test]
async fn wasi_is_there_and_empty() {
    check(&[
        case(
            "[wasi.arguments] there are none, and asking for them is no error",
            r#"(import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
               (import "wasi_snapshot_preview1" "args_get" (func $get (param i32 i32) (result i32)))
               ;; body
               (func (export "f")
                 (i64.store (i32.const 0) (i64.const -1))
                 (if (call $sizes (i32.const 0) (i32.const 4)) (then unreachable))
                 (if (call $get (i32.const 16) (i32.const 24)) (then unreachable))
                 (call $number (i64.load (i32.const 0))))"#,
            &[("f", "", "number 0")],
        ),
        case(
            "[wasi.environment] there is none, and asking for it is no error",
            r#"(import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
               (import "wasi_snapshot_preview1" "environ_get" (func $get (param i32 i32) (result i32)))
               ;; body
               (func (export "f")
                 (i64.store (i32.const 0) (i64.const -1))
                 (if (call $sizes (i32.const 0) (i32.const 4)) (then unreachable))
                 (if (call $get (i32.const 16) (i32.const 24)) (then unreachable))
                 (call $number (i64.load (i32.const 0))))"#,
            &[("f", "", "number 0")],
        ),
        case(
            "[wasi.directories] no directories: fd_prestat_get(3) is BADF",
            r#"(import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
               ;; body
               (func (export "f") (call $number (i64.extend_i32_u (call $prestat (i32.const 3) (i32.const 0)))))"#,
            &[("f", "", "number 8")],
        ),
        case(
            "[wasi.stdin] standard input is at its end",
            r#"(import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
               ;; body
               (func (export "f")
                 (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 50))
                 (i32.store (i32.const 8) (i32.const 77))
                 (call $number (i64.extend_i32_u (i32.add (i32.load (i32.const 8))
                   (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))))))"#,
            &[("f", "", "number 77")],
        ),
        case(
            "[wasi.output] [import.repeated] standard output and error swallow; an import may come twice",
            r#"(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
               (import "wasi_snapshot_preview1" "fd_write" (func $again (param i32 i32 i32 i32) (result i32)))
               ;; body
               (func (export "f")
                 (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 50))
                 (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
                 (if (call $again (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
                 (call $number (i64.extend_i32_u (i32.load (i32.const 8)))))"#,
            &[("f", "", "number 50")],
        ),
        case(
            "[wasi.clocks] [wasi.random] clocks and random numbers are real",
            r#"(import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
               (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
               ;; body
               (func (export "f")
                 (if (call $clock (i32.const 0) (i64.const 1) (i32.const 0)) (then unreachable))
                 (if (call $random (i32.const 8) (i32.const 16)) (then unreachable))
                 (if (i64.lt_u (i64.load (i32.const 0)) (i64.const 1700000000000000000)) (then unreachable))
                 (if (i64.eqz (i64.or (i64.load (i32.const 8)) (i64.load (i32.const 16)))) (then unreachable)))"#,
            &[("f", "", "output ")],
        ),
        case(
            "[wasi.pointers] an argument outside memory is an error or a trap, never more",
            r#"(import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
               ;; body
               (func (export "f") (call $number (i64.extend_i32_u (call $random (i32.const -8) (i32.const 16)))))"#,
            &[("f", "", "trap Pointer out of bounds: Region { start: 4294967288, len: 16 }")],
        ),
        case(
            "[wasi.pointers] one that is not aligned, and one that wraps",
            r#"(import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
               ;; body
               (func (export "odd") (drop (call $sizes (i32.const 3) (i32.const 8))))
               (func (export "wraps") (drop (call $sizes (i32.const 0) (i32.const -4))))"#,
            &[
                ("odd", "", "trap Pointer not aligned to 4: Region { start: 3, len: 4 }"),
                ("wraps", "", "trap Pointer out of bounds: Region { start: 4294967292, len: 4 }"),
            ],
        ),
        case(
            "[wasi.random-most] 1 MiB of random bytes can be had at a time, and no more",
            r#"(import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
               ;; body
               (func $get (param i32)
                 (drop (memory.grow (i32.const 32)))
                 (call $number (i64.extend_i32_u (call $random (i32.const 0) (local.get 0)))))
               (func (export "most") (call $get (i32.const 1048576)))
               (func (export "more") (call $get (i32.const 1048577)))"#,
            &[
                ("most", "", "number 0"),
                ("more", "", "trap requested len 1048577 exceeds limit 1048576"),
            ],
        ),
        case(
            "[wasi.held] a write of 16 MiB with its list is swallowed; a larger one is NOMEM",
            r#"(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
               ;; body
               (func $put_zeros (param i32)
                 (drop (memory.grow (i32.const 300)))
                 (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (local.get 0))
                 (call $number (i64.extend_i32_u
                   (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
               (func (export "most") (call $put_zeros (i32.const 16777208)))
               (func (export "more") (call $put_zeros (i32.const 16777209)))"#,
            &[("most", "", "number 0"), ("more", "", "number 48"), ("most", "", "number 0")],
        ),
        case(
            "[wasi.fresh] what was closed is open again in a fresh wasm instance",
            r#"(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
               (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
               ;; body
               (func (export "close") (call $number (i64.extend_i32_u (call $close (i32.const 1)))))
               (func (export "write") (call $number (i64.extend_i32_u
                 (call $write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 8)))))
               (func (export "trap") unreachable)"#,
            &[
                ("write", "", "number 0"),
                ("close", "", "number 0"),
                ("write", "", "number 8"),
                ("trap", "", "trap wasm `unreachable` instruction executed"),
                ("write", "", "number 0"),
            ],
        ),
    ])
    .await;
}

/// [wasi.memory] The module loads, and its call fails.
#[tokio::test]
async fn without_an_exported_memory_the_first_wasi_call_is_a_trap() {
    let wasm = wat::parse_str(
        r#"(module
            (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (memory 1)
            (func (export "f") (drop (call $random (i32.const 0) (i32.const 1)))))"#,
    )
    .unwrap();
    let limits = InstanceLimits::standard();
    let mut rig = rig_with(&wasm, &HostFunctions::new(), (), limits, LogLevel::Info);
    assert_eq!(rig.call("f", "").await, "trap WASI needs an exported `memory`");
}

/// All of WASI preview 1: name, and the type as letters, `i` for i32 and `I` for i64; all return an i32 but
/// `proc_exit`.
pub(crate) const FUNCTIONS: &[(&str, &str)] = &[
    ("args_get", "ii"),
    ("args_sizes_get", "ii"),
    ("clock_res_get", "ii"),
    ("clock_time_get", "iIi"),
    ("environ_get", "ii"),
    ("environ_sizes_get", "ii"),
    ("fd_advise", "iIIi"),
    ("fd_allocate", "iII"),
    ("fd_close", "i"),
    ("fd_datasync", "i"),
    ("fd_fdstat_get", "ii"),
    ("fd_fdstat_set_flags", "ii"),
    ("fd_fdstat_set_rights", "iII"),
    ("fd_filestat_get", "ii"),
    ("fd_filestat_set_size", "iI"),
    ("fd_filestat_set_times", "iIIi"),
    ("fd_pread", "iiiIi"),
    ("fd_prestat_dir_name", "iii"),
    ("fd_prestat_get", "ii"),
    ("fd_pwrite", "iiiIi"),
    ("fd_read", "iiii"),
    ("fd_readdir", "iiiIi"),
    ("fd_renumber", "ii"),
    ("fd_seek", "iIii"),
    ("fd_sync", "i"),
    ("fd_tell", "ii"),
    ("fd_write", "iiii"),
    ("path_create_directory", "iii"),
    ("path_filestat_get", "iiiii"),
    ("path_filestat_set_times", "iiiiIIi"),
    ("path_link", "iiiiiii"),
    ("path_open", "iiiiiIIii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("path_unlink_file", "iii"),
    ("poll_oneoff", "iiii"),
    ("proc_exit", "i"),
    ("proc_raise", "i"),
    ("random_get", "ii"),
    ("sched_yield", ""),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("sock_shutdown", "ii"),
];

/// A module that imports all of WASI, each function under its own name, and what else it wants, and exports its memory.
pub(crate) fn importing_all(others: &str, body: &str) -> Vec<u8> {
    let imports: String = FUNCTIONS
        .iter()
        .map(|(name, letters)| {
            let params: String =
                letters.chars().map(|letter| if letter == 'i' { " i32" } else { " i64" }).collect();
            let result = if *name == "proc_exit" { "" } else { "(result i32)" };
            format!(r#"(import "wasi_snapshot_preview1" "{name}" (func ${name} (param{params}) {result}))"#)
        })
        .collect();
    wat::parse_str(format!(r#"(module {imports} {others} (memory (export "memory") 1) {body})"#)).unwrap()
}

/// [wasi.all] [wasi.descriptors] All 46 functions are there. Descriptor 3, the first that is not a standard stream,
/// is none, and what would work on one says so; what is not about descriptors works.
#[tokio::test]
async fn all_functions_are_there_and_reach_nothing() {
    assert_eq!(FUNCTIONS.len(), 46);
    let calls: String = FUNCTIONS
        .iter()
        .map(|(name, letters)| {
            let descriptor = match name.split('_').next() {
                Some("fd" | "path" | "sock" | "proc") => Some(if *name == "path_symlink" { 2 } else { 0 }),
                _ => None,
            };
            let arguments = letters.chars().enumerate().map(|(at, letter)| match letter {
                'i' if Some(at) == descriptor => " (i32.const 3)",
                'i' => " (i32.const 0)",
                _ => " (i64.const 0)",
            });
            let code = if *name == "proc_exit" { "(i32.const 0)" } else { "" };
            let arguments: String = arguments.collect();
            format!(r#"(func (export "{name}") (result i32) (call ${name}{arguments}) {code})"#)
        })
        .collect();
    let limits = InstanceLimits::standard();
    let mut rig = rig_with(&importing_all("", &calls), &HostFunctions::new(), (), limits, LogLevel::Info);
    for (name, _) in FUNCTIONS {
        let expected = match name.split('_').next().unwrap() {
            // BADF for the descriptor, before anything else is looked at.
            "fd" | "path" | "sock" => "guest 8",
            "proc" if *name == "proc_exit" => "exit 3",
            // NOTSUP.
            "proc" => "guest 58",
            // INVAL: a poll for nothing.
            "poll" => "guest 28",
            _ => "output ",
        };
        assert_eq!(rig.call(name, "").await, expected, "{name}");
    }
}

/// [wasi.sleep] A sleep of 50 ms takes them.
#[tokio::test]
async fn a_sleep_takes_its_time() {
    let body = r#"(func (export "f") (result i32)
        (i32.store (i32.const 16) (i32.const 1))
        (i64.store (i32.const 24) (i64.const 50000000))
        (call $poll_oneoff (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))"#;
    let limits = InstanceLimits::standard();
    let mut rig = rig_with(&importing_all("", body), &HostFunctions::new(), (), limits, LogLevel::Info);
    assert_eq!(rig.call("f", "").await, "output ");
    assert!(rig.instance.report().wall >= std::time::Duration::from_millis(50));
}

/// [wasi.memory] Also where the call comes from outside, through an export that is the import.
#[tokio::test]
async fn an_import_that_is_exported_is_a_function_like_any() {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
        (export "f" (func $yield)))"#;
    let wasm = wat::parse_str(text).unwrap();
    let mut rig = rig_with(&wasm, &HostFunctions::new(), (), InstanceLimits::standard(), LogLevel::Info);
    assert_eq!(rig.call("f", "").await, "trap WASI needs an exported `memory`");
}
