//! The host functions as wasm imports of module `extism:host/user`. The only unsafe code of this crate.
//! They follow from their declarations in the protocol; what an author calls is in `host`.
#![allow(unsafe_code)]

use extism_pdk::{FromBytesOwned, Json, ManagedMemory, Memory, ToMemory};
use hm_plugin_protocol::*;

use crate::forms::value;

/// Puts an argument into a block of Extism memory, which is freed when the argument goes out of scope.
fn block(function: &str, value: &impl ToMemory) -> ManagedMemory {
    match value.to_memory() {
        Ok(memory) => ManagedMemory::from(memory),
        Err(error) => panic!("an argument of {function} cannot be encoded: {error}"),
    }
}

/// Takes the answer at this offset; none is as good as an empty one.
fn answer<T: FromBytesOwned>(function: &str, offset: u64) -> T {
    let bytes = Memory::find(offset).map_or_else(Vec::new, |memory| {
        let bytes = memory.to_vec();
        memory.free();
        bytes
    });
    match T::from_bytes_owned(&bytes) {
        Ok(value) => value,
        Err(error) => panic!("{function} gave an answer of another form: {error}"),
    }
}

/// The value that goes into the block of an argument.
macro_rules! sent {
    (json $arg:ident) => {
        Json($arg)
    };
    (secret_json $arg:ident) => {
        Json($arg)
    };
    ($form:ident $arg:ident) => {
        $arg
    };
}

/// The value that the block of an answer is read as.
macro_rules! received {
    ($name:ident $offset:ident) => {
        $offset
    };
    ($name:ident $offset:ident json $ty:ty) => {
        answer::<Json<$ty>>(stringify!($name), $offset).0
    };
    ($name:ident $offset:ident $form:ident) => {
        answer::<value!($form)>(stringify!($name), $offset)
    };
}

/// An answer of any form as wasm passes it.
macro_rules! offset {
    ($form:ident) => {
        u64
    };
}

macro_rules! imports {
    ($($(#[$meta:meta])* fn $name:ident $(as $wrapper:ident)?
        ($($arg:ident: $form:ident $($ty:ty)?),*) $(-> $result:ident $($answer:ty)?)?;)*) => {$(
        pub(crate) fn $name($($arg: value!($form $($ty)?)),*) $(-> value!($result $($answer)?))? {
            #[link(wasm_import_module = "extism:host/user")]
            unsafe extern "C" {
                fn $name($($arg: u64),*) $(-> offset!($result))?;
            }
            $(let $arg = block(stringify!($name), &sent!($form $arg));)*
            // SAFETY: only offsets of Extism blocks cross, which the host checks; it never sees an address of
            // ours, and the blocks of the arguments live until the end of this function.
            let offset = unsafe { $name($($arg.offset()),*) };
            received!($name offset $($result $($answer)?)?)
        }
    )*};
}

hm_plugin_protocol::host_functions!(imports);

/// The value that the host configured under this key; an empty one counts as none.
pub(crate) fn config_get(key: &str) -> Option<String> {
    extism_pdk::config::get_memory(key).ok().flatten().and_then(|memory| memory.to_string().ok())
}

/// Makes this the error of the current call.
pub(crate) fn set_error(text: &str) {
    if let Ok(memory) = Memory::from_bytes(text) {
        // SAFETY: passes the offset of a block that was just made; it is left to the host, which frees it.
        unsafe { extism_pdk::extism::error_set(memory.offset()) };
    }
}
