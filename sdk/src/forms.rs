//! Rust types of the forms in which values cross to the host: what a plugin passes and gets.
//! Their bytes are the business of `imports`.

/// The value itself, owned.
macro_rules! value {
    (json $ty:ty) => { $ty };
    (secret_json $ty:ty) => { $ty };
    (utf8) => { String };
    (lossy_utf8) => { String };
    (bytes) => { Vec<u8> };
    (truth) => { bool };
    (i32) => { i32 };
    (u64) => { u64 };
}

/// The type of an argument, as an author passes it.
macro_rules! given {
    (utf8) => { &str };
    (lossy_utf8) => { &str };
    (bytes) => { &[u8] };
    ($form:ident $($ty:ty)?) => { value!($form $($ty)?) };
}

/// The value of an argument that an author has passed.
macro_rules! owned {
    (utf8 $arg:ident) => {
        $arg.to_owned()
    };
    (lossy_utf8 $arg:ident) => {
        $arg.to_owned()
    };
    (bytes $arg:ident) => {
        $arg.to_owned()
    };
    ($form:ident $arg:ident) => {
        $arg
    };
}

pub(crate) use {given, owned, value};
