//! The two things about our own process that Rust calls unsafe: leaving its namespaces and touching descriptors that
//! nobody in the program owns. Both are for the single-threaded helper processes only.
#![allow(unsafe_code)]

use std::{fs, io, os::fd::BorrowedFd};

use rustix::{
    io::FdFlags,
    thread::{UnshareFlags, unshare_unsafe},
};

/// Moves the process into new namespaces.
///
/// # Errors
/// The system says no; a process with threads cannot have a new user namespace.
pub(crate) fn unshare(namespaces: UnshareFlags) -> rustix::io::Result<()> {
    // No such flag is ever asked for; without it the call cannot affect descriptors.
    let namespaces = namespaces - UnshareFlags::FILES;
    // SAFETY: the one danger is a descriptor table that threads no longer share (UnshareFlags::FILES, taken out above).
    unsafe { unshare_unsafe(namespaces) }
}

/// Sees to it that a program we start gets no descriptor but its standard streams, whoever left others open for us.
///
/// # Errors
/// `/proc` is not there.
pub(crate) fn keep_descriptors() -> io::Result<()> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if number > 2 {
            // SAFETY: not -1, and listed, so open. Should it be closed meanwhile, which takes another thread, the one
            // call that is made with it fails.
            let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
            match rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC) {
                Ok(()) | Err(rustix::io::Errno::BADF) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inherited_descriptors_do_not_reach_a_program() {
        let (ours, _other) = rustix::pipe::pipe().unwrap();
        assert!(!rustix::io::fcntl_getfd(&ours).unwrap().contains(FdFlags::CLOEXEC));
        keep_descriptors().unwrap();
        assert!(rustix::io::fcntl_getfd(&ours).unwrap().contains(FdFlags::CLOEXEC));
    }
}
