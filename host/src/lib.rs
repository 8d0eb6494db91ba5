//! `hm` runs CI pipelines on the developer's own machine; everything that acts in it is a sandboxed plugin.
//!
//! This library is the program without its `main`: `cli` on top, then `orchestrator`, `attack`, `plugin`, `host_functions`; `pipeline`, `backend`
//! and `sys` are leaves, on top of the crates for the project's files and for where steps run. `ARCHITECTURE.md` has the map.

pub mod attack;
pub mod backend;
pub mod cache;
pub mod cli;
pub mod host_functions;
pub mod orchestrator;
pub mod pipeline;
pub mod plugin;
pub mod record;
pub mod render;

pub mod sys;
