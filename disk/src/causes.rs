//! Errors and what caused them.

use std::error::Error;

/// The error, its cause, the cause of that, and so on.
pub fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The error with its causes in one line, where there is no room for more.
#[must_use]
pub fn one_line(error: &dyn Error) -> String {
    // Not `causes`, which asks for an error without borrows so that its items can be downcast.
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::cannot;

    #[test]
    fn causes_follow_their_error() {
        let error = cannot("open", "/x")(io::ErrorKind::NotFound.into());
        assert_eq!(one_line(&error), "cannot open /x: entity not found");
        let found = causes(&error).find_map(|cause| cause.downcast_ref::<io::Error>());
        assert_eq!(found.unwrap().kind(), io::ErrorKind::NotFound);
    }
}
