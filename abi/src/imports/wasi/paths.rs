//! Uses of paths that are refused although the library would allow them: waiting for what is no file, and leaving
//! links behind that lead somebody else out of a directory.

use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p1::types::{Errno, Fd, Filetype, Lookupflags};
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1;
use wiggle::{GuestMemory, GuestPtr};

/// A path in a guest's memory.
#[derive(Clone, Copy)]
pub(super) struct GuestPath {
    directory: i32,
    at: i32,
    length: i32,
}

impl GuestPath {
    /// The path of that many bytes at `at`, from that descriptor on.
    pub(super) fn new(directory: i32, at: i32, length: i32) -> Self {
        Self { directory, at, length }
    }

    /// Type of the file that it leads to; none if it leads nowhere, which the function that was called will say.
    async fn kind(
        &self,
        wasi: &mut WasiP1Ctx,
        memory: &mut GuestMemory<'_>,
        flags: Lookupflags,
    ) -> Option<Filetype> {
        let path = GuestPtr::<str>::new((self.at.cast_unsigned(), self.length.cast_unsigned()));
        let directory = Fd::from(self.directory.cast_unsigned());
        Some(wasi.path_filestat_get(memory, directory, flags, path).await.ok()?.filetype)
    }

    fn bytes<'m>(&self, memory: &'m GuestMemory<'_>) -> Option<std::borrow::Cow<'m, [u8]>> {
        let bytes = GuestPtr::<[u8]>::new((self.at.cast_unsigned(), self.length.cast_unsigned()));
        memory.as_cow(bytes).ok()
    }
}

/// Opening a pipe waits for its other end, and opening a device may do anything.
pub(super) async fn open(
    wasi: &mut WasiP1Ctx,
    memory: &mut GuestMemory<'_>,
    path: GuestPath,
    flags: i32,
) -> Option<Errno> {
    let flags = Lookupflags::try_from(flags).ok()?;
    let kind = path.kind(wasi, memory, flags).await?;
    is_special(kind).then_some(Errno::Notsup)
}

/// True if it is neither file, directory nor link.
fn is_special(kind: Filetype) -> bool {
    matches!(kind, Filetype::Unknown | Filetype::BlockDevice | Filetype::CharacterDevice)
}

/// A link that leads upwards may lead out, now or once it is moved: not the plug-in, but others who follow it.
pub(super) fn symlink(memory: &GuestMemory<'_>, target: GuestPath) -> Option<Errno> {
    let target = target.bytes(memory)?;
    let leads_up = target.split(|byte| *byte == b'/').any(|part| part == b"..");
    (leads_up || target.starts_with(b"/")).then_some(Errno::Perm)
}

/// A second name for a link would be a link in another place; and for what cannot be opened, it could take the place
/// of a file that is.
pub(super) async fn link(
    wasi: &mut WasiP1Ctx,
    memory: &mut GuestMemory<'_>,
    from: GuestPath,
) -> Option<Errno> {
    let kind = from.kind(wasi, memory, Lookupflags::empty()).await?;
    (kind == Filetype::SymbolicLink || is_special(kind)).then_some(Errno::Notsup)
}

/// A link that leads upwards, in another place, leads elsewhere: links, and directories in which some may be, stay in
/// the directory that they are in. Programs copy what is answered so.
pub(super) async fn rename(
    wasi: &mut WasiP1Ctx,
    memory: &mut GuestMemory<'_>,
    from: GuestPath,
    to: GuestPath,
) -> Option<Errno> {
    let kind = from.kind(wasi, memory, Lookupflags::empty()).await?;
    if is_special(kind) {
        return Some(Errno::Notsup);
    }
    if !matches!(kind, Filetype::SymbolicLink | Filetype::Directory) {
        return None;
    }
    let stays = from.directory == to.directory && parent(&from.bytes(memory)?) == parent(&to.bytes(memory)?);
    (!stays).then_some(Errno::Xdev)
}

/// The path without its last part.
fn parent(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let start = path[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    &path[..start]
}
