//! The options of an instance: all that a plug-in gets for its life beside the data of its host functions.
//! Limits of single calls are given with each call.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::directories::Directories;
use crate::http::HttpClient;
use crate::limits::InstanceLimits;
use crate::log::LogSink;

/// Everything that an instance gets for its life.
#[derive(Debug, Clone)]
pub struct InstanceOptions {
    /// Ceilings on all that it holds and uses.
    pub limits: InstanceLimits,
    /// Values that `config_get` finds, by key.
    pub config: BTreeMap<String, String>,
    /// Destination of its log lines.
    pub log: LogSink,
    /// Client behind `http_request`. None: every request is denied.
    pub http: Option<Arc<dyn HttpClient>>,
    /// Directories that it sees through WASI.
    pub directories: Directories,
}

impl InstanceOptions {
    /// [`InstanceLimits::standard`], no configuration, no log, no HTTP, no directories.
    pub fn standard() -> Self {
        Self {
            limits: InstanceLimits::standard(),
            config: BTreeMap::new(),
            log: LogSink::off(),
            http: None,
            directories: Directories::default(),
        }
    }
}
