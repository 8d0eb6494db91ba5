//! End-to-end tests: the real `hm` binary, real plugins, real sandboxes, in an environment of their own.
//! Unit tests are beside the code they test.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test panics when something is wrong")]

mod artifacts;
mod attack;
mod audit;
mod bad_input;
mod builds;
mod cache_command;
mod caching;
mod corpora;
mod crashes;
mod debug_log;
mod docker;
mod events;
mod foreign_plugins;
mod grants;
mod hooks;
mod interrupts;
mod isolation;
mod kv;
mod local_backend;
mod outside;
mod plugin_call;
mod plugin_call_grants;
mod plugin_life;
mod published;
mod python;
mod reach;
mod real_pipelines;
mod runs;
mod subcommands;
mod support;
mod surface;
mod tree;
