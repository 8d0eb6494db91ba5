//! State that several processes keep on one disk, and that survives their crashes.
//!
//! The crate has the few file operations that caches, records and stores of settings share, each written once:
//!
//! - *Publishing* ([`replace_file`], [`create_once`], [`replace_directory`], [`rename_new`]): a reader finds the old
//!   state or the new one, and never a part of either.
//! - *Locks* ([`LockFile`]): files that processes lock, alone or together. The kernel releases a lock when its holder
//!   dies.
//! - *Trash* ([`discard`], [`remove_whole`], [`remove_later`], [`empty_trash`]): a rename hides something at once, so
//!   that deleting it may take its time.
//! - *Trees* ([`remove_tree`], [`disk_usage`], [`apparent_size`], [`age`]) and *directories* ([`make_directory`],
//!   [`list`]).
//! - *Reading* ([`read_regular`], [`open_below`]): files that somebody else may have replaced with a pipe, a device
//!   or a link.
//! - *Words*: [`PathError`] ("cannot open /x/y"), [`one_line`], [`sha256_hex`], and [`Boot`], the machine's
//!   current start.
//! - *Threads* ([`blocking`]): all of the above blocks, so async programs have to do it on another thread.
//!
//! # Crash safety
//!
//! Two kinds of crash matter. When a *process* dies, the kernel still has everything that it wrote, so an atomic
//! rename is enough. When the *machine* dies, only what was synced is certain. Functions that sync say so. Those
//! that do not are for state that its reader can check: by a digest, by a MAC, or by a note of the [`Boot`] in which
//! it was written.

#![forbid(unsafe_code)]

mod boot;
mod causes;
mod digest;
mod directory;
mod error;
mod lock;
mod publish;
mod regular;
mod task;
mod trash;
mod tree;

pub use boot::Boot;
pub use causes::{causes, one_line};
pub use digest::{hex, sha256_hex};
pub use directory::{list, list_names, make_directory, make_directory_synced, sync_directory};
pub use error::{PathError, cannot, shortened};
pub use lock::{FileLock, LockFile, TryLock};
pub use publish::{
    create_once, remove_if_there, rename_new, replace_directory, replace_file, replace_file_unsynced,
    sync_file_system,
};
pub use regular::{
    open_below, open_regular, read_bounded, read_if_regular, read_regular, read_regular_below,
};
pub use task::{TaskError, blocking};
pub use trash::{TRASH_PREFIX, discard, empty_trash, remove_later, remove_whole, trash_in};
pub use tree::{ModeGuard, age, apparent_size, disk_usage, remove_tree};

/// The example of the README, which has to compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
