//! Functions that the embedder gives its plug-ins: their declaration, their registry, and the passing of
//! values in and out. What they do, and whether a plug-in may, is the embedder's; what the values are as bytes
//! is `convert`'s.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use wasmtime::{Caller, Linker};

use crate::convert::{Answer, Arguments, Wire};
use crate::fault::Fault;
use crate::fuel;
use crate::host_error::HostError;
use crate::load_error::LoadError;
use crate::state::InstanceState;

/// The import module of user host functions, unless a function is declared with another.
pub const USER_MODULE: &str = "extism:host/user";

/// Future of a host function: bytes, unless it was declared with another type. A function without a
/// result returns no bytes, or `()`.
pub type HostFuture<'a, R = Vec<u8>> = Pin<Box<dyn Future<Output = Result<R, HostError>> + Send + 'a>>;

/// The declaration of a host function whose arguments and result are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostFunction {
    /// Import module, usually [`USER_MODULE`].
    pub module: &'static str,
    /// Import name within the module.
    pub name: &'static str,
    /// Number of arguments, 0 to 5. Each is an i64 in wasm: the offset of a block, or 0 for no bytes.
    pub params: u8,
    /// True if there is a result: an i64 in wasm, the offset of a block, or 0 for no bytes.
    pub returns: bool,
    /// Fuel for one call.
    pub fuel: u64,
    /// Fuel for each byte of the arguments and of the result.
    pub fuel_per_byte: u64,
}

/// The declaration of a host function whose arguments and result are said by the types of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypedFunction {
    /// Import module, usually [`USER_MODULE`].
    pub module: &'static str,
    /// Import name within the module.
    pub name: &'static str,
    /// Fuel for one call.
    pub fuel: u64,
    /// Fuel for each byte of the blocks of the arguments and of the result.
    pub fuel_per_byte: u64,
}

/// The host functions that modules can import. `T` is the data of an instance, all that a body sees.
pub struct HostFunctions<T: 'static> {
    /// Import module and name of each.
    names: Vec<(&'static str, &'static str)>,
    links: Vec<Link<T>>,
}

/// The linking of one function.
type Link<T> = Box<dyn Fn(&mut Linker<InstanceState<T>>) -> Result<(), LoadError> + Send + Sync>;

impl<T: Send + 'static> HostFunctions<T> {
    /// A registry that has no function yet.
    pub fn new() -> Self {
        Self { names: Vec::new(), links: Vec::new() }
    }

    /// Adds a function of typed arguments and result; of two with the same module and name, the later one is
    /// linked.
    ///
    /// `body` gets the instance's data and the tuple of its arguments. Each is passed in wasm as an i64, the
    /// offset of a block with the bytes that [`FromBytes`](crate::FromBytes) reads, or, for a
    /// [`Number`](crate::Number), as its value. The result is the same the other way, and `()` is none. Bytes
    /// that are no value of the type end the call as a trap that names the function and the argument; a body that
    /// takes them as [`Undecoded`](crate::Undecoded) sees the call before that.
    ///
    /// The body runs inside the guest's call: the call's deadline and the dropping of its future end it at its
    /// next `.await`, so it must not block.
    pub fn define_typed<A: Arguments, R: Answer>(
        &mut self,
        declaration: TypedFunction,
        body: impl for<'a> Fn(&'a mut T, A) -> HostFuture<'a, R> + Send + Sync + 'static,
    ) -> &mut Self {
        let body = Arc::new(body);
        self.names.push((declaration.module, declaration.name));
        self.links.push(Box::new(move |linker| {
            let TypedFunction { module, name, .. } = declaration;
            let body = Arc::clone(&body);
            linker
                .func_wrap_async(
                    module,
                    name,
                    move |caller: Caller<'_, InstanceState<T>>, values: A::Wasm| {
                        let body = Arc::clone(&body);
                        Box::new(async move { call(&declaration, &*body, caller, values).await })
                    },
                )
                .map(|_| ())
                .map_err(|error| LoadError::Engine { message: format!("{error:#}") })
        }));
        self
    }

    /// Adds a function of bytes, whose declaration is data; else as [`define_typed`](Self::define_typed) does.
    ///
    /// `body` gets as many arguments as declared. What it returns is dropped if no result is declared.
    pub fn define(
        &mut self,
        declaration: HostFunction,
        body: impl for<'a> Fn(&'a mut T, Vec<Vec<u8>>) -> HostFuture<'a> + Send + Sync + 'static,
    ) -> &mut Self {
        type B = Vec<u8>;
        let HostFunction { module, name, params, returns, fuel, fuel_per_byte } = declaration;
        let typed = TypedFunction { module, name, fuel, fuel_per_byte };
        match params {
            0 => self.define_list(typed, returns, body, |(): ()| vec![]),
            1 => self.define_list(typed, returns, body, |(a,): (B,)| vec![a]),
            2 => self.define_list(typed, returns, body, |(a, b): (B, B)| vec![a, b]),
            3 => self.define_list(typed, returns, body, |(a, b, c): (B, B, B)| vec![a, b, c]),
            4 => self.define_list(typed, returns, body, |(a, b, c, d): (B, B, B, B)| vec![a, b, c, d]),
            5 => {
                self.define_list(typed, returns, body, |(a, b, c, d, e): (B, B, B, B, B)| vec![a, b, c, d, e])
            }
            params => {
                let refuse = move |_: &mut _| Err(LoadError::HostFunction { name: name.to_owned(), params });
                self.links.push(Box::new(refuse));
                self
            }
        }
    }

    /// Adds a function of bytes; `list` makes a list of its arguments.
    fn define_list<A: Arguments>(
        &mut self,
        declaration: TypedFunction,
        returns: bool,
        body: impl for<'a> Fn(&'a mut T, Vec<Vec<u8>>) -> HostFuture<'a> + Send + Sync + 'static,
        list: fn(A) -> Vec<Vec<u8>>,
    ) -> &mut Self {
        if returns {
            self.define_typed(declaration, move |data, arguments| body(data, list(arguments)))
        } else {
            self.define_typed(declaration, move |data, arguments| {
                let result = body(data, list(arguments));
                Box::pin(async move { result.await.map(drop) })
            })
        }
    }

    /// True if any function is declared with this import module.
    pub(crate) fn has_module(&self, module: &str) -> bool {
        self.names.iter().any(|(other, _)| *other == module)
    }

    /// Links all of them, in the order in which they were added.
    pub(crate) fn link(&self, linker: &mut Linker<InstanceState<T>>) -> Result<(), LoadError> {
        self.links.iter().try_for_each(|link| link(linker))
    }
}

impl<T: Send + 'static> Default for HostFunctions<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: 'static> fmt::Debug for HostFunctions<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("HostFunctions").field(&self.names).finish()
    }
}

/// One call from a guest: pays and reads the arguments, runs the body, pays and places the result.
async fn call<T: Send + 'static, A: Arguments, R: Answer>(
    declaration: &TypedFunction,
    body: &(impl for<'a> Fn(&'a mut T, A) -> HostFuture<'a, R> + Sync),
    mut caller: Caller<'_, InstanceState<T>>,
    values: A::Wasm,
) -> wasmtime::Result<R::Wasm> {
    let TypedFunction { name, fuel, fuel_per_byte, .. } = *declaration;
    let offsets = A::offsets(values);
    caller.data_mut().count_host_call(name);
    let mut bytes_in = 0_u64;
    for offset in offsets.as_ref().iter().copied() {
        let length = caller.data_mut().blocks.length(offset);
        if offset != 0 && length == 0 {
            return Err(Fault::bad_offset(name, offset).into());
        }
        bytes_in = bytes_in.saturating_add(length);
    }
    // One block may be all of the arguments, and each is a copy.
    let allowed = caller.data_mut().blocks.max_bytes();
    if bytes_in > allowed {
        return Err(Fault::Limit { which: "bytes of arguments", asked: bytes_in, allowed }.into());
    }
    // All is paid before the first copy is made.
    fuel::consume(&mut caller, bytes_in.saturating_mul(fuel_per_byte).saturating_add(fuel))?;

    // The last moment in which the call can still be ended without anything done for it.
    caller.data_mut().yield_if_due().await;
    let (data, blocks) = caller.data_mut().data_and_blocks();
    let blocks = offsets.as_ref().iter().map(|offset| blocks.get(*offset).unwrap_or_default().to_vec());
    let arguments = A::read(values, blocks)
        .map_err(|(number, error)| Fault::Misuse(format!("`{name}`: argument {number}: {error}")))?;
    let result = body(data, arguments).await.and_then(|answer| answer.encode().map_err(HostError::Failed));
    match result.map_err(|error| error.into_fault(name))?.0 {
        Wire::Value(value) => Ok(value),
        Wire::Block(bytes, place) => {
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            fuel::consume(&mut caller, length.saturating_mul(fuel_per_byte))?;
            Ok(place(caller.data_mut().blocks.insert(bytes)?))
        }
    }
}
