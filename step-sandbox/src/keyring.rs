//! Leaves the keyring of whoever started hm: the kernel keeps people's keys and tickets there, and each process
//! inherits it. Only for the helper processes.
#![allow(unsafe_code)]

use std::io;

/// The operation of `keyctl` that this is about.
const JOIN_SESSION_KEYRING: libc::c_long = 1;

/// Gives the thread, and what it starts, a new and empty session keyring.
///
/// # Errors
/// The system says no; a kernel without keys, or a filter that refuses them, is fine.
pub(crate) fn leave() -> io::Result<()> {
    let unnamed: libc::c_long = 0;
    // SAFETY: this operation reads one argument, a name or, as here, a null pointer.
    let made = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, unnamed) };
    let error = io::Error::last_os_error();
    if made >= 0 || matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) {
        Ok(())
    } else {
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of the calling thread's session keyring.
    fn session() -> libc::c_long {
        const GET_KEYRING_ID: libc::c_long = 0;
        const SESSION_KEYRING: libc::c_long = -3;
        // SAFETY: the operation takes numbers only.
        unsafe { libc::syscall(libc::SYS_keyctl, GET_KEYRING_ID, SESSION_KEYRING, 0 as libc::c_long) }
    }

    #[test]
    fn a_left_keyring_is_another() {
        let before = session();
        leave().unwrap();
        assert!(before < 0 || session() != before, "keyring {before}");
    }
}
