//! Errors of making or reading a record.

use hm_disk::PathError;

/// Error of making or reading a record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The system says no.
    #[error(transparent)]
    Io(#[from] PathError),
}
