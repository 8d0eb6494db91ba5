//! End-to-end tests: the real `hm` binary, real plugins, real sandboxes, in an environment of their own.
//! Unit tests are beside the code they test.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test panics when something is wrong")]

mod attack;
mod bad_input;
mod builds;
mod corpora;
mod events;
mod foreign_plugins;
mod grants;
mod interrupts;
mod local_backend;
mod plugin_call;
mod real_pipelines;
mod support;
mod surface;
mod tree;
