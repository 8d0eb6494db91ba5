//! The values that host functions take and give: what they are in Rust, how wasm passes them, and which bytes
//! stand for them. Reading and placing those bytes is `host_function`'s.

use std::error::Error;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wasmtime::{WasmRet, WasmTy, WasmTyList};

type BoxError = Box<dyn Error + Send + Sync>;

/// What a block of bytes can stand for, coming from a guest. No block at all reads as no bytes.
///
/// | type | bytes |
/// |---|---|
/// | `()` | any |
/// | `Vec<u8>` | as they are |
/// | `String` | UTF-8 |
/// | `bool` | the first one is not 0; at least one |
/// | `u32`, `i32`, `f32`, `u64`, `i64`, `f64` | as many as the number has, little endian |
/// | `Option<T>` | none for `None`, else those of `T` |
/// | [`Json<T>`] | JSON |
pub trait FromBytes: Sized + Send + 'static {
    /// Reads the value.
    ///
    /// # Errors
    /// The bytes stand for none.
    fn from_bytes(bytes: Vec<u8>) -> Result<Self, BoxError>;
}

/// What a block of bytes can stand for, going to a guest: the types of [`FromBytes`] but `()`, as it reads
/// them. A `bool` is one byte, 0 or 1.
pub trait ToBytes: Send + 'static {
    /// The bytes that stand for it. If there are none, no block is made.
    ///
    /// # Errors
    /// There are no such bytes, as for a map whose keys are no text in JSON.
    fn to_bytes(self) -> Result<Vec<u8>, BoxError>;
}

/// A value that crosses as JSON. An absent block is no JSON: `Json<Option<T>>` is `null` for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<T>(
    /// The value.
    pub T,
);

/// A number that the wasm value itself is, and not the offset of a block: `u32`, `i32`, `u64`, `i64`, `f32`,
/// `f64`. Integers of either sign are the same in wasm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number<N>(
    /// The value.
    pub N,
);

/// One argument of a host function: anything that is [`FromBytes`], passed as the offset of its block, or a
/// [`Number`].
pub trait Argument: Sized + Send + 'static {
    /// What wasm passes.
    type Wasm: WasmTy + Copy + Send + 'static;

    /// The offset of its block; 0 if it has none.
    fn offset(value: Self::Wasm) -> u64;

    /// Reads it, given the bytes of its block.
    ///
    /// # Errors
    /// The bytes stand for no such value.
    fn read(value: Self::Wasm, bytes: Vec<u8>) -> Result<Self, BoxError>;
}

/// The arguments of a host function: a tuple of up to five [`Argument`]s.
pub trait Arguments: Sized + Send + 'static {
    /// What wasm passes.
    type Wasm: WasmTyList + Copy + Send + 'static;

    /// The offsets of their blocks, one for each; 0 for those that have none.
    fn offsets(values: Self::Wasm) -> impl AsRef<[u64]> + Send;

    /// Reads them, given the bytes of their blocks.
    ///
    /// # Errors
    /// The number of the first that cannot be read, counted from 1, and why.
    fn read(values: Self::Wasm, blocks: impl Iterator<Item = Vec<u8>>) -> Result<Self, (usize, BoxError)>;
}

/// Arguments as the guest has passed them, not decoded yet: for a body that decides on the call before it looks at
/// what was passed.
pub struct Undecoded<A: Arguments> {
    values: A::Wasm,
    blocks: Vec<Vec<u8>>,
}

impl<A: Arguments> Undecoded<A> {
    /// Bytes of all their blocks.
    pub fn byte_count(&self) -> usize {
        self.blocks.iter().map(Vec::len).sum()
    }

    /// The arguments themselves.
    ///
    /// # Errors
    /// The number of the first that cannot be read, counted from 1, and why.
    pub fn decode(self) -> Result<A, (usize, BoxError)> {
        A::read(self.values, self.blocks.into_iter())
    }
}

impl<A: Arguments> Arguments for Undecoded<A> {
    type Wasm = A::Wasm;

    fn offsets(values: Self::Wasm) -> impl AsRef<[u64]> + Send {
        A::offsets(values)
    }

    fn read(values: Self::Wasm, blocks: impl Iterator<Item = Vec<u8>>) -> Result<Self, (usize, BoxError)> {
        Ok(Self { values, blocks: blocks.collect() })
    }
}

/// Result of a host function: `()` for no result in wasm, anything that is [`ToBytes`] for the offset of its
/// block, a [`Number`], or one of these that is [`Encoded`] already.
pub trait Answer: Sized + Send + 'static {
    /// What wasm gets.
    type Wasm: WasmRet + Send + 'static;

    /// Its form on the wire.
    ///
    /// # Errors
    /// There is none, as for a map whose keys are no text in JSON.
    fn encode(self) -> Result<Encoded<Self::Wasm>, BoxError>;
}

/// An answer in its form on the wire: for a body that measures what the guest gets.
pub struct Encoded<W>(pub(crate) Wire<W>);

/// The two ways in which an answer crosses.
pub(crate) enum Wire<W> {
    /// As the wasm value itself.
    Value(W),
    /// In a block; the wasm value is made of the block's offset.
    Block(Vec<u8>, fn(u64) -> W),
}

impl<W> Encoded<W> {
    /// Bytes of its block; 0 if it has none.
    pub fn byte_count(&self) -> usize {
        match &self.0 {
            Wire::Value(_) => 0,
            Wire::Block(bytes, _) => bytes.len(),
        }
    }
}

impl<W: WasmRet + Send + 'static> Answer for Encoded<W> {
    type Wasm = W;

    fn encode(self) -> Result<Self, BoxError> {
        Ok(self)
    }
}

impl FromBytes for () {
    fn from_bytes(_: Vec<u8>) -> Result<Self, BoxError> {
        Ok(())
    }
}

impl FromBytes for Vec<u8> {
    fn from_bytes(bytes: Vec<u8>) -> Result<Self, BoxError> {
        Ok(bytes)
    }
}

impl ToBytes for Vec<u8> {
    fn to_bytes(self) -> Result<Vec<u8>, BoxError> {
        Ok(self)
    }
}

impl FromBytes for String {
    fn from_bytes(bytes: Vec<u8>) -> Result<Self, BoxError> {
        Ok(Self::from_utf8(bytes)?)
    }
}

impl ToBytes for String {
    fn to_bytes(self) -> Result<Vec<u8>, BoxError> {
        Ok(self.into_bytes())
    }
}

impl FromBytes for bool {
    fn from_bytes(bytes: Vec<u8>) -> Result<Self, BoxError> {
        Ok(*bytes.first().ok_or("no byte where there should be a truth value")? != 0)
    }
}

impl ToBytes for bool {
    fn to_bytes(self) -> Result<Vec<u8>, BoxError> {
        Ok(vec![self.into()])
    }
}

impl<T: FromBytes> FromBytes for Option<T> {
    fn from_bytes(bytes: Vec<u8>) -> Result<Self, BoxError> {
        if bytes.is_empty() { Ok(None) } else { T::from_bytes(bytes).map(Some) }
    }
}

impl<T: ToBytes> ToBytes for Option<T> {
    fn to_bytes(self) -> Result<Vec<u8>, BoxError> {
        self.map_or_else(|| Ok(Vec::new()), T::to_bytes)
    }
}

impl<T: DeserializeOwned + Send + 'static> FromBytes for Json<T> {
    fn from_bytes(bytes: Vec<u8>) -> Result<Self, BoxError> {
        Ok(Self(serde_json::from_slice(&bytes)?))
    }
}

impl<T: Serialize + Send + 'static> ToBytes for Json<T> {
    fn to_bytes(self) -> Result<Vec<u8>, BoxError> {
        Ok(serde_json::to_vec(&self.0)?)
    }
}

impl<T: FromBytes> Argument for T {
    type Wasm = u64;

    fn offset(value: u64) -> u64 {
        value
    }

    fn read(_: u64, bytes: Vec<u8>) -> Result<Self, BoxError> {
        T::from_bytes(bytes)
    }
}

impl<T: ToBytes> Answer for T {
    type Wasm = u64;

    fn encode(self) -> Result<Encoded<u64>, BoxError> {
        Ok(Encoded(Wire::Block(self.to_bytes()?, |offset| offset)))
    }
}

impl Answer for () {
    type Wasm = ();

    fn encode(self) -> Result<Encoded<()>, BoxError> {
        Ok(Encoded(Wire::Value(())))
    }
}

/// Each number in both forms: little endian in a block, and by value.
macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl FromBytes for $number {
            fn from_bytes(bytes: Vec<u8>) -> Result<Self, BoxError> {
                let exact = bytes.as_slice().try_into().map_err(|_| {
                    format!("{} bytes where a number has {}", bytes.len(), size_of::<Self>())
                })?;
                Ok(Self::from_le_bytes(exact))
            }
        }

        impl ToBytes for $number {
            fn to_bytes(self) -> Result<Vec<u8>, BoxError> {
                Ok(self.to_le_bytes().into())
            }
        }

        impl Argument for Number<$number> {
            type Wasm = $number;

            fn offset(_: $number) -> u64 {
                0
            }

            fn read(value: $number, _: Vec<u8>) -> Result<Self, BoxError> {
                Ok(Self(value))
            }
        }

        impl Answer for Number<$number> {
            type Wasm = $number;

            fn encode(self) -> Result<Encoded<$number>, BoxError> {
                Ok(Encoded(Wire::Value(self.0)))
            }
        }
    )*};
}

numbers!(u32, i32, f32, u64, i64, f64);

macro_rules! arguments {
    ($count:literal: $($number:literal $argument:ident $value:ident),*) => {
        impl<$($argument: Argument),*> Arguments for ($($argument,)*) {
            type Wasm = ($($argument::Wasm,)*);

            fn offsets(($($value,)*): Self::Wasm) -> impl AsRef<[u64]> + Send {
                let offsets: [u64; $count] = [$($argument::offset($value)),*];
                offsets
            }

            #[allow(unused_mut, unused_variables, reason = "there may be no argument")]
            fn read(
                ($($value,)*): Self::Wasm,
                mut blocks: impl Iterator<Item = Vec<u8>>,
            ) -> Result<Self, (usize, BoxError)> {
                Ok(($(
                    $argument::read($value, blocks.next().unwrap_or_default())
                        .map_err(|error| ($number, error))?,
                )*))
            }
        }
    };
}

arguments!(0:);
arguments!(1: 1 A a);
arguments!(2: 1 A a, 2 B b);
arguments!(3: 1 A a, 2 B b, 3 C c);
arguments!(4: 1 A a, 2 B b, 3 C c, 4 D d);
arguments!(5: 1 A a, 2 B b, 3 C c, 4 D d, 5 E e);
