//! The Extism plug-in ABI on wasmtime, for hosts that trust no plug-in.
//!
//! A plug-in is a core WebAssembly module written with any Extism PDK. It gets bytes, gives bytes, and reaches
//! nothing but what its host hands it. This crate runs it: memory that the guest cannot forge its way out of,
//! ceilings on everything it can grow, fuel and a deadline for every moment it runs, and errors that say who is
//! at fault. [`spec`] states the ABI in full, as this crate implements it.
//!
//! # A first call
//!
//! [`Engine`], one per process; [`Module`], the compiled code; [`Instance`], the plug-in itself.
//!
//! ```
//! use std::time::Duration;
//! use hm_abi::{CallLimits, Engine, HostFunctions, InstanceOptions, Module, ModuleLimits};
//!
//! # let wasm = wat::parse_str(r#"(module
//! #     (import "extism:host/env" "input_offset" (func $offset (result i64)))
//! #     (import "extism:host/env" "input_length" (func $length (result i64)))
//! #     (import "extism:host/env" "output_set" (func $output (param i64 i64)))
//! #     (func (export "echo") (call $output (call $offset) (call $length))))"#)?;
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! let engine = Engine::new()?;
//! let module = Module::load(&engine, &wasm, &HostFunctions::new(), &ModuleLimits::standard())?;
//! let mut plugin = module.instance((), InstanceOptions::standard());
//!
//! let limits = CallLimits { fuel: 10_000_000, deadline: Duration::from_secs(5) };
//! let output = plugin.call("echo", b"hello", &limits).await?;
//! assert_eq!(output, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Compiling blocks and takes time. [`Code`] is the compiled part of a module, apart from what it is linked with:
//! [`Code::serialize`] and [`Code::load_precompiled`] let a host keep it, or have it made in another process, and
//! [`Engine::fingerprint`] belongs into the key. [`Module::new`] links it, also with other modules.
//!
//! # Host functions
//!
//! A host function gets the data of the instance that calls it and its arguments. Their types, and that of the
//! result, say what crosses: text, bytes, truth values, numbers and [`Json`] as a block of bytes ([`FromBytes`],
//! [`ToBytes`]), a [`Number`] by value. It is a future, so it may wait; the deadline and the cancellation of the
//! call reach it at each `.await`.
//!
//! ```
//! # use std::time::Duration;
//! # use hm_abi::{CallLimits, Engine, InstanceOptions, Module, ModuleLimits};
//! use hm_abi::{CallError, HostError, HostFunctions, Json, Number, TypedFunction, USER_MODULE};
//!
//! struct Plugin {
//!     greeted: Vec<String>,
//! }
//!
//! let mut host = HostFunctions::new();
//! host.define_typed(
//!     TypedFunction { module: USER_MODULE, name: "greet", fuel: 1000, fuel_per_byte: 1 },
//!     |plugin: &mut Plugin, (name, times): (String, Number<i64>)| {
//!         Box::pin(async move {
//!             if name == "root" {
//!                 return Err(HostError::Denied { capability: "greet:root".to_owned() });
//!             }
//!             plugin.greeted.push(name.clone());
//!             Ok(Json((name, times.0 * 2)))
//!         })
//!     },
//! );
//! # let wasm = wat::parse_str(r#"(module
//! #     (import "extism:host/env" "input_offset" (func $input (result i64)))
//! #     (import "extism:host/env" "length" (func $length (param i64) (result i64)))
//! #     (import "extism:host/env" "output_set" (func $output (param i64 i64)))
//! #     (import "extism:host/user" "greet" (func $greet (param i64 i64) (result i64)))
//! #     (func (export "run") (local $result i64)
//! #       (local.set $result (call $greet (call $input) (i64.const 21)))
//! #       (call $output (local.get $result) (call $length (local.get $result)))))"#)?;
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! # let module = Module::load(&Engine::new()?, &wasm, &host, &ModuleLimits::standard())?;
//! # let limits = CallLimits { fuel: 10_000_000, deadline: Duration::from_secs(5) };
//!
//! let mut plugin = module.instance(Plugin { greeted: Vec::new() }, InstanceOptions::standard());
//! assert_eq!(plugin.call("run", b"Ada", &limits).await?, br#"["Ada",42]"#);
//!
//! let denied = plugin.call("run", b"root", &limits).await;
//! assert!(matches!(denied, Err(CallError::Denied { capability, .. }) if capability == "greet:root"));
//! assert_eq!(plugin.data().greeted, ["Ada"]);
//!
//! let broken = plugin.call("run", b"\xff", &limits).await;
//! assert!(matches!(broken, Err(CallError::Trap { reason, .. }) if reason.starts_with("`greet`: argument 1:")));
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`HostFunctions::define`] is for functions whose declarations are data: a list of bytes in, bytes out.
//!
//! # Configuration, log, HTTP, directories, other modules
//!
//! [`InstanceOptions`] is all else that a plug-in gets. Without a client, HTTP is denied; [`AllowedHostsClient`]
//! keeps to a list of hosts. [`Directories`] are seen through WASI.
//!
//! ```
//! use hm_abi::{AllowedHosts, AllowedHostsClient, Code, InstanceOptions, LogLevel, LogSink, Module, TlsRoots};
//! # use hm_abi::{Engine, HostFunctions, ModuleLimits};
//! # use std::{sync::Arc, time::Duration};
//! # let (engine, host, limits) = (Engine::new()?, HostFunctions::<()>::new(), ModuleLimits::standard());
//! # let main = wat::parse_str(r#"(module (import "lib" "f" (func)))"#)?;
//! # let library = wat::parse_str(r#"(module (func (export "f")))"#)?;
//! # let roots = TlsRoots::only(Vec::<Vec<u8>>::new())?;
//! let main = Code::compile(&engine, &main, &limits)?;
//! let library = Code::compile(&engine, &library, &limits)?;
//! let module = Module::new(&engine, &main, &[("lib", library)], &host)?;
//!
//! let hosts = AllowedHosts::parse(["api.example.com"])?;
//! let plugin = module.instance((), InstanceOptions {
//!     config: [("greeting".to_owned(), "hello".to_owned())].into(),
//!     log: LogSink::new(LogLevel::Info, |level, line| eprintln!("{level:?}: {line}")),
//!     http: Some(Arc::new(AllowedHostsClient::new(hosts, roots))),
//!     ..InstanceOptions::standard()
//! });
//! # drop(plugin);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # In an asynchronous program
//!
//! A call is a future that yields at least every 10 ms while the guest computes, so that it needs no thread of its
//! own. [`Instance`] and its futures are `Send`. An instance runs one call at a time; for several at once make
//! several, which is cheap, from one [`Module`]. Calls need a tokio runtime with time, HTTP one with I/O too.
//! Compiling blocks.
//!
//! # Limits, deadlines, cancellation
//!
//! Each call brings its own fuel and deadline. They cover all that runs for it: making the wasm instance, its
//! start function and initialisers, the function itself, host functions, WASI. Dropping the future of a call
//! cancels it. However a call ends, other instances of the engine run on.
//!
//! ```
//! # use std::time::Duration;
//! # use hm_abi::{CallError, CallLimits, Engine, HostFunctions, InstanceOptions, Module, ModuleLimits};
//! # let wasm = wat::parse_str(r#"(module (func (export "spin") (loop $again (br $again))) (func (export "ok")))"#)?;
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! # let module = Module::load(&Engine::new()?, &wasm, &HostFunctions::new(), &ModuleLimits::standard())?;
//! # let mut plugin = module.instance((), InstanceOptions::standard());
//! let limits = CallLimits { fuel: u64::MAX, deadline: Duration::from_millis(50) };
//! assert!(matches!(plugin.call("spin", b"", &limits).await, Err(CallError::TimedOut { .. })));
//!
//! let limits = CallLimits { fuel: 100_000, deadline: Duration::from_secs(5) };
//! assert!(matches!(plugin.call("spin", b"", &limits).await, Err(CallError::OutOfFuel { .. })));
//! assert!(plugin.call("ok", b"", &limits).await.is_ok(), "a fresh instance, after the end of the old one");
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Instance::report`] tells what a call has used. A [`CancelHandle`] ends a call from elsewhere:
//!
//! ```
//! # use std::time::Duration;
//! # use hm_abi::{CallError, CallLimits, Engine, HostFunctions, InstanceOptions, Module, ModuleLimits};
//! # let wasm = wat::parse_str(r#"(module (func (export "spin") (loop $again (br $again))))"#)?;
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! # let module = Module::load(&Engine::new()?, &wasm, &HostFunctions::new(), &ModuleLimits::standard())?;
//! # let mut plugin = module.instance((), InstanceOptions::standard());
//! let handle = plugin.cancel_handle();
//! tokio::spawn(async move {
//!     tokio::time::sleep(Duration::from_millis(20)).await;
//!     handle.cancel();
//! });
//! let limits = CallLimits { fuel: u64::MAX, deadline: Duration::from_secs(60) };
//! assert!(matches!(plugin.call("spin", b"", &limits).await, Err(CallError::Cancelled { .. })));
//! assert!(plugin.report().wall < Duration::from_secs(60));
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What strangers have written
//!
//! A guest cannot get past these limits, but before it can run it has to be compiled, which takes time and memory out
//! of proportion to some modules. [`ModuleLimits::compile_time`] bounds how long the caller waits. Where modules come
//! from strangers, compile in a process of its own that has a ceiling on its memory, and hand the code on with
//! [`Code::serialize`] and [`Code::load_precompiled`]. The latter is unsafe: it trusts that process, as it would a
//! cache.
//!
//! # What this crate leaves to its host
//!
//! The origin of plug-ins and which of them may do what; the meaning of their bytes; showing texts of theirs,
//! which may hold anything, safely; and keeping blocking work out of host functions and log sinks.

mod blocks;
mod call_error;
mod code;
mod convert;
mod directories;
mod engine;
mod fault;
mod fuel;
mod host_error;
mod host_function;
mod http;
mod imports;
mod instance;
mod instance_options;
mod lent;
mod limits;
mod link;
mod load_error;
mod log;
mod module;
mod precompiled;
mod report;
mod results;
mod state;
mod store;
mod vars;

#[doc = include_str!("spec.md")]
pub mod spec {}

pub use crate::http::{
    AllowedHosts, AllowedHostsClient, AllowedHostsError, HttpClient, HttpError, HttpFuture, HttpLimits,
    HttpRequest, HttpRequestError, HttpResponse, NotAllowed, Permit, ResolveFuture, Resolver, SystemResolver,
    TlsError, TlsRoots,
};
pub use call_error::CallError;
pub use code::{Code, ModuleLimits};
pub use convert::{Answer, Argument, Arguments, Encoded, FromBytes, Json, Number, ToBytes, Undecoded};
pub use directories::{Directories, Directory};
pub use engine::{Engine, EngineError};
pub use host_error::HostError;
pub use host_function::{HostFunction, HostFunctions, HostFuture, TypedFunction, USER_MODULE};
pub use instance::{CallLimits, CancelHandle, Instance};
pub use instance_options::InstanceOptions;
pub use limits::InstanceLimits;
pub use load_error::{ImportName, LoadError};
pub use log::{LogLevel, LogSink};
pub use module::Module;
pub use report::Report;
