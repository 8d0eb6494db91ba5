//! Finds and loads plugins: reads each one's manifest in an instance that may do nothing, checks it, and says who
//! provides what. Instances are made here; what they may do is the sandbox's affair.

mod compiled;
mod compiler;
mod embedded;
mod error;
mod index;
mod limits;
mod load;
mod manifest;
mod precompiled;

pub use compiled::ModuleCache;
pub use compiler::{CompileError, Compiler, compiler_main};
pub use embedded::EMBEDDED;
pub use error::{LoadError, PluginFailure, one_line};
pub use index::{Conflict, Plugins};
pub use limits::{EVENT_CALL, MANIFEST_CALL, executor_call};
pub(crate) use load::protocol_level;
pub use load::{Live, Loader, Origin, Plugin, Start};
pub use manifest::check as check_manifest;
