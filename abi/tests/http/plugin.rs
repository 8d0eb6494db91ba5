//! The guest of these tests, which passes on what it is told to ask for, and names that lead where a test wants.

use std::collections::VecDeque;
use std::error::Error;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex};

use hm_abi::{
    AllowedHosts, AllowedHostsClient, CallError, CallLimits, HostFunctions, HttpClient, Instance,
    InstanceLimits, InstanceOptions, LogSink, Module, ResolveFuture, Resolver, TlsRoots,
};

use crate::guest::{CALL, assemble, describe, load};

/// `get` sends the input as a request, `send` does so with the body "hello", and both output what comes back. `status`
/// and `headers` output what is known of the last response.
const GUEST: &str = r#"
(data (i32.const 0) "greeting")
(func (export "get") (call $put (call $http_request (call $input_offset) (i64.const 0)))
  (if (i64.ne (call $input_length) (i64.const 0)) (then unreachable)))
(func (export "send") (local $body i64)
  (local.set $body (call $config_get (call $text (i32.const 0) (i32.const 8))))
  (call $put (call $http_request (call $input_offset) (local.get $body)))
  (if (i64.ne (call $length (local.get $body)) (i64.const 0)) (then unreachable)))
(func (export "both") (call $put (call $http_request (call $input_offset) (call $input_offset))))
(func (export "unknown_request") (drop (call $http_request (i64.const 5) (i64.const 0))))
(func (export "unknown_body") (drop (call $http_request (call $input_offset) (i64.const 5))))
(func (export "thrice")
  (drop (call $http_request (call $copy) (i64.const 0)))
  (drop (call $http_request (call $copy) (i64.const 0)))
  (drop (call $http_request (call $copy) (i64.const 0))))
(func $copy (result i64) (local $block i64) (local $i i64)
  (local.set $block (call $alloc (call $input_length)))
  (loop $next
    (call $store_u8 (i64.add (local.get $block) (local.get $i)) (call $input_load_u8 (local.get $i)))
    (local.set $i (i64.add (local.get $i) (i64.const 1)))
    (br_if $next (i64.lt_u (local.get $i) (call $input_length))))
  (local.get $block))
(func (export "status") (call $number (i64.extend_i32_u (call $http_status_code))))
(func (export "headers") (call $put (call $http_headers)))
(func (export "trap") unreachable)
"#;

static MODULE: LazyLock<Module<()>> =
    LazyLock::new(|| load(&assemble(GUEST), &HostFunctions::new()).unwrap());

pub(crate) struct Plugin {
    pub instance: Instance<()>,
}

impl Plugin {
    /// May reach these hosts.
    pub(crate) fn new(hosts: &[impl AsRef<str>]) -> Self {
        Self::with(client(hosts), InstanceLimits::standard())
    }

    /// May reach these hosts, whose names lead where the resolver says.
    pub(crate) fn resolving(hosts: &[impl AsRef<str>], resolver: &Arc<Names>) -> Self {
        let resolver: Arc<dyn Resolver> = Arc::clone(resolver) as _;
        Self::with(client(hosts).with_resolver(resolver), InstanceLimits::standard())
    }

    pub(crate) fn with(client: impl HttpClient + 'static, limits: InstanceLimits) -> Self {
        Self::with_http(Some(Arc::new(client)), limits)
    }

    pub(crate) fn with_http(http: Option<Arc<dyn HttpClient>>, limits: InstanceLimits) -> Self {
        let config = [("greeting".to_owned(), "hello".to_owned())].into();
        let options =
            InstanceOptions { limits, config, log: LogSink::off(), http, ..InstanceOptions::standard() };
        Self { instance: MODULE.instance((), options) }
    }

    /// Result of asking for a URL.
    pub(crate) async fn get(&mut self, url: &str) -> String {
        self.call("get", &serde_json::json!({ "url": url }).to_string()).await
    }

    pub(crate) async fn call(&mut self, export: &str, input: &str) -> String {
        self.call_within(export, input, &CALL).await
    }

    /// The outcome of a call; of an error of the host with all its reasons.
    pub(crate) async fn call_within(&mut self, export: &str, input: &str, limits: &CallLimits) -> String {
        let result = self.instance.call(export, input.as_bytes(), limits).await;
        if let Err(CallError::Host { source, .. }) = &result {
            let mut text = format!("failed: {source}");
            let mut error: &dyn Error = source.as_ref();
            while let Some(source) = error.source() {
                text.push_str(&format!(": {source}"));
                error = source;
            }
            return text;
        }
        describe(&result)
    }
}

/// A client that trusts no certificate.
pub(crate) fn client(hosts: &[impl AsRef<str>]) -> AllowedHostsClient {
    AllowedHostsClient::new(AllowedHosts::parse(hosts).unwrap(), TlsRoots::only([]).unwrap())
}

/// Answers look-ups in turn, and the last answer for ever.
pub(crate) struct Names {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    asked: Mutex<Vec<String>>,
}

impl Names {
    /// Each answer is a list of addresses, with spaces between.
    pub(crate) fn leading_to(answers: &[&str]) -> Arc<Self> {
        let addresses = |answer: &&str| answer.split_whitespace().map(|text| text.parse().unwrap()).collect();
        Arc::new(Self {
            answers: Mutex::new(answers.iter().map(addresses).collect()),
            asked: Mutex::default(),
        })
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Resolver for Names {
    fn resolve<'a>(&'a self, name: &'a str) -> ResolveFuture<'a> {
        self.asked.lock().unwrap().push(name.to_owned());
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        Box::pin(async move { answer.ok_or_else(|| std::io::Error::other("no such name")) })
    }
}
