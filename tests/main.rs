//! End-to-end tests: the real `hm` binary, real plugins, real sandboxes, in an environment of their own.
//! Unit tests are beside the code they test.

mod bad_input;
mod builds;
mod events;
mod foreign_plugins;
mod interrupts;
mod real_pipelines;
mod support;
mod surface;
mod tree;
