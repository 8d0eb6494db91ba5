//! Stands in for the back end where there is none: everything says so.

use std::{ffi::OsString, process::ExitCode, sync::Arc};

use hm_plugin_protocol::{SnapshotRef, StdStream};
use tokio::sync::mpsc;

use super::{ExecSpec, LocalConfig, SandboxError};
use crate::backend::archive::Archive;

/// There are no helper processes here.
pub fn helper_main(_arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    None
}

/// There is none here: it cannot be made.
#[derive(Debug)]
pub struct LocalBackend(std::convert::Infallible);

impl LocalBackend {
    /// Says that it cannot be.
    ///
    /// # Errors
    /// Always.
    pub async fn open(_config: LocalConfig) -> Result<Self, SandboxError> {
        Err(SandboxError::Unsupported)
    }

    /// Nothing to say.
    #[must_use]
    pub fn notice(&self) -> Option<&str> {
        match self.0 {}
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// None.
    pub async fn start(&self, _parent: Option<&SnapshotRef>) -> Result<String, SandboxError> {
        match self.0 {}
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// None.
    pub async fn exec(
        &self,
        _id: &str,
        _command: ExecSpec,
        _output: mpsc::Sender<(StdStream, Vec<u8>)>,
    ) -> Result<i32, SandboxError> {
        match self.0 {}
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// None.
    pub async fn commit(&self, _id: &str) -> Result<SnapshotRef, SandboxError> {
        match self.0 {}
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// None.
    pub async fn discard(&self, _id: &str) -> Result<(), SandboxError> {
        match self.0 {}
    }

    /// Cannot be called.
    pub async fn exists(&self, _snapshot: &SnapshotRef) -> bool {
        match self.0 {}
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// None.
    pub async fn archive(&self) -> Result<Arc<Archive>, SandboxError> {
        match self.0 {}
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// None.
    pub async fn close(self) -> Result<(), SandboxError> {
        match self.0 {}
    }
}
