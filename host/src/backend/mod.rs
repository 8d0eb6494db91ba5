//! Where steps run: the back ends behind the executor plugins' host functions.
//! What a plugin may ask of them is the policy's business, which lies above.

pub mod local;
