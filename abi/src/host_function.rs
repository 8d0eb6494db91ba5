//! Functions that the embedder gives its plug-ins: their declaration, their registry, and the passing of
//! bytes in and out. What they do, and whether a plug-in may, is the embedder's.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;

use wasmtime::{Caller, Linker, WasmRet, WasmTyList};

use crate::fault::Fault;
use crate::fuel;
use crate::module::LoadError;
use crate::state::State;

/// The import module of user host functions, unless a function is declared with another.
pub const USER_MODULE: &str = "extism:host/user";

/// What a host function returns: bytes, empty for a function without a result, later.
pub type HostFuture<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, HostError>> + Send + 'a>>;

type Body<T> = Arc<dyn for<'a> Fn(&'a mut T, Vec<Vec<u8>>) -> HostFuture<'a> + Send + Sync>;

/// The declaration of a host function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFunction {
    /// Import module, usually [`USER_MODULE`].
    pub module: &'static str,
    /// Import name.
    pub name: &'static str,
    /// Number of arguments, 0 to 4. Each is an i64 in wasm: the offset of a block, or 0 for no bytes.
    pub params: u8,
    /// Whether there is a result: an i64 in wasm, the offset of a block, or 0 for no bytes.
    pub returns: bool,
    /// Fuel for one call.
    pub fuel: u64,
    /// Fuel for each byte of the arguments and of the result.
    pub fuel_per_byte: u64,
}

/// Why a host function ended the guest's call. Other errors become [`HostError::Failed`] with `?`, if they
/// are boxed or I/O errors, or through [`HostError::failed`].
#[derive(Debug)]
pub enum HostError {
    /// The plug-in may not do this.
    Denied {
        /// What it lacks, as the user knows it.
        capability: String,
    },
    /// The plug-in reached a limit of the embedder.
    Limit {
        /// What is limited.
        which: &'static str,
        /// How much there would have been.
        asked: u64,
        /// How much there may be.
        allowed: u64,
    },
    /// The arguments make no sense: the guest's fault, and reported as a trap.
    InvalidArgument(String),
    /// The host could not do it.
    Failed(Box<dyn Error + Send + Sync>),
}

impl HostError {
    /// The host could not do it, for this reason: an error, or a text.
    pub fn failed(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(source.into())
    }

    fn into_fault(self, function: &str) -> Fault {
        match self {
            Self::Denied { capability } => Fault::Denied { capability },
            Self::Limit { which, asked, allowed } => Fault::Limit { which, asked, allowed },
            Self::InvalidArgument(reason) => Fault::Misuse(format!("`{function}`: {reason}")),
            Self::Failed(source) => Fault::Host { function: function.to_owned(), source },
        }
    }
}

impl From<Box<dyn Error + Send + Sync>> for HostError {
    fn from(source: Box<dyn Error + Send + Sync>) -> Self {
        Self::Failed(source)
    }
}

impl From<std::io::Error> for HostError {
    fn from(source: std::io::Error) -> Self {
        Self::failed(source)
    }
}

/// The host functions that modules can import. `T` is the data of an instance, all that a body sees.
pub struct HostFunctions<T> {
    functions: Vec<Defined<T>>,
}

struct Defined<T> {
    declaration: HostFunction,
    body: Body<T>,
}

impl<T: Send + 'static> HostFunctions<T> {
    /// None.
    pub fn new() -> Self {
        Self { functions: Vec::new() }
    }

    /// Adds a function; of two with the same module and name, the later one is linked.
    ///
    /// `body` gets the instance's data and as many arguments as declared. It runs inside the guest's call: the
    /// call's deadline and the dropping of its future end it at its next `.await`, so it must not block.
    pub fn define(
        &mut self,
        declaration: HostFunction,
        body: impl for<'a> Fn(&'a mut T, Vec<Vec<u8>>) -> HostFuture<'a> + Send + Sync + 'static,
    ) -> &mut Self {
        self.functions.push(Defined { declaration, body: Arc::new(body) });
        self
    }

    /// Links all of them.
    pub(crate) fn link(&self, linker: &mut Linker<State<T>>) -> Result<(), LoadError> {
        for function in &self.functions {
            let name = function.declaration.name;
            match function.declaration.params {
                0 => function.link(linker, |(): ()| []),
                1 => function.link(linker, |(a,): (u64,)| [a]),
                2 => function.link(linker, |(a, b): (u64, u64)| [a, b]),
                3 => function.link(linker, |(a, b, c): (u64, u64, u64)| [a, b, c]),
                4 => function.link(linker, |(a, b, c, d): (u64, u64, u64, u64)| [a, b, c, d]),
                params => return Err(LoadError::HostFunction { name: name.to_owned(), params }),
            }
            .map_err(|error| LoadError::Engine { message: format!("{error:#}") })?;
        }
        Ok(())
    }
}

impl<T: Send + 'static> Default for HostFunctions<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Send + 'static> Defined<T> {
    fn link<P: WasmTyList + Send + 'static, const N: usize>(
        &self,
        linker: &mut Linker<State<T>>,
        offsets: fn(P) -> [u64; N],
    ) -> wasmtime::Result<()> {
        if self.declaration.returns {
            self.link_with_result(linker, offsets, |offset| offset)
        } else {
            self.link_with_result(linker, offsets, |_| ())
        }
    }

    fn link_with_result<P: WasmTyList + Send + 'static, R: 'static, const N: usize>(
        &self,
        linker: &mut Linker<State<T>>,
        offsets: fn(P) -> [u64; N],
        result: fn(u64) -> R,
    ) -> wasmtime::Result<()>
    where
        wasmtime::Result<R>: WasmRet,
    {
        let HostFunction { module, name, .. } = self.declaration;
        let (declaration, body) = (self.declaration.clone(), Arc::clone(&self.body));
        linker.func_wrap_async(module, name, move |caller: Caller<'_, State<T>>, params: P| {
            let (declaration, body) = (declaration.clone(), Arc::clone(&body));
            let offsets = offsets(params);
            Box::new(async move { call(&declaration, &body, caller, offsets).await.map(result) })
        })?;
        Ok(())
    }
}

/// One call from a guest: reads and pays the arguments, runs the body, pays and places the result.
async fn call<T: Send + 'static, const N: usize>(
    declaration: &HostFunction,
    body: &Body<T>,
    mut caller: Caller<'_, State<T>>,
    offsets: [u64; N],
) -> wasmtime::Result<u64> {
    let mut bytes_in = 0_u64;
    for offset in offsets {
        let length = caller.data_mut().blocks.length(offset);
        if offset != 0 && length == 0 {
            return Err(Fault::bad_offset(declaration.name, offset).into());
        }
        bytes_in = bytes_in.saturating_add(length);
    }
    let price = bytes_in.saturating_mul(declaration.fuel_per_byte).saturating_add(declaration.fuel);
    fuel::take(&mut caller, price)?;

    let state = caller.data_mut();
    let blocks = &mut state.blocks;
    let arguments = offsets.map(|offset| blocks.get(offset).unwrap_or_default().to_vec());
    let result =
        body(&mut state.data, arguments.into()).await.map_err(|error| error.into_fault(declaration.name))?;
    if !declaration.returns {
        return Ok(0);
    }
    let bytes_out = u64::try_from(result.len()).unwrap_or(u64::MAX);
    fuel::take(&mut caller, bytes_out.saturating_mul(declaration.fuel_per_byte))?;
    Ok(caller.data_mut().blocks.insert(result)?)
}
