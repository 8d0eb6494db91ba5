//! Steps with an image, in containers of a real Docker Engine: what they see and do, what is kept of them, and what is
//! left behind, which has to be nothing. The engine and its images are `lab`'s.

mod artifacts;
mod astray;
mod cache;
mod deep;
mod ends;
mod engines;
mod files;
mod holes;
mod hostile;
pub(crate) mod lab;
mod limits;
mod orphans;
mod podman;
mod published;
mod steps;
