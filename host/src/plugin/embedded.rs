//! The plugins that are part of the `hm` binary. They are built from `plugins/` by the build script.

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
