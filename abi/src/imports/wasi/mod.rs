//! WASI preview 1 as the plug-in sees it: all functions are there, and reach the [`Directories`] of the instance and
//! nothing else. Each call is counted, paid and given a chance to be interrupted here; what it does is the library's.

mod paths;

use wasmtime::{Caller, Extern, Linker, Memory};
use wasmtime_wasi::p1::types::Errno;
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self as preview1, WasiSnapshotPreview1};
use wiggle::{GuestMemory, GuestPtr};

use crate::fault::Fault;
use crate::fuel;
use crate::state::InstanceState;
use paths::GuestPath;

/// The import module of WASI preview 1.
pub(crate) const MODULE: &str = "wasi_snapshot_preview1";

/// Descriptors that one wasm instance may have, the three streams among them.
const MAX_DESCRIPTORS: usize = 64;

/// Most bytes that one call makes the host hold.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Links functions, each with its wasm type, its price, which argument says how many bytes it makes, or how large a
/// file gets, whether it waits, and behind which pointer it says how many bytes it has moved, and when it gives a
/// descriptor back. The ones that `unless` names are looked at before.
macro_rules! link {
    ($linker:ident $price:ident $($name:ident($($arg:ident: $ty:ty),*)
        $(makes $bytes:ident)? $(grows $size:ident)? $(-> .$wait:ident)? $(moves $moved:ident)? $(writes $written:ident)?
        $(closes $closes:tt)? $(unless |$wasi:ident, $memory:ident| $refusal:expr)?;)*) => {$(
        $linker.func_wrap_async(
            MODULE,
            stringify!($name),
            |mut caller: Caller<'_, InstanceState<T>>, ($($arg,)*): ($($ty,)*)| {
                Box::new(async move {
                    let bytes = 0_u64 $(+ u64::from($bytes.cast_unsigned()))?;
                    begin(&mut caller, stringify!($name), fuel::$price.saturating_add(bytes)).await?;
                    // Charged before: the size is the guest's word, and files can be made that long without a byte
                    // moved.
                    $(caller.data_mut().charge_written($size.cast_unsigned())?;)?
                    let memory = memory(&mut caller)?;
                    let (bytes, state) = memory.data_and_store_mut(&mut caller);
                    // The library counts down from here what it copies for one call, and never tops up itself.
                    state.wasi.set_hostcall_fuel(MAX_BYTES);
                    let mut memory = GuestMemory::Unshared(bytes);
                    $(
                        let ($wasi, $memory) = (&mut state.wasi, &mut memory);
                        if let Some(refused) = $refusal {
                            return Ok(refused as i32);
                        }
                        // The look has used some of it.
                        state.wasi.set_hostcall_fuel(MAX_BYTES);
                    )?
                    let answer = preview1::$name(&mut state.wasi, &mut memory, $($arg),*)$(.$wait)??;
                    $(
                        let moved = moved(&memory, answer, $moved);
                        fuel::charge(&mut caller, 0, moved)?;
                    )?
                    // Charged after: only the answer says how much of it was written.
                    $(
                        let moved = moved(&memory, answer, $written);
                        state.charge_written(moved)?;
                        fuel::charge(&mut caller, 0, moved)?;
                    )?
                    $(
                        if answer == Errno::Success as i32 && $closes {
                            caller.data_mut().descriptors -= 1;
                        }
                    )?
                    Ok(answer)
                })
            },
        )?;
    )*};
}

/// Links all functions of preview 1.
pub(super) fn link<T: Send + 'static>(linker: &mut Linker<InstanceState<T>>) -> wasmtime::Result<()> {
    link! { linker WASI
        args_get(a: i32, b: i32);
        args_sizes_get(a: i32, b: i32);
        clock_res_get(a: i32, b: i32);
        clock_time_get(a: i32, b: i64, c: i32);
        environ_get(a: i32, b: i32);
        environ_sizes_get(a: i32, b: i32);
        fd_advise(a: i32, b: i64, c: i64, d: i32) -> .await;
        fd_allocate(a: i32, b: i64, c: i64);
        fd_close(a: i32) -> .await closes true;
        fd_fdstat_get(a: i32, b: i32) -> .await;
        fd_fdstat_set_flags(a: i32, b: i32);
        fd_fdstat_set_rights(a: i32, b: i64, c: i64);
        fd_filestat_get(a: i32, b: i32) -> .await;
        fd_pread(a: i32, b: i32, c: i32, d: i64, at: i32) -> .await moves at;
        fd_prestat_dir_name(a: i32, b: i32, c: i32);
        fd_prestat_get(a: i32, b: i32);
        fd_pwrite(a: i32, b: i32, c: i32, d: i64, at: i32) -> .await writes at;
        fd_read(a: i32, b: i32, c: i32, at: i32) -> .await moves at;
        fd_renumber(from: i32, to: i32) -> .await closes (from != to);
        fd_seek(a: i32, b: i64, c: i32, d: i32) -> .await;
        fd_tell(a: i32, b: i32);
        fd_write(a: i32, b: i32, c: i32, at: i32) -> .await writes at;
        poll_oneoff(a: i32, b: i32, c: i32, d: i32) -> .await;
        proc_raise(a: i32);
        random_get(a: i32, n: i32) makes n;
        sched_yield();
        sock_accept(a: i32, b: i32, c: i32);
        sock_recv(a: i32, b: i32, c: i32, d: i32, e: i32, f: i32);
        sock_send(a: i32, b: i32, c: i32, d: i32, e: i32);
        sock_shutdown(a: i32, b: i32);
    }
    link! { linker WASI_FILES
        fd_datasync(a: i32) -> .await;
        fd_filestat_set_size(a: i32, size: i64) grows size -> .await;
        fd_filestat_set_times(a: i32, b: i64, c: i64, d: i32) -> .await;
        fd_readdir(a: i32, b: i32, c: i32, d: i64, at: i32) -> .await moves at;
        fd_sync(a: i32) -> .await;
        path_create_directory(a: i32, b: i32, c: i32) -> .await;
        path_filestat_get(a: i32, b: i32, c: i32, d: i32, e: i32) -> .await;
        path_filestat_set_times(a: i32, b: i32, c: i32, d: i32, e: i64, f: i64, g: i32) -> .await;
        path_link(from: i32, b: i32, c: i32, d: i32, e: i32, f: i32, g: i32) -> .await
            unless |wasi, memory| paths::link(wasi, memory, GuestPath::new(from, c, d)).await;
        path_readlink(a: i32, b: i32, c: i32, d: i32, e: i32, at: i32) -> .await moves at;
        path_remove_directory(a: i32, b: i32, c: i32) -> .await;
        path_rename(from: i32, b: i32, c: i32, to: i32, e: i32, f: i32) -> .await
            unless |wasi, memory| {
                paths::rename(wasi, memory, GuestPath::new(from, b, c), GuestPath::new(to, e, f)).await
            };
        path_symlink(a: i32, b: i32, to: i32, d: i32, e: i32) -> .await
            unless |_wasi, memory| paths::symlink(memory, GuestPath::new(to, a, b));
        path_unlink_file(a: i32, b: i32, c: i32) -> .await;
    }
    linker.func_wrap_async(MODULE, "path_open", |caller, arguments| Box::new(open(caller, arguments)))?;
    // The library's own refuses codes above 125; here every code is an answer.
    linker.func_wrap(MODULE, "proc_exit", |mut caller: Caller<'_, InstanceState<T>>, code: i32| {
        caller.data_mut().count_host_call("proc_exit");
        wasmtime::Result::<()>::Err(Fault::Exit(code).into())
    })?;
    Ok(())
}

/// Arguments of `path_open`, in order.
type Open = (i32, i32, i32, i32, i32, i64, i64, i32, i32);

/// `path_open`, which is looked at before, and takes a descriptor.
async fn open<T: Send + 'static>(
    mut caller: Caller<'_, InstanceState<T>>,
    (directory, follow, at, length, how, rights, inherited, flags, opened): Open,
) -> wasmtime::Result<i32> {
    begin(&mut caller, "path_open", fuel::WASI_FILES).await?;
    let memory = memory(&mut caller)?;
    let (bytes, state) = memory.data_and_store_mut(&mut caller);
    if state.descriptors >= MAX_DESCRIPTORS {
        return Ok(Errno::Mfile as i32);
    }
    let (wasi, mut memory) = (&mut state.wasi, GuestMemory::Unshared(bytes));
    wasi.set_hostcall_fuel(MAX_BYTES);
    let path = GuestPath::new(directory, at, length);
    if let Some(refused) = paths::open(wasi, &mut memory, path, follow).await {
        return Ok(refused as i32);
    }
    // The look has used some of it.
    wasi.set_hostcall_fuel(MAX_BYTES);
    let answer = preview1::path_open(
        wasi,
        &mut memory,
        directory,
        follow,
        at,
        length,
        how,
        rights,
        inherited,
        flags,
        opened,
    )
    .await?;
    if answer == Errno::Success as i32 {
        state.descriptors += 1;
    }
    Ok(answer)
}

/// The memory that pointers are into.
fn memory<T: 'static>(caller: &mut Caller<'_, InstanceState<T>>) -> wasmtime::Result<Memory> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory),
        _ => Err(Fault::Misuse("WASI needs an exported `memory`".to_owned()).into()),
    }
}

/// Number of bytes that a function says it has moved, if it has.
fn moved(memory: &GuestMemory<'_>, answer: i32, at: i32) -> u64 {
    let moved = memory.read(GuestPtr::<u32>::new(at.cast_unsigned())).unwrap_or(0);
    if answer == Errno::Success as i32 { moved.into() } else { 0 }
}

/// Counts a call, takes its price, and lets others run if it is time: before the call, since the library's
/// own part of it cannot be interrupted.
async fn begin<T: Send + 'static>(
    caller: &mut Caller<'_, InstanceState<T>>,
    name: &'static str,
    price: u64,
) -> wasmtime::Result<()> {
    caller.data_mut().count_host_call(name);
    fuel::consume(&mut *caller, price)?;
    caller.data_mut().yield_if_due().await;
    Ok(())
}
