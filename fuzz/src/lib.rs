//! What the fuzz targets check: functions from bytes to nothing, which may fail only by panicking. The ordinary tests
//! run them over the checked-in corpora.

mod arguments;
mod documents;
mod guest;
mod host_calls;
mod http;
mod model;
mod script;
mod tar;

use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};

pub use arguments::args_schema;
pub use documents::{event, manifest, pipeline, terminal};
pub use guest::guest;
pub use host_calls::host_calls;
pub use http::{allowed_hosts, http_request};
pub use tar::engine_tar;

/// What the calls of guests run on.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a tokio runtime"));
