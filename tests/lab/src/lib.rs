//! What the tests of several crates stand on: programs of the machine, container engines and registries, each of which
//! ends with its test. It knows nothing of `hm`; what `hm` calls its containers, say, is known where `hm` is tested.
#![forbid(unsafe_code)]
#![allow(clippy::expect_used, reason = "where these fail, a test fails")]

mod engine;
mod image;
mod programs;
mod registry;
mod service;

pub use engine::Engine;
pub use image::{BUSYBOX, NO_SHELL, ORDINARY_USER, import, import_busybox};
pub use programs::{
    Running, free_port, installed, missing, or_skipped, process_with, processes_with, skipped, wait_until,
};
pub use registry::Registry;
pub use service::Service;
