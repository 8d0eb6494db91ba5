//! WASI preview 1 as the plug-in sees it: all functions are there, and [`State`] gives them nothing to reach. Each call is
//! counted, paid and given a chance to be interrupted here; what it does is the library's.

use wasmtime::{Caller, Extern, Linker};
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self as preview1, WasiSnapshotPreview1};
use wiggle::GuestMemory;

use crate::fault::Fault;
use crate::fuel;
use crate::state::State;

/// The import module of WASI preview 1.
pub(crate) const MODULE: &str = "wasi_snapshot_preview1";

/// Most bytes that one call makes the host hold.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Links functions, each with its wasm type, whether it waits, and which argument says how many bytes it makes.
macro_rules! link {
    ($linker:ident $($name:ident($($arg:ident: $ty:ty),*) $(makes $bytes:ident)? $(-> .$wait:ident)?;)*) => {$(
        $linker.func_wrap_async(
            MODULE,
            stringify!($name),
            |mut caller: Caller<'_, State<T>>, ($($arg,)*): ($($ty,)*)| {
                Box::new(async move {
                    let bytes = 0_u64 $(+ u64::from($bytes.cast_unsigned()))?;
                    begin(&mut caller, stringify!($name), bytes).await?;
                    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
                        return Err(Fault::Misuse("WASI needs an exported `memory`".to_owned()).into());
                    };
                    let (bytes, state) = memory.data_and_store_mut(&mut caller);
                    state.wasi.set_hostcall_fuel(MAX_BYTES);
                    let mut memory = GuestMemory::Unshared(bytes);
                    preview1::$name(&mut state.wasi, &mut memory, $($arg),*)$(.$wait)?
                })
            },
        )?;
    )*};
}

/// Links it.
pub(crate) fn link<T: Send + 'static>(linker: &mut Linker<State<T>>) -> wasmtime::Result<()> {
    link! { linker
        args_get(a: i32, b: i32);
        args_sizes_get(a: i32, b: i32);
        clock_res_get(a: i32, b: i32);
        clock_time_get(a: i32, b: i64, c: i32);
        environ_get(a: i32, b: i32);
        environ_sizes_get(a: i32, b: i32);
        fd_advise(a: i32, b: i64, c: i64, d: i32) -> .await;
        fd_allocate(a: i32, b: i64, c: i64);
        fd_close(a: i32) -> .await;
        fd_datasync(a: i32) -> .await;
        fd_fdstat_get(a: i32, b: i32) -> .await;
        fd_fdstat_set_flags(a: i32, b: i32);
        fd_fdstat_set_rights(a: i32, b: i64, c: i64);
        fd_filestat_get(a: i32, b: i32) -> .await;
        fd_filestat_set_size(a: i32, b: i64) -> .await;
        fd_filestat_set_times(a: i32, b: i64, c: i64, d: i32) -> .await;
        fd_pread(a: i32, b: i32, c: i32, d: i64, e: i32) -> .await;
        fd_prestat_dir_name(a: i32, b: i32, c: i32);
        fd_prestat_get(a: i32, b: i32);
        fd_pwrite(a: i32, b: i32, c: i32, d: i64, e: i32) -> .await;
        fd_read(a: i32, b: i32, c: i32, d: i32) -> .await;
        fd_readdir(a: i32, b: i32, c: i32, d: i64, e: i32) -> .await;
        fd_renumber(a: i32, b: i32) -> .await;
        fd_seek(a: i32, b: i64, c: i32, d: i32) -> .await;
        fd_sync(a: i32) -> .await;
        fd_tell(a: i32, b: i32);
        fd_write(a: i32, b: i32, c: i32, d: i32) -> .await;
        path_create_directory(a: i32, b: i32, c: i32) -> .await;
        path_filestat_get(a: i32, b: i32, c: i32, d: i32, e: i32) -> .await;
        path_filestat_set_times(a: i32, b: i32, c: i32, d: i32, e: i64, f: i64, g: i32) -> .await;
        path_link(a: i32, b: i32, c: i32, d: i32, e: i32, f: i32, g: i32) -> .await;
        path_open(a: i32, b: i32, c: i32, d: i32, e: i32, f: i64, g: i64, h: i32, i: i32) -> .await;
        path_readlink(a: i32, b: i32, c: i32, d: i32, e: i32, f: i32) -> .await;
        path_remove_directory(a: i32, b: i32, c: i32) -> .await;
        path_rename(a: i32, b: i32, c: i32, d: i32, e: i32, f: i32) -> .await;
        path_symlink(a: i32, b: i32, c: i32, d: i32, e: i32) -> .await;
        path_unlink_file(a: i32, b: i32, c: i32) -> .await;
        poll_oneoff(a: i32, b: i32, c: i32, d: i32) -> .await;
        proc_raise(a: i32);
        random_get(a: i32, n: i32) makes n;
        sched_yield();
        sock_accept(a: i32, b: i32, c: i32);
        sock_recv(a: i32, b: i32, c: i32, d: i32, e: i32, f: i32);
        sock_send(a: i32, b: i32, c: i32, d: i32, e: i32);
        sock_shutdown(a: i32, b: i32);
    }
    // The library's own refuses codes above 125; here every code is an answer.
    linker.func_wrap(MODULE, "proc_exit", |mut caller: Caller<'_, State<T>>, code: i32| {
        caller.data_mut().count("proc_exit");
        wasmtime::Result::<()>::Err(Fault::Exit(code).into())
    })?;
    Ok(())
}

/// Counts a call, takes its price, and lets others run if it is time.
async fn begin<T: Send + 'static>(
    caller: &mut Caller<'_, State<T>>,
    name: &'static str,
    bytes: u64,
) -> wasmtime::Result<()> {
    caller.data_mut().count(name);
    fuel::take(&mut *caller, fuel::WASI.saturating_add(bytes))?;
    caller.data_mut().pause().await;
    Ok(())
}
