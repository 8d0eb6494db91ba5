//! Stands in for the back end where there is none: everything says so.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use hm_plugin_protocol::{SnapshotRef, StdStream};
use tokio::sync::mpsc;

use super::{ExecSpec, KeptLayer, LocalConfig, Removed, SandboxError};
use crate::backend::{Unfit, archive::Archive, artifacts::Collected};

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
    #[must_use]
    pub fn keeps(&self) -> bool {
        match self.0 {}
    }

    /// Cannot be called.
    #[must_use]
    pub fn not_kept(&self) -> Option<&str> {
        match self.0 {}
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// None.
    pub async fn tree(&self) -> Result<PathBuf, SandboxError> {
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
    pub async fn commit(
        &self,
        _id: &str,
        _keep_as: Option<&SnapshotRef>,
    ) -> Result<SnapshotRef, SandboxError> {
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
    ///
    /// # Errors
    /// None.
    pub async fn collect(
        &self,
        _id: &str,
        _patterns: &[String],
        _out: &Path,
    ) -> Result<Collected, SandboxError> {
        match self.0 {}
    }

    /// Cannot be called.
    pub async fn exists(&self, _snapshot: &SnapshotRef) -> bool {
        match self.0 {}
    }

    /// Cannot be called.
    pub async fn unfit(&self, _snapshot: &SnapshotRef) -> Option<Unfit> {
        match self.0 {}
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// None.
    pub async fn look(
        &self,
        _command: ExecSpec,
        _also: &[PathBuf],
        _limit: Duration,
        _output: mpsc::Sender<(StdStream, Vec<u8>)>,
    ) -> Result<Option<i32>, SandboxError> {
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

/// There are none here.
#[derive(Debug, Clone)]
pub struct KeptLayers;

impl KeptLayers {
    /// None.
    #[must_use]
    pub fn open(_cache: &Path) -> Self {
        Self
    }

    /// None.
    ///
    /// # Errors
    /// None.
    pub fn list(&self) -> Result<Vec<KeptLayer>, SandboxError> {
        Ok(Vec::new())
    }

    /// Removes nothing.
    ///
    /// # Errors
    /// None.
    pub fn remove_all_but(&self, _live: &BTreeSet<String>) -> Result<Removed, SandboxError> {
        Ok(Removed::default())
    }
}

/// Removes nothing.
///
/// # Errors
/// None.
pub fn forget_vanished(_cache: &Path) -> Result<Removed, SandboxError> {
    Ok(Removed::default())
}

/// Removes nothing.
///
/// # Errors
/// None.
pub fn empty_trash(_cache: &Path) -> Result<(), SandboxError> {
    Ok(())
}
