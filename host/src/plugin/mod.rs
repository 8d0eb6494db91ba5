//! Finds and loads plugins: reads each one's manifest in an instance that may do nothing, checks it, and says who
//! provides what. Instances are made here; what they may do is the sandbox's affair.

mod arguments;
mod compiled;
mod compiler;
mod embedded;
mod error;
mod fetch;
mod index;
mod limits;
mod load;
mod lock;
mod manifest;
mod precompiled;
mod settings;
mod store;
mod trust;

pub use arguments::{CommandParser, CommandSchemaError, ParsedCommand};
pub(crate) use compiled::ModuleCache;
pub use compiler::compiler_main;
pub(crate) use compiler::{CompileError, Compiler};
pub(crate) use embedded::EMBEDDED;
pub(crate) use error::{LoadError, PluginFailure};
pub(crate) use fetch::{FetchError, Location};
pub(crate) use index::{Conflict, MAX_FILE, PluginSetError, Plugins, UnloadedPlugin};
pub(crate) use limits::{
    EVENT_CALL, LimitSettings, Limits, MANIFEST_CALL, SUBCOMMAND_CALL, executor_call, hook_call,
};
pub(crate) use load::{InstanceSpec, Loader, Origin, Plugin, PluginInstance, protocol_level};
pub(crate) use lock::{LockEntry, LockError, is_digest};
#[cfg(test)]
pub(crate) use manifest::OWN_COMMANDS;
pub use manifest::check as check_manifest;
pub(crate) use manifest::{check_for_installing, provided};
pub(crate) use settings::{PluginSettings, check_by_name, may_be_secret};
pub(crate) use store::PluginStore;
pub(crate) use trust::{Trust, TrustError, file_name};
