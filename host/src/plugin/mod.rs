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
mod register;
mod settings;
mod terms;

pub use arguments::{CommandForm, FormError, Typed};
pub use compiled::ModuleCache;
pub use compiler::{CompileError, Compiler, compiler_main};
pub use embedded::EMBEDDED;
pub use error::{LoadError, PluginFailure};
pub use fetch::{FetchError, Location};
pub(crate) use index::MAX_FILE;
pub use index::{Absent, Claimant, Conflict, Obstacle, Plugins};
pub use limits::{
    EVENT_CALL, LimitSettings, Limits, MANIFEST_CALL, SUBCOMMAND_CALL, executor_call, hook_call,
};
pub(crate) use load::protocol_level;
pub use load::{Candidate, Live, Loader, Origin, Plugin, Start};
pub use lock::{Lock, LockError, Locked, is_digest};
pub use manifest::{OWN_COMMANDS, check as check_manifest, check_for_installing, provided};
pub use register::Register;
pub use settings::{Given, Setting, Settings, SettingsError, check_by_name, may_be_secret};
pub use terms::{Terms, TermsError, file_name};
