//! `hm` runs CI pipelines on the developer's own machine; everything that acts in it is a sandboxed plugin.
//!
//! This library is the program without its `main`: `cli` on top, then `orchestrator`, `attack`, `plugin`,
//! `host_functions`; `pipeline`, `backend` and `sys` are leaves, on top of the crates for the project's files and for
//! the places where steps run. `ARCHITECTURE.md` has the map. What is public is so for `main`, the tests and the fuzz
//! targets, and is no promise to anybody else.
#![allow(missing_docs, reason = "nobody but this repository uses the library of the program")]

pub(crate) mod attack;
pub mod backend;
pub mod cache;
pub mod cli;
pub mod host_functions;
pub(crate) mod orchestrator;
pub mod pipeline;
pub mod plugin;
pub mod record;
pub mod render;
pub mod sys;
