//! HTTP over real sockets of this machine. Each file is one duty; `plugin` is the guest that asks, `server` the one
//! that answers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "where these fail, a test fails")]

mod allowed_hosts;
mod bombs;
#[path = "../conformance/guest.rs"]
#[allow(dead_code, reason = "what the conformance tests need beside")]
mod guest;
mod imports;
mod interruption;
mod plugin;
mod reach;
mod redirects;
mod server;
mod tls;
mod wire;
