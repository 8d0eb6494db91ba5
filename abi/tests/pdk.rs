//! Guests in C, AssemblyScript and Rust, built with the tools of their languages from `tests/guests`. What each rule
//! of the ABI is, the conformance tests say; these show that what real compilers and PDKs make of it runs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "where these fail, a test fails")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use hm_abi::{
    CallError, CallLimits, Engine, HostError, HostFunctions, Instance, InstanceOptions, Json, LoadError,
    LogLevel, LogSink, Module, ModuleLimits, Number, TypedFunction, USER_MODULE,
};
use serde_json::{Value, json};

static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new().unwrap());

/// Limits under which no guest of these tests ends.
const CALL: CallLimits = CallLimits { fuel: 500_000_000, deadline: Duration::from_secs(60) };

/// Notes of the host functions, in order.
type Notes = Vec<String>;

struct Guest {
    instance: Instance<Notes>,
    log: Arc<Mutex<Vec<String>>>,
}

/// The module of a guest, or nothing where guests were not built: that is a failure where everything should be there.
fn module(name: &str) -> Option<Vec<u8>> {
    let file = |directory| Path::new(&directory).join(name).with_extension("wasm");
    let found = std::env::var_os("HM_TEST_GUESTS")
        .ok_or("HM_TEST_GUESTS is not set; `cargo xtask test` builds the guests and sets it".to_owned())
        .and_then(|directory| {
            std::fs::read(file(directory)).map_err(|error| format!("{name}.wasm: {error}"))
        });
    match found {
        Ok(wasm) => Some(wasm),
        Err(why) => {
            assert!(std::env::var_os("CI").is_none(), "nothing may be skipped here: {why}");
            println!("SKIPPED: {why}");
            None
        }
    }
}

fn load(wasm: &[u8], host: &HostFunctions<Notes>) -> Result<Module<Notes>, LoadError> {
    Module::load(&ENGINE, wasm, host, &ModuleLimits::standard())
}

fn guest(name: &str, host: &HostFunctions<Notes>) -> Option<Guest> {
    let module = load(&module(name)?, host).unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&log);
    let sink = LogSink::new(LogLevel::Info, move |level, line| {
        lines.lock().unwrap().push(format!("{level:?}: {line}"));
    });
    let config = [("greeting", "hello"), ("step", "5")];
    let config: BTreeMap<_, _> = config.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let options = InstanceOptions { config, log: sink, ..InstanceOptions::standard() };
    Some(Guest { instance: module.instance(Vec::new(), options), log })
}

impl Guest {
    /// The outcome of a call in a few words.
    async fn call(&mut self, export: &str, input: &str) -> String {
        match self.instance.call(export, input.as_bytes(), &CALL).await {
            Ok(bytes) => String::from_utf8(bytes).unwrap(),
            Err(CallError::Guest { code, message }) => {
                format!("code {code}: {}", message.unwrap_or_default())
            }
            Err(other) => other.to_string(),
        }
    }

    /// Calls one after the other, and what each comes to.
    async fn expect(&mut self, calls: &[(&str, &str, &str)]) {
        for (export, input, expected) in calls {
            assert_eq!(self.call(export, input).await, *expected, "{export}({input:?})");
        }
    }

    /// The output of a call that succeeds.
    async fn bytes(&mut self, export: &str, input: &[u8]) -> Vec<u8> {
        self.instance.call(export, input, &CALL).await.unwrap()
    }

    fn logged(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

const fn declare(module: &'static str, name: &'static str) -> TypedFunction {
    TypedFunction { module, name, fuel: 1000, fuel_per_byte: 1 }
}

#[tokio::test]
async fn c_reactor() {
    let Some(mut guest) = guest("c-reactor", &HostFunctions::new()) else { return };
    guest
        .expect(&[
            ("count_vowels", "Hello, World", r#"{"count":3}"#),
            ("count_vowels", "", r#"{"count":0}"#),
            ("echo", "a text of more than eight bytes", "a text of more than eight bytes"),
            ("echo", "", ""),
            ("upper", "seven 7", "SEVEN 7"),
            ("inner", "(a range)", "a range"),
            ("inner", "()", ""),
            ("print", "", "111"),
            ("allocate", "3000000", "x"),
            ("allocate", "4000000000", "no memory"),
            ("constructed", "", "1"),
        ])
        .await;
    assert_eq!(guest.logged(), ["Info: constructed"]);
    assert_eq!(guest.call("log", "one\nline").await, "");
    assert_eq!(guest.logged(), ["Warn: one\\nline"]);

    let bytes: Vec<u8> = (0..=255).cycle().take(100_003).collect();
    assert_eq!(guest.bytes("echo", &bytes).await, bytes);
}

#[tokio::test]
async fn c_variables_and_failures() {
    let Some(mut guest) = guest("c-reactor", &HostFunctions::new()) else { return };
    for expected in [5_u64, 10] {
        assert_eq!(guest.bytes("counter", b"").await, expected.to_le_bytes());
    }
    assert_eq!(guest.call("fail", "four").await, "code 4: four");
    assert_eq!(guest.bytes("counter", b"").await, 15_u64.to_le_bytes());
    assert_eq!(guest.logged(), ["Info: constructed"], "an error of the guest leaves its instance in place");

    let aborted = guest.call("abort", "").await;
    assert!(
        aborted.starts_with("trap: ") && aborted.ends_with(" (the plug-in's own message: about to abort)"),
        "{aborted}"
    );
    let wrapped = guest.call("inner", "x").await;
    assert!(wrapped.contains("`output_set` was given 18446744073709551615 bytes"), "{wrapped}");
    guest
        .expect(&[
            ("exit", "0", ""),
            ("exit", "7", "exit with code 7"),
            ("exit", "-3", "exit with code -3"),
            ("exit", "200", "exit with code 200"),
        ])
        .await;
    assert_eq!(guest.bytes("counter", b"").await, 20_u64.to_le_bytes());
    assert_eq!(guest.logged().len(), 6, "each abnormal end, and each exit, is followed by a fresh instance");
}

#[tokio::test]
async fn c_command() {
    let Some(mut guest) = guest("c-command", &HostFunctions::new()) else { return };
    guest
        .expect(&[
            ("_start", "0", "argc 0, run 1 of this instance, 1 of all"),
            ("_start", "0", "argc 0, run 1 of this instance, 2 of all"),
            ("_start", "9", "exit with code 9 (the plug-in's own message: main failed)"),
            ("_start", "0", "argc 0, run 1 of this instance, 4 of all"),
        ])
        .await;
}

#[tokio::test]
async fn assemblyscript() {
    let mut host = HostFunctions::new();
    host.define_typed(
        declare("env", "scale"),
        |_, (Number(value), Number(by)): (Number<f64>, Number<i32>)| {
            Box::pin(async move { Ok(Number(value * f64::from(by))) })
        },
    );
    let Some(mut guest) = guest("assemblyscript", &host) else { return };
    guest
        .expect(&[
            ("globals", "", "1 start, 1 calls"),
            ("globals", "", "1 start, 2 calls"),
            ("countVowels", "Hello, World", r#"{"count":3}"#),
            ("upper", "Gr\u{fc}n \u{1f600}", "GR\u{dc}N \u{1f600}"),
            ("upper", "", ""),
            ("scaled", "1.25", "-2.5"),
            ("counter", "", "1"),
            ("counter", "", "2"),
            ("fail", "for a reason", "code 3: failed: for a reason"),
            ("throws", "", ""),
            ("globals", "", "1 start, 3 calls"),
        ])
        .await;
    assert_eq!(guest.logged(), ["Info: starting with hello"]);

    let thrown = guest.call("throws", "boom").await;
    let place = thrown.strip_prefix("trap: abort: no: boom at guest.ts:").expect(&thrown);
    let (line, _column) = place.split_once(':').unwrap();
    let source = include_str!("../../tests/guests/assemblyscript/guest.ts");
    let line = source.lines().nth(line.parse::<usize>().unwrap() - 1).unwrap();
    assert!(line.contains("throw new Error"), "{line}");
    let outside = guest.call("outOfBounds", "").await;
    assert!(outside.starts_with("trap: abort: Index out of range at ~lib/typedarray.ts:"), "{outside}");
    guest.expect(&[("globals", "", "1 start, 1 calls"), ("counter", "", "3")]).await;
}

#[tokio::test]
async fn assemblyscript_imports_are_checked() {
    let Some(wasm) = module("assemblyscript") else { return };
    let missing = load(&wasm, &HostFunctions::new()).map(|_| ());
    assert!(
        matches!(&missing, Err(LoadError::UnknownImport { module, name, .. }) if module == "env" && name == "scale")
    );
    let mut host = HostFunctions::new();
    host.define_typed(declare("env", "scale"), |_, (value, _): (Number<f64>, Number<f64>)| {
        Box::pin(async move { Ok(value) })
    });
    let wrong = load(&wasm, &host).map(|_| ());
    assert!(matches!(&wrong, Err(LoadError::WrongImportType { message }) if message.contains("scale")));
}

/// Host functions that the guest in Rust imports.
fn functions_for_rust() -> HostFunctions<Notes> {
    let mut host = HostFunctions::new();
    host.define_typed(declare(USER_MODULE, "join"), |_, (left, right): (String, Vec<u8>)| {
        Box::pin(async move { Ok(left + "+" + &String::from_utf8(right).unwrap()) })
    })
    .define_typed(declare(USER_MODULE, "is_even"), |_, (number,): (u64,)| {
        Box::pin(async move { Ok(number.is_multiple_of(2)) })
    })
    .define_typed(declare(USER_MODULE, "double"), |_, (number,): (i32,)| {
        Box::pin(async move { Ok(number * 2) })
    })
    .define_typed(declare("other", "half"), |_, (number,): (f64,)| Box::pin(async move { Ok(number / 2.0) }))
    .define_typed(declare(USER_MODULE, "note"), |notes: &mut Notes, (text,): (String,)| {
        Box::pin(async move {
            notes.push(text);
            Ok(())
        })
    })
    .define_typed(declare(USER_MODULE, "find"), |_, (key,): (String,)| {
        Box::pin(async move {
            match key.as_str() {
                "Ada+Ada" => Ok(Json(Some(json!({"name": "Lovelace", "times": 2})))),
                "root+root" => Err(HostError::Denied { capability: "find:root".to_owned() }),
                _ => Ok(Json(None::<Value>)),
            }
        })
    });
    host
}

#[tokio::test]
async fn rust() {
    let Some(mut guest) = guest("rust", &functions_for_rust()) else { return };
    guest
        .expect(&[
            ("count_vowels", "education and iron", "[2,1,2,2,1]"),
            ("nothing", "ignored", ""),
            ("greet", r#"{"name":"Ada","times":2}"#, "hello, Ada! hello, Ada! "),
            ("greet", "{", "code -1: EOF while parsing an object at line 1 column 1"),
            ("fail", "x", "code -1: reading \"x\"\n\nCaused by:\n    invalid digit found in string"),
            ("fail", "5", "code 42: that was a number"),
            ("print", "", "0 variables, 0 arguments, file false"),
            ("log", "said", ""),
        ])
        .await;
    assert_eq!(guest.logged(), ["Info: said", "Error: said again"]);

    let bytes: Vec<u8> = (0..=255).cycle().take(100_003).collect();
    assert_eq!(guest.bytes("echo", &bytes).await, bytes);
}

#[tokio::test]
async fn rust_variables_and_a_panic() {
    let Some(mut guest) = guest("rust", &functions_for_rust()) else { return };
    for expected in [1_u32, 2] {
        assert_eq!(guest.bytes("counter", b"").await, expected.to_le_bytes());
    }
    assert!(guest.call("panic", "at the disco").await.starts_with("trap: "));
    assert_eq!(guest.bytes("counter", b"").await, 3_u32.to_le_bytes());
    guest.expect(&[("forget", "", "")]).await;
    assert_eq!(guest.bytes("counter", b"").await, 1_u32.to_le_bytes());
}

#[tokio::test]
async fn rust_calls_host_functions() {
    let Some(mut guest) = guest("rust", &functions_for_rust()) else { return };
    guest
        .expect(&[
            ("host_functions", "Ada", "Ada+Ada false -14 -7 Lovelace 2"),
            ("host_functions", "", "+ false -2 -1 nothing"),
            ("host_functions", "root", "denied: find:root"),
        ])
        .await;
    assert_eq!(guest.instance.data(), &["joined 7", "joined 1", "joined 9"]);

    let fetched = guest.instance.call("fetch", b"https://example.com/", &CALL).await;
    assert!(matches!(fetched, Err(CallError::Denied { .. })), "{fetched:?}");
}
