//! The HTTP imports, closed: a request is denied, and there is never a response to ask about.

use crate::env::Imports;
use crate::fault::Fault;

/// Links `http_request`, `http_status_code` and `http_headers`.
pub(crate) fn link<T: Send + 'static>(imports: &mut Imports<'_, T>) -> wasmtime::Result<()> {
    imports.define("http_request", |_request: u64, _body: u64| -> wasmtime::Result<u64> {
        Err(Fault::Denied { capability: "http_request".to_owned() }.into())
    })?;
    imports.define("http_status_code", || 0_u32)?;
    imports.define("http_headers", || 0_u64)
}
