//! Work that waits for the disk, on a thread where it holds up nobody.

use std::io;

use tokio::task::JoinError;

/// A thread's work that has no result: it panicked, or the program is ending.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TaskError(#[from] JoinError);

impl From<TaskError> for io::Error {
    fn from(error: TaskError) -> Self {
        error.0.into()
    }
}

/// Runs work that blocks on one of tokio's threads for that. Dropping the future lets the work run to its end unseen.
///
/// # Errors
/// [`TaskError`]. Where the work itself can fail too, `blocking(…).await??` gives either error.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, TaskError> {
    Ok(tokio::task::spawn_blocking(work).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_comes_back_and_a_panic_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(blocking(|| 7)).unwrap(), 7);
        let error = runtime.block_on(blocking(|| panic!("on purpose"))).unwrap_err();
        assert!(error.to_string().contains("panic"), "{error}");
    }
}
