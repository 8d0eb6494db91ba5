//! Whole guests that nobody would write: whatever they do, the host and their neighbours go on.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use arbitrary::Unstructured;
use hm_abi::{
    CallError, CallLimits, Engine, InstanceLimits, InstanceOptions, LoadError, LogLevel, LogSink, Module,
    ModuleLimits,
};
use wasm_smith::Config;

use super::host_calls;
use super::runtime::RUNTIME;

/// Exports that the host looks for, in the combinations that matter; nothing for exports without a plan.
const EXPORTS: [Option<&str>; 4] = [
    Some(
        r#"(func (export "run") (result i32) unreachable) (func (export "go")) (memory (export "memory") 1)"#,
    ),
    Some(
        r#"(func (export "run") (result i32) unreachable) (memory (export "memory") 1)
        (func (export "_initialize")) (func (export "hs_init") (param i32 i32))"#,
    ),
    Some(
        r#"(func (export "_start")) (func (export "__wasm_call_ctors")) (memory (export "memory") 1)
        (func (export "odd") (param i32) (result i64) unreachable)"#,
    ),
    None,
];

/// Calls of one guest.
const CALLS: usize = 6;

/// Fuel and time of one call.
const CALL: CallLimits = CallLimits { fuel: 200_000, deadline: Duration::from_millis(30) };

/// Longer than any call or compilation takes on a slow machine.
const HANG: Duration = Duration::from_secs(20);

const LIMITS: InstanceLimits = InstanceLimits {
    memory_pages: 40,
    table_elements: 1500,
    memory_bytes: 64 * 1024,
    blocks: 100,
    var_bytes: 1000,
    vars: 10,
    log_lines: 20,
    log_bytes: 1000,
    ..InstanceLimits::standard()
};

const MODULE_LIMITS: ModuleLimits = ModuleLimits {
    max_bytes: 256 * 1024,
    max_initial_pages: 40,
    max_initial_table_elements: 1500,
    ..ModuleLimits::standard()
};

/// The engine of all guests, and a guest that must not notice the others.
static HOUSE: LazyLock<(Engine, Mutex<Neighbour>)> = LazyLock::new(|| {
    let engine = Engine::new().expect("an engine");
    let neighbour = Neighbour::new(&engine);
    (engine, Mutex::new(neighbour))
});

static IMPORTS: LazyLock<Vec<u8>> =
    LazyLock::new(|| wat::parse_str(include_str!("imports.wat")).expect("the imports"));

/// Any bytes as a guest, as far as they make one.
pub fn guest(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    let exports = EXPORTS[usize::from(*choice) % EXPORTS.len()]
        .map(|exports| wat::parse_str(format!("(module {exports})")).expect("the exports"));
    let Ok(module) = wasm_smith::Module::new(config(exports, *choice >= 192), &mut Unstructured::new(rest))
    else {
        return;
    };
    run(&module.to_bytes());
}

/// The features that are on in `hm_abi`, and sizes that are sometimes too much. With reference types, most guests use
/// `externref`, which is off.
fn config(exports: Option<Vec<u8>>, reference_types: bool) -> Config {
    Config {
        available_imports: Some(IMPORTS.clone()),
        exports,
        bulk_memory_enabled: true,
        multi_value_enabled: true,
        reference_types_enabled: reference_types,
        saturating_float_to_int_enabled: true,
        sign_extension_ops_enabled: true,
        simd_enabled: true,
        tail_call_enabled: true,
        extended_const_enabled: true,
        relaxed_simd_enabled: false,
        exceptions_enabled: false,
        gc_enabled: false,
        threads_enabled: false,
        shared_everything_threads_enabled: false,
        memory64_enabled: false,
        custom_page_sizes_enabled: false,
        wide_arithmetic_enabled: false,
        max_memories: 1,
        max_tables: 3,
        max_memory32_bytes: 50 * 64 * 1024,
        max_table_elements: 2000,
        max_instructions: 60,
        max_funcs: 120,
        ..Config::default()
    }
}

/// Loads these bytes and calls all that can be called.
fn run(wasm: &[u8]) {
    let (engine, neighbour) = &*HOUSE;
    let began = Instant::now();
    let module = match Module::load(engine, wasm, &host_calls::host_functions(), &MODULE_LIMITS) {
        Ok(module) => module,
        Err(
            LoadError::Invalid { .. }
            | LoadError::InitialMemory { .. }
            | LoadError::InitialTable { .. }
            | LoadError::TooLarge { .. },
        ) => return,
        Err(other) => panic!("a guest of allowed imports is refused: {other}"),
    };
    assert!(began.elapsed() < HANG, "compiling took {:?}", began.elapsed());

    let logged = Arc::new(Mutex::new((0, 0)));
    let sink = Arc::clone(&logged);
    let log = LogSink::new(LogLevel::Trace, move |_, line| {
        let mut sum = sink.lock().expect("the log");
        *sum = (sum.0 + 1, sum.1 + line.len());
        assert!(!line.contains('\n'));
    });
    let config = [("key".to_owned(), "value".to_owned())].into();
    let options = InstanceOptions { limits: LIMITS, config, log, ..InstanceOptions::standard() };
    let mut instance = module.instance((), options);
    let exports: Vec<&str> = module.exports().collect();
    for export in exports.iter().cycle().take(CALLS) {
        let began = Instant::now();
        *logged.lock().expect("the log") = (0, 0);
        let result = RUNTIME.block_on(instance.call(export, b"some input", &CALL));
        assert!(began.elapsed() < HANG, "`{export}` took {:?}", began.elapsed());
        match result {
            Ok(output) => assert!(output.len() <= LIMITS.memory_bytes),
            Err(error) => {
                let unfair = matches!(
                    error,
                    CallError::Engine { .. }
                        | CallError::NoSuchExport { .. }
                        | CallError::WrongSignature { .. }
                        | CallError::Host { .. }
                );
                assert!(!unfair, "`{export}`: {error:?}");
                assert!(!error.to_string().is_empty());
            }
        }
        let report = instance.report();
        let pages = u64::try_from(LIMITS.memory_pages).expect("a few pages");
        assert!(report.memory_bytes <= pages * 64 * 1024, "{report:?}");
        assert!(
            usize::try_from(report.block_bytes).is_ok_and(|bytes| bytes <= LIMITS.memory_bytes),
            "{report:?}"
        );
        assert!(report.fuel_used <= CALL.fuel, "{report:?}");
        let (lines, bytes) = *logged.lock().expect("the log");
        // A byte can become an escape of eight letters, and a last line tells of dropped ones.
        assert!(
            lines <= LIMITS.log_lines + 1 && bytes <= LIMITS.log_bytes * 8 + 200,
            "{lines} lines, {bytes} bytes"
        );
    }
    neighbour.lock().expect("the neighbour").still_answers();
}

/// A guest that counts how often it was called.
struct Neighbour {
    instance: hm_abi::Instance<()>,
    called: u64,
}

impl Neighbour {
    fn new(engine: &Engine) -> Self {
        let text = r#"(module
            (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
            (import "extism:host/env" "store_u64" (func $store (param i64 i64)))
            (import "extism:host/env" "output_set" (func $output (param i64 i64)))
            (global $called (mut i64) (i64.const 0))
            (func (export "count") (local $block i64)
                (global.set $called (i64.add (global.get $called) (i64.const 1)))
                (local.set $block (call $alloc (i64.const 8)))
                (call $store (local.get $block) (global.get $called))
                (call $output (local.get $block) (i64.const 8))))"#;
        let wasm = wat::parse_str(text).expect("the neighbour");
        let module =
            Module::load(engine, &wasm, &host_calls::host_functions(), &MODULE_LIMITS).expect("it loads");
        Self { instance: module.instance((), InstanceOptions::standard()), called: 0 }
    }

    fn still_answers(&mut self) {
        self.called += 1;
        let limits = CallLimits { fuel: 10_000, deadline: HANG };
        let output =
            RUNTIME.block_on(self.instance.call("count", b"", &limits)).expect("the neighbour answers");
        assert_eq!(output, self.called.to_le_bytes(), "and it is the same instance");
    }
}
