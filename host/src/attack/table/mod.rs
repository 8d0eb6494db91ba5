//! The attacks. Those of each part of the sandbox are in a file of their own.

mod builder;
mod calls;
mod memory;
mod modules;
mod outside;

use super::definition::Attack;

/// All attacks, in the order of what they test. No two have the same name.
#[must_use]
pub(crate) fn attacks() -> Vec<Attack> {
    [memory::attacks(), calls::attacks(), outside::attacks(), modules::attacks()]
        .into_iter()
        .flatten()
        .collect()
}
