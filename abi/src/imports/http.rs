//! The HTTP imports of `extism:host/env`: prices of a request, and the passing of its parts in and out.
//! Counting requests is the session's; whether a request may be sent, and sending it, the client's.

use wasmtime::Caller;

use crate::fault::Fault;
use crate::fuel;
use crate::http::HttpRequest;
use crate::state::InstanceState;

use super::env_linker::{EnvLinker, read_argument};

const REQUEST: &str = "http_request";
const STATUS_CODE: &str = "http_status_code";
const HEADERS: &str = "http_headers";

/// Links `http_request`, `http_status_code` and `http_headers`.
pub(super) fn link<T: Send + 'static>(env: &mut EnvLinker<'_, T>) -> wasmtime::Result<()> {
    env.define_async(REQUEST, |caller: Caller<'_, InstanceState<T>>, (request, body): (u64, u64)| {
        Box::new(send(caller, request, body))
    })?;
    env.define(STATUS_CODE, |mut caller: Caller<'_, InstanceState<T>>| -> u32 {
        caller.data_mut().count_host_call(STATUS_CODE);
        caller.data().http.status().into()
    })?;
    env.define(HEADERS, |mut caller: Caller<'_, InstanceState<T>>| -> wasmtime::Result<u64> {
        caller.data_mut().count_host_call(HEADERS);
        let Some(headers) = caller.data().http.headers() else { return Ok(0) };
        let json = serde_json::to_vec(&headers).map_err(wasmtime::Error::new)?;
        fuel::charge(&mut caller, fuel::LOOK_UP, length(&json))?;
        Ok(caller.data_mut().blocks.insert(json)?)
    })
}

/// One `http_request`: the offset of the response's body.
async fn send<T: Send + 'static>(
    mut caller: Caller<'_, InstanceState<T>>,
    request: u64,
    body: u64,
) -> wasmtime::Result<u64> {
    caller.data_mut().count_host_call(REQUEST);
    fuel::charge(&mut caller, fuel::HTTP, 0)?;
    // Before the request is read: it counts, and the last response is forgotten, also where the request is malformed.
    let (client, limits) = caller.data_mut().http.begin_request()?;
    // Both are read before either is freed: they may be the same block.
    let json = read_argument(&mut caller, REQUEST, request)?;
    let bytes = read_argument(&mut caller, REQUEST, body)?;
    let blocks = &mut caller.data_mut().blocks;
    blocks.free(request);
    blocks.free(body);

    let request =
        HttpRequest::parse(&json, bytes).map_err(|error| Fault::Misuse(format!("`{REQUEST}`: {error}")))?;
    let response = client.send(request, &limits).await.map_err(|error| error.into_fault(REQUEST))?;
    // A client of the embedder's own may have overlooked the limits.
    limits.check_body(response.body.len()).map_err(|error| error.into_fault(REQUEST))?;
    fuel::charge(&mut caller, 0, length(&response.body))?;
    let state = caller.data_mut();
    let received = response.body.len();
    let offset = state.blocks.insert(response.body)?;
    state.http.end_request(response.status, response.headers, received);
    Ok(offset)
}

fn length(bytes: &[u8]) -> u64 {
    bytes.len().try_into().unwrap_or(u64::MAX)
}
