//! Forms of arguments and answers that are this host's own, beside those of the ABI; and the Rust type of each form
//! that the declarations of host functions name.

use std::error::Error;

use hm_abi::{FromBytes, ToBytes};
use serde::de::DeserializeOwned;

/// JSON that may hold a secret: no message quotes it.
pub(super) struct SecretJson<T>(pub(super) T);

/// Text in which what is not UTF-8 is replaced.
pub(super) struct LossyUtf8(pub(super) String);

/// Yes or no in four bytes: readers of `bool`, `u32` and `i32` all understand them.
pub(super) struct Truth(pub(super) bool);

impl<T: DeserializeOwned + Send + 'static> FromBytes for SecretJson<T> {
    fn from_bytes(bytes: Vec<u8>) -> Result<Self, Box<dyn Error + Send + Sync>> {
        serde_json::from_slice(&bytes).map(Self).map_err(|_| "it is not valid".into())
    }
}

impl FromBytes for LossyUtf8 {
    fn from_bytes(bytes: Vec<u8>) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Self(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

impl ToBytes for Truth {
    fn to_bytes(self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        u32::from(self.0).to_bytes()
    }
}

/// The type that is read from a form, or written in it.
macro_rules! wire_type {
    (json $ty:ty) => { hm_abi::Json<$ty> };
    (secret_json $ty:ty) => { SecretJson<$ty> };
    (utf8) => { String };
    (lossy_utf8) => { LossyUtf8 };
    (bytes) => { Vec<u8> };
    (truth) => { Truth };
    (i32) => { i32 };
    (u64) => { u64 };
    () => { () };
}

/// A pattern that takes the value out of that type.
macro_rules! wire_pattern {
    (json $value:ident) => {
        hm_abi::Json($value)
    };
    (secret_json $value:ident) => {
        SecretJson($value)
    };
    (lossy_utf8 $value:ident) => {
        LossyUtf8($value)
    };
    ($form:ident $value:ident) => {
        $value
    };
}

/// The answer of a body in the type of its form; `[]` is the form of no answer.
macro_rules! in_wire_type {
    ([json] $value:expr) => {
        hm_abi::Json($value)
    };
    ([truth] $value:expr) => {
        Truth($value)
    };
    ([$($form:ident)?] $value:expr) => {
        $value
    };
}

/// The form as the reference calls it.
macro_rules! form_name {
    (secret_json) => {
        "json"
    };
    (utf8) => {
        "utf-8"
    };
    (lossy_utf8) => {
        "utf-8"
    };
    (truth) => {
        "u32"
    };
    ($form:ident) => {
        stringify!($form)
    };
}

pub(super) use {form_name, in_wire_type, wire_pattern, wire_type};
