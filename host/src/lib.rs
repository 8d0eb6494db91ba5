//! `hm` runs CI pipelines on the developer's own machine; everything that acts in it is a sandboxed plugin.
//!
//! This library is the program without its `main`: `cli` on top, then `orchestrator`, `attack`, `plugin`, `host_functions`; `pipeline`, `backend`,
//! `files`, `content`, `globs` and `sys` are leaves. `ARCHITECTURE.md` has the map.

pub mod attack;
pub mod backend;
pub mod cache;
pub mod cli;
pub mod content;
pub mod files;
pub mod globs;
pub mod host_functions;
pub(crate) mod orchestrator;
pub mod pipeline;
pub mod plugin;
pub mod record;
pub mod render;

pub mod sys;
