//! Checks of the fuzz targets: functions from bytes to nothing, which may fail only by panicking. The ordinary tests
//! run them over the checked-in corpora.

mod arguments;
mod documents;
mod guest;
mod host_calls;
mod http;
mod model;
mod runtime;
mod script;
mod tar;

pub use arguments::args_schema;
pub use documents::{event, manifest, pipeline, terminal};
pub use guest::guest;
pub use host_calls::host_calls;
pub use http::{allowed_hosts, http_request};
pub use tar::engine_tar;
