//! The guests that `build.rs` has assembled from `guests/*.wat`, by the names of their files.

include!(concat!(env!("OUT_DIR"), "/guests.rs"));

/// Bytes of a module, made when they are wanted: some are large.
pub(super) type Guest = Box<dyn Fn() -> Vec<u8> + Send + Sync>;

/// The guest of a file; no bytes, if there is no such file.
pub(super) fn file(name: &'static str) -> Guest {
    Box::new(move || assembled(name).to_vec())
}

/// The first half of a guest.
pub(super) fn half(name: &'static str) -> Guest {
    Box::new(move || assembled(name)[..assembled(name).len() / 2].to_vec())
}

fn assembled(wanted: &str) -> &'static [u8] {
    ASSEMBLED.iter().find(|(name, _)| *name == wanted).map_or(&[], |(_, wasm)| wasm)
}
