//! The Extism plug-in ABI on wasmtime, for hosts that trust no plug-in.

mod assembly_script;
mod blocks;
mod call_error;
mod engine;
mod env;
mod fault;
mod fuel;
mod host_function;
mod http;
mod instance;
mod limits;
mod log;
mod module;
mod precompiled;
mod state;
mod vars;
mod wasi;

pub use call_error::CallError;
pub use engine::{Engine, EngineError};
pub use host_function::{HostError, HostFunction, HostFunctions, HostFuture, USER_MODULE};
pub use instance::{CallLimits, Instance, InstanceOptions, Output};
pub use limits::InstanceLimits;
pub use log::{LogLevel, LogSink};
pub use module::{LoadError, Module, ModuleLimits};
