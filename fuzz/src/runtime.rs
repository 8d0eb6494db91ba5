//! The runtime that guests are called on. Their engines are the targets' own.

use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};

/// Runtime of all targets that call guests: one thread, which waits for each call.
pub(super) static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a tokio runtime"));
