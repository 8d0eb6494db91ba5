//! Guests in WAT: what all of them can use, how they are run, and how an outcome is written in a table.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use hm_abi::{
    CallError, CallLimits, Engine, HostFunctions, Instance, InstanceLimits, InstanceOptions, LoadError,
    LogLevel, LogSink, Module, ModuleLimits,
};

/// One engine for all tests, as for a whole process.
pub(crate) static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new().unwrap());

/// Every import of the ABI under its own name, a page of memory, and four functions to say less with:
/// `$text` makes a block of bytes in linear memory, `$put` outputs a block, `$number` outputs an i64, and
/// `$fill` makes a block of that many bytes `x`.
const PRELUDE: &str = r#"
(import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
(import "extism:host/env" "free" (func $free (param i64)))
(import "extism:host/env" "length" (func $length (param i64) (result i64)))
(import "extism:host/env" "length_unsafe" (func $length_unsafe (param i64) (result i64)))
(import "extism:host/env" "load_u8" (func $load_u8 (param i64) (result i32)))
(import "extism:host/env" "load_u64" (func $load_u64 (param i64) (result i64)))
(import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
(import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
(import "extism:host/env" "input_offset" (func $input_offset (result i64)))
(import "extism:host/env" "input_length" (func $input_length (result i64)))
(import "extism:host/env" "input_load_u8" (func $input_load_u8 (param i64) (result i32)))
(import "extism:host/env" "input_load_u64" (func $input_load_u64 (param i64) (result i64)))
(import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
(import "extism:host/env" "error_set" (func $error_set (param i64)))
(import "extism:host/env" "config_get" (func $config_get (param i64) (result i64)))
(import "extism:host/env" "var_get" (func $var_get (param i64) (result i64)))
(import "extism:host/env" "var_set" (func $var_set (param i64 i64)))
(import "extism:host/env" "http_request" (func $http_request (param i64 i64) (result i64)))
(import "extism:host/env" "http_status_code" (func $http_status_code (result i32)))
(import "extism:host/env" "http_headers" (func $http_headers (result i64)))
(import "extism:host/env" "log_trace" (func $log_trace (param i64)))
(import "extism:host/env" "log_debug" (func $log_debug (param i64)))
(import "extism:host/env" "log_info" (func $log_info (param i64)))
(import "extism:host/env" "log_warn" (func $log_warn (param i64)))
(import "extism:host/env" "log_error" (func $log_error (param i64)))
(import "extism:host/env" "get_log_level" (func $get_log_level (result i32)))
(import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
"#;

const HELPERS: &str = r#"
(memory (export "memory") 1)
(func $text (param $at i32) (param $length i32) (result i64) (local $block i64) (local $i i32)
  (local.set $block (call $alloc (i64.extend_i32_u (local.get $length))))
  (block $done (loop $next
    (br_if $done (i32.eq (local.get $i) (local.get $length)))
    (call $store_u8 (i64.add (local.get $block) (i64.extend_i32_u (local.get $i)))
      (i32.load8_u (i32.add (local.get $at) (local.get $i))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br $next)))
  (local.get $block))
(func $fill (param $length i32) (result i64)
  (memory.fill (i32.const 32768) (i32.const 120) (local.get $length))
  (call $text (i32.const 32768) (local.get $length)))
(func $put (param $block i64)
  (call $output_set (local.get $block) (call $length (local.get $block))))
(func $number (param $value i64) (local $block i64)
  (local.set $block (call $alloc (i64.const 8)))
  (call $store_u64 (local.get $block) (local.get $value))
  (call $output_set (local.get $block) (i64.const 8)))
"#;

/// A call in a table: the export, its input, and the outcome as [`describe`] writes it.
pub(crate) type Call = (&'static str, &'static str, &'static str);

/// A row of a table: the rule, a guest that shows it, and calls of one instance of it.
pub(crate) struct Case {
    pub rule: &'static str,
    pub guest: &'static str,
    pub calls: &'static [Call],
}

/// A row of a table.
pub(crate) const fn case(rule: &'static str, guest: &'static str, calls: &'static [Call]) -> Case {
    Case { rule, guest, calls }
}

/// A guest that is being tested, and what it logs.
pub(crate) struct Rig<T: Send + 'static = ()> {
    pub instance: Instance<T>,
    pub log: Arc<Mutex<Vec<String>>>,
}

/// Limits under which no well-behaved guest of these tests ends.
pub(crate) const CALL: CallLimits = CallLimits { fuel: 50_000_000, deadline: Duration::from_secs(60) };

/// The binary of a guest that uses the prelude. If it has imports of its own, they come first, and `;; body`
/// ends them.
pub(crate) fn assemble(guest: &str) -> Vec<u8> {
    let (imports, body) = guest.split_once(";; body").unwrap_or(("", guest));
    wat::parse_str(format!("(module {PRELUDE} {imports} {HELPERS} {body})")).expect(guest)
}

pub(crate) fn load<T: Send + 'static>(wasm: &[u8], host: &HostFunctions<T>) -> Result<Module<T>, LoadError> {
    Module::load(&ENGINE, wasm, host, &ModuleLimits::standard())
}

/// An instance of a guest with a configuration and a log.
pub(crate) fn rig_with<T: Send + 'static>(
    wasm: &[u8],
    host: &HostFunctions<T>,
    data: T,
    limits: InstanceLimits,
    threshold: LogLevel,
) -> Rig<T> {
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&log);
    let sink = LogSink::new(threshold, move |level, line| {
        lines.lock().unwrap().push(format!("{level:?}: {line}"));
    });
    let config = BTreeMap::from([("greeting", "hello"), ("empty", ""), ("", "of the empty key")]);
    let config = config.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let module = load(wasm, host).unwrap();
    Rig {
        instance: module
            .instance(data, InstanceOptions { limits, config, log: sink, ..InstanceOptions::standard() }),
        log,
    }
}

/// An instance of a guest with the prelude under the given limits.
pub(crate) fn rig(guest: &str, limits: InstanceLimits) -> Rig {
    rig_with(&assemble(guest), &HostFunctions::new(), (), limits, LogLevel::Trace)
}

impl<T: Send + 'static> Rig<T> {
    pub(crate) async fn call(&mut self, export: &str, input: &str) -> String {
        describe(&self.instance.call(export, input.as_bytes(), &CALL).await)
    }

    pub(crate) fn logged(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

/// An outcome in a few words. Outputs of eight bytes are shown as the number they hold.
pub(crate) fn describe(result: &Result<Vec<u8>, CallError>) -> String {
    match result {
        Ok(bytes) => match <[u8; 8]>::try_from(bytes.as_slice()) {
            Ok(number) => format!("number {}", i64::from_le_bytes(number)),
            Err(_) => format!("output {}", String::from_utf8_lossy(bytes)),
        },
        Err(CallError::Guest { code, message }) => format!("guest {code}{}", beside(message)),
        Err(CallError::Trap { reason, message, .. }) => format!("trap {reason}{}", beside(message)),
        Err(CallError::Exit { code, message }) => format!("exit {code}{}", beside(message)),
        Err(CallError::OutOfFuel { message, .. }) => format!("out of fuel{}", beside(message)),
        Err(CallError::Cancelled { message }) => format!("cancelled{}", beside(message)),
        Err(CallError::TimedOut { message, .. }) => format!("timed out{}", beside(message)),
        Err(CallError::Limit { which, asked, allowed, message }) => {
            format!("limit {which} {asked} > {allowed}{}", beside(message))
        }
        Err(CallError::Denied { capability, message }) => format!("denied {capability}{}", beside(message)),
        Err(CallError::Host { function, source, message }) => {
            format!("host {function}: {source}{}", beside(message))
        }
        Err(other) => format!("error {other}"),
    }
}

fn beside(message: &Option<String>) -> String {
    message.as_ref().map(|message| format!(" [{message}]")).unwrap_or_default()
}

/// Runs a table, each row with an instance of its own, and reports all rows that differ.
pub(crate) async fn check(cases: &[Case]) {
    let mut wrong = Vec::new();
    for case in cases {
        let mut rig = rig(case.guest, InstanceLimits::standard());
        for (number, (export, input, expected)) in case.calls.iter().enumerate() {
            let found = rig.call(export, input).await;
            if found != *expected {
                wrong.push(format!(
                    "{} (call {}):\n    expected {expected}\n    found    {found}",
                    case.rule,
                    number + 1
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
