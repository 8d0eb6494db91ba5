//! The error of a host function, as the embedder reports it. The guest's call ends with it; the form in which the
//! caller sees it is `call_error`'s.

use std::error::Error;

use crate::fault::Fault;

/// Failure of a host function, which ends the guest's call. Other errors become [`HostError::Failed`] with `?`, if
/// they are boxed or I/O errors, or through [`HostError::failed`].
#[derive(Debug)]
pub enum HostError {
    /// The plug-in has no permission for this.
    Denied {
        /// Permission that it lacks, as the user knows it.
        capability: String,
    },
    /// The plug-in reached a limit of the embedder.
    Limit {
        /// Name of the limited quantity.
        which: &'static str,
        /// Amount there would have been.
        asked: u64,
        /// Amount there may be.
        allowed: u64,
    },
    /// The arguments make no sense: the guest's fault, and reported as a trap.
    InvalidArgument(String),
    /// The host could not do it.
    Failed(Box<dyn Error + Send + Sync>),
}

impl HostError {
    /// A failure of the host's own, for this reason: an error, or a text.
    pub fn failed(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(source.into())
    }

    pub(crate) fn into_fault(self, function: &str) -> Fault {
        match self {
            Self::Denied { capability } => Fault::Denied { capability },
            Self::Limit { which, asked, allowed } => Fault::Limit { which, asked, allowed },
            Self::InvalidArgument(reason) => Fault::Misuse(format!("`{function}`: {reason}")),
            Self::Failed(source) => Fault::Host { function: function.to_owned(), source },
        }
    }
}

impl From<Box<dyn Error + Send + Sync>> for HostError {
    fn from(source: Box<dyn Error + Send + Sync>) -> Self {
        Self::Failed(source)
    }
}

impl From<std::io::Error> for HostError {
    fn from(source: std::io::Error) -> Self {
        Self::failed(source)
    }
}
