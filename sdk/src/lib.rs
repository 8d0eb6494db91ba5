//! What an author of `hm` plugins works with.
//!
//! A plugin is a `cdylib` for `wasm32-wasip1`. It implements one or more of four traits and names them in
//! [`register_plugin!`]; everything it does to the world goes through [`host`]. Running plugins, and deciding
//! what they may do, is the host's.
//!
//! ```
//! use hm_plugin_sdk::*;
//!
//! #[derive(Default)]
//! struct Echo;
//!
//! impl StepExecutor for Echo {
//!     fn run(&self, input: ExecutorInput) -> Result<StepResult, PluginError> {
//!         host::emit_step_log(StdStream::Stdout, input.step.cmd.as_bytes());
//!         Ok(StepResult { exit_code: 0, committed_snapshot: None, artifacts: vec![] })
//!     }
//! }
//!
//! register_plugin!(
//!     manifest = manifest! {
//!         name: "echo",
//!         description: "Prints commands instead of running them.",
//!         capabilities: [Capability::StepExecutor(StepExecutorSpec {
//!             runner: "echo".into(), default: false, step_schema: None,
//!         })],
//!         required_host_fns: ["hm_emit_step_log"],
//!     },
//!     executor = Echo,
//! );
//! ```
//!
//! # Failing
//! A capability that returns a [`PluginError`] fails with Extism's return code 1, and the text of the error is
//! the `PluginError` as JSON, so that its code and its link reach the user. A host function that is refused or
//! fails ends the whole call; the plugin does not get to see it.
//!
//! # Testing
//! Built for anything but wasm32, the functions of [`host`] go to the `mock` module's host, so that `cargo test` of a
//! plugin needs neither wasm nor `hm`.

#[doc(hidden)]
pub mod export;
mod forms;
pub mod host;
#[cfg(target_arch = "wasm32")]
mod imports;
mod macros;
pub mod manifest;
#[cfg(not(target_arch = "wasm32"))]
pub mod mock;

pub mod executor;
pub mod hook;
pub mod output;
pub mod subcommand;

pub use executor::StepExecutor;
pub use hook::LifecycleHook;
pub use output::OutputFormatter;
pub use subcommand::SubcommandPlugin;

pub use extism_pdk;
pub use hm_plugin_protocol::*;
