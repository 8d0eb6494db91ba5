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
pub use compiled::ModuleCache;
pub(crate) use compiled::digest;
pub use compiler::{CompileError, Compiler, compiler_main};
pub use embedded::EMBEDDED;
pub use error::{LoadError, PluginFailure, one_line};
pub use fetch::{FetchError, Location};
pub(crate) use index::MAX_FILE;
pub use index::{Claim, Conflict, PluginSetError, Plugins, UnloadedPlugin};
pub use limits::{
    EVENT_CALL, LimitSettings, Limits, MANIFEST_CALL, SUBCOMMAND_CALL, executor_call, hook_call,
};
pub(crate) use load::protocol_level;
pub use load::{Candidate, InstanceSpec, Loader, Origin, Plugin, PluginInstance};
pub use lock::{LockEntry, LockError, LockFile, is_digest};
pub use manifest::{OWN_COMMANDS, check as check_manifest, check_for_installing, provided};
pub use settings::{ConfigValue, PluginSettings, Settings, SettingsError, check_by_name, may_be_secret};
pub use store::PluginStore;
pub use trust::{Trust, TrustError, file_name};
