//! The linker of `extism:host/env`, and the reading of arguments that all of its functions share.
//! The functions themselves are in `env` and `http`.

use wasmtime::{Caller, IntoFunc, Linker, WasmRet, WasmTyList};

use crate::fault::Fault;
use crate::fuel;
use crate::state::InstanceState;

/// A linker of functions of the ABI, under the names of one import module.
pub(super) struct EnvLinker<'a, T: 'static> {
    linker: &'a mut Linker<InstanceState<T>>,
    module: &'a str,
    prefix: &'a str,
}

impl<'a, T: Send + 'static> EnvLinker<'a, T> {
    pub(super) fn new(linker: &'a mut Linker<InstanceState<T>>, module: &'a str, prefix: &'a str) -> Self {
        Self { linker, module, prefix }
    }

    /// Links one function, under the prefix of this module.
    pub(super) fn define<P, R>(
        &mut self,
        name: &str,
        function: impl IntoFunc<InstanceState<T>, P, R>,
    ) -> wasmtime::Result<()> {
        self.linker.func_wrap(self.module, &format!("{}{name}", self.prefix), function)?;
        Ok(())
    }

    /// Links one function that may wait, under the prefix of this module.
    pub(super) fn define_async<P: WasmTyList, R: WasmRet>(
        &mut self,
        name: &str,
        function: impl for<'c> Fn(Caller<'c, InstanceState<T>>, P) -> Box<dyn Future<Output = R> + Send + 'c>
        + Send
        + Sync
        + 'static,
    ) -> wasmtime::Result<()> {
        self.linker.func_wrap_async(self.module, &format!("{}{name}", self.prefix), function)?;
        Ok(())
    }
}

/// The length of an argument, paid for; offset 0 is empty.
pub(super) fn charge_argument<T: 'static>(
    caller: &mut Caller<'_, InstanceState<T>>,
    function: &str,
    offset: u64,
) -> wasmtime::Result<u64> {
    let length = caller.data_mut().blocks.length(offset);
    if offset != 0 && length == 0 {
        return Err(Fault::bad_offset(function, offset).into());
    }
    fuel::charge(&mut *caller, fuel::LOOK_UP, length)?;
    Ok(length)
}

/// The bytes of an argument, paid for; offset 0 is empty.
pub(super) fn read_argument<T: 'static>(
    caller: &mut Caller<'_, InstanceState<T>>,
    function: &str,
    offset: u64,
) -> wasmtime::Result<Vec<u8>> {
    // Paid before it is copied: a guest without fuel cannot make the host copy anything.
    charge_argument(caller, function, offset)?;
    Ok(caller.data_mut().blocks.get(offset).unwrap_or_default().to_vec())
}
