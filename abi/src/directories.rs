//! The directories that a plug-in sees through WASI: handles that the embedder has opened, under names of its choice.
//! What a path below them leads to is the library's and the kernel's affair; what must not be done with one, that of
//! `paths`.

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use cap_std::fs::Dir;
use wasmtime_wasi::filesystem::{WasiFilesystemCtx, WasiFilesystemView};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

/// Most random bytes of one `random_get`: they are made while nothing can interrupt.
const MAX_RANDOM_BYTES: u64 = 1024 * 1024;

/// Directories that a plug-in sees through WASI. The default is none. Clones are cheap.
///
/// Nothing outside of them can be reached: not by `..`, by absolute paths, nor by symbolic links, whoever changes
/// them meanwhile. Of what is in them, files and directories can be opened, and nothing else.
///
/// ```
/// use cap_std::{ambient_authority, fs::Dir};
/// use hm_abi::{Directories, Directory, InstanceOptions};
///
/// let dir = Dir::open_ambient_dir("src", ambient_authority())?;
/// let directories = Directories::new([Directory { path: "/sources".to_owned(), dir, writable: false }])?;
/// let options = InstanceOptions { directories, ..InstanceOptions::standard() };
/// # drop(options);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Directories {
    names: Vec<String>,
    handles: WasiFilesystemCtx,
}

/// One directory that a plug-in sees.
#[derive(Debug)]
pub struct Directory {
    /// Name of it that the plug-in uses: an absolute path.
    pub path: String,
    /// Handle of the directory itself.
    pub dir: Dir,
    /// True if the plug-in may change its content, by any way there is.
    pub writable: bool,
}

impl Directories {
    /// These, in the order of their descriptors: the first is 3.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a name that is no absolute path, or the same path as another's. Those of the
    /// system, for instance that there are too many open files, or that `/proc` is not there.
    pub fn new(directories: impl IntoIterator<Item = Directory>) -> io::Result<Self> {
        let (mut names, mut builder) = (Vec::new(), WasiCtxBuilder::new());
        for Directory { path, dir, writable } in directories {
            check_name(&path, &names)?;
            // The library takes paths only. This one leads to the directory that is open here, wherever it has gone
            // since.
            let handle = format!("/proc/self/fd/{}", dir.as_raw_fd());
            let perms = if writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
            builder
                .preopened_dir(handle, &path, perms)
                .map_err(|error| error.downcast().unwrap_or_else(io::Error::other))?;
            names.push(path);
        }
        let handles = builder.build_p1().filesystem().ctx.clone();
        Ok(Self { names, handles })
    }

    /// WASI for a fresh wasm instance: these directories, no arguments, no environment, an input at its end, outputs
    /// that swallow. Clocks and random numbers are real.
    pub(crate) fn wasi(&self) -> WasiP1Ctx {
        let mut wasi = WasiCtxBuilder::new().max_random_size(MAX_RANDOM_BYTES).build_p1();
        *wasi.filesystem().ctx = self.handles.clone();
        wasi
    }

    /// Number of descriptors that are open in a fresh [`Directories::wasi`]: these, and the streams.
    pub(crate) fn descriptors(&self) -> usize {
        3 + self.names.len()
    }

    /// True if there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// A relative name is one that no guest finds, and of two directories with one name a guest finds one or the other.
fn check_name(name: &str, others: &[String]) -> io::Result<()> {
    let invalid = |text| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    if !name.starts_with('/') {
        invalid(format!("the directory name `{name}` is not an absolute path"))
    } else if others.iter().any(|other| Path::new(other) == Path::new(name)) {
        invalid(format!("two directories have the name `{name}`"))
    } else {
        Ok(())
    }
}

impl fmt::Debug for Directories {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(&self.names).finish()
    }
}
