//! Where steps run: the back ends behind the executor plugins' host functions.
//! What a plugin may ask of them is the policy's business, which lies above.

pub mod archive;
pub mod config_files;
pub mod kv;
pub mod browser;
pub mod callback;
pub mod keyring;
pub mod local;
mod secret_files;
pub mod socket;
pub mod terminal;
