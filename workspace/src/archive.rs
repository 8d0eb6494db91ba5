//! The source archive of a run: a directory, packed as a gzipped tar that is the same, byte for byte, for the same
//! files. The files in the directory, and the readers of the archive, are others' to choose.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::OFlags;
use tar::{Builder, EntryType, Header};

/// Bytes in one answer, at the most.
pub const READ_MAX: u64 = 8 << 20;

/// The time of every file in it, in seconds since 1970. Not 0, which tools take for a mistake.
const TIME: u64 = 1_000_000_000;

/// Bytes that wait to be written.
const BUFFER: usize = 256 * 1024;

/// Bytes in a name that fits into the header of an entry.
const SHORT: usize = 99;

/// An archive, in a file that nobody else can see and that goes with this.
#[derive(Debug)]
pub struct Archive {
    file: File,
    size: u64,
}

/// Failure to make an archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Something that was to be in it.
    #[error("cannot read {} for the source archive", .path.display())]
    Read {
        /// Path that could not be read.
        path: PathBuf,
        /// Answer of the system to it.
        source: io::Error,
    },
    /// The file that holds it.
    #[error("cannot write the source archive in {}", .directory.display())]
    Write {
        /// Directory that it was to be in.
        directory: PathBuf,
        /// Answer of the system to it.
        source: io::Error,
    },
    /// A file has become shorter than it was a moment ago.
    #[error("{} changed while it was packed", .0.display())]
    Changed(PathBuf),
}

impl Archive {
    /// Packs what is in `tree` into a file in `directory`: directories, files and links, which are not followed, in the
    /// order of their names. Of times, owners and modes nothing is kept but whether a file can be run. Blocks.
    ///
    /// # Errors
    /// [`ArchiveError`]
    pub fn pack(tree: &Path, directory: &Path) -> Result<Self, ArchiveError> {
        let unwritable = unwritable(directory);
        let file = tempfile::tempfile_in(directory).map_err(&unwritable)?;
        let stream = GzEncoder::new(BufWriter::with_capacity(BUFFER, file), Compression::fast());
        let form = Form { below: Path::new(""), look: Look::Plain };
        let stream = write(tree, None, &form, stream, directory)?;
        let finished = stream.finish();
        let finished =
            finished.and_then(|buffer| buffer.into_inner().map_err(io::IntoInnerError::into_error));
        let mut file = finished.map_err(&unwritable)?;
        let size = file.stream_position().map_err(&unwritable)?;
        Ok(Self { file, size })
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes from `offset` on: at most `max` and at most 8 MiB, and none behind the end. Blocks.
    ///
    /// # Errors
    /// The system says no.
    pub fn read(&self, offset: u64, max: u64) -> io::Result<Vec<u8>> {
        let length = self.size.saturating_sub(offset).min(max).min(READ_MAX);
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

/// Writes the tar of what is in `tree`, in the order of names and without owners, or of these paths alone and not of
/// what is below them. Errors of writing name `directory`. Blocks.
///
/// # Errors
/// [`ArchiveError`]
pub fn write<W: Write>(
    tree: &Path,
    only: Option<&BTreeSet<Vec<u8>>>,
    form: &Form<'_>,
    to: W,
    directory: &Path,
) -> Result<W, ArchiveError> {
    let mut packer = Packer { tar: Builder::new(to), tree, form, directory };
    packer.pack(only)?;
    packer.tar.into_inner().map_err(unwritable(directory))
}

/// Form that things have in a tar.
pub struct Form<'a> {
    /// Beginning of their names.
    pub below: &'a Path,
    /// Times and modes that they get.
    pub look: Look<'a>,
}

/// Times and modes of things in a tar.
pub enum Look<'a> {
    /// Nothing but whether a file can be run, so that the same things make the same tar.
    Plain,
    /// Their modes, and for times what this says, in seconds since 1970.
    Each(&'a dyn Fn(&Metadata) -> u64),
    /// Their modes, and one time since 1970 for all, to the nanosecond.
    At(Duration),
}

impl Look<'_> {
    fn time(&self, about: &Metadata) -> u64 {
        match self {
            Self::Plain => TIME,
            Self::Each(time) => time(about),
            Self::At(time) => time.as_secs(),
        }
    }

    fn mode(&self, about: &Metadata) -> u32 {
        match self {
            Self::Plain if about.is_file() && about.mode() & 0o111 == 0 => 0o644,
            Self::Plain => 0o755,
            Self::Each(_) | Self::At(_) => about.mode() & 0o777,
        }
    }
}

/// An archive being made.
struct Packer<'a, W: Write> {
    tar: Builder<W>,
    tree: &'a Path,
    form: &'a Form<'a>,
    /// Directory that errors of writing name.
    directory: &'a Path,
}

impl<W: Write> Packer<'_, W> {
    fn pack(&mut self, only: Option<&BTreeSet<Vec<u8>>>) -> Result<(), ArchiveError> {
        // No recursion: how deep a tree is, is not ours to say.
        let mut open = match only {
            Some(only) => only.iter().rev().map(|path| PathBuf::from(OsStr::from_bytes(path))).collect(),
            None => self.inside(Path::new(""))?,
        };
        while let Some(path) = open.pop() {
            let at = self.tree.join(&path);
            let about = fs::symlink_metadata(&at).map_err(unreadable(&at))?;
            if about.is_symlink() {
                let to = fs::read_link(&at).map_err(unreadable(&at))?;
                self.write_name(b'K', to.as_os_str().as_bytes())?;
                let mut header = self.header(EntryType::Symlink, &about);
                header.set_mode(0o777);
                copy(&mut header.as_old_mut().linkname, to.as_os_str().as_bytes());
                self.entry(header, &self.name(&path), io::empty())?;
            } else if about.is_dir() {
                let name = [&*self.name(&path), b"/"].concat();
                self.entry(self.header(EntryType::Directory, &about), &name, io::empty())?;
                if only.is_none() {
                    open.extend(self.inside(&path)?);
                }
            } else if about.is_file() {
                self.file(&path, &at)?;
            }
        }
        Ok(())
    }

    /// Paths in a directory, the first name last.
    fn inside(&self, path: &Path) -> Result<Vec<PathBuf>, ArchiveError> {
        let at = self.tree.join(path);
        let names = fs::read_dir(&at).and_then(|entries| {
            entries.map(|entry| Ok(path.join(entry?.file_name()))).collect::<io::Result<Vec<_>>>()
        });
        let mut names = names.map_err(unreadable(&at))?;
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names)
    }

    fn file(&mut self, path: &Path, at: &Path) -> Result<(), ArchiveError> {
        let (file, about) = open(at).map_err(unreadable(at))?;
        let mut content = file.take(about.len());
        let mut header = self.header(EntryType::Regular, &about);
        header.set_size(about.len());
        self.entry(header, &self.name(path), &mut content)?;
        if content.limit() > 0 { Err(ArchiveError::Changed(at.to_owned())) } else { Ok(()) }
    }

    fn name(&self, path: &Path) -> Vec<u8> {
        self.form.below.join(path).into_os_string().into_vec()
    }

    fn header(&self, kind: EntryType, about: &Metadata) -> Header {
        let look = &self.form.look;
        header(kind, look.mode(about), look.time(about), 0)
    }

    fn entry(&mut self, mut header: Header, name: &[u8], content: impl Read) -> Result<(), ArchiveError> {
        self.write_time()?;
        self.write_name(b'L', name)?;
        copy(&mut header.as_old_mut().name, name);
        self.append(&mut header, content)
    }

    /// A name that is too long for a header stands before it, as an entry of its own: that is GNU tar's way, which
    /// every tar knows.
    fn write_name(&mut self, kind: u8, name: &[u8]) -> Result<(), ArchiveError> {
        if name.len() <= SHORT {
            return Ok(());
        }
        let size = u64::try_from(name.len()).unwrap_or(u64::MAX).saturating_add(1);
        let mut header = header(EntryType::new(kind), 0o644, TIME, size);
        copy(&mut header.as_old_mut().name, b"././@LongLink");
        self.append(&mut header, name.chain(&b"\0"[..]))
    }

    /// A time that is exact stands before the entry.
    fn write_time(&mut self) -> Result<(), ArchiveError> {
        let Look::At(time) = self.form.look else { return Ok(()) };
        let time = format!("{}.{:09}", time.as_secs(), time.subsec_nanos());
        self.tar.append_pax_extensions([("mtime", time.as_bytes())]).map_err(unwritable(self.directory))
    }

    fn append(&mut self, header: &mut Header, content: impl Read) -> Result<(), ArchiveError> {
        header.set_cksum();
        self.tar.append(header, content).map_err(unwritable(self.directory))
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
    let path = path.to_owned();
    |source| ArchiveError::Read { path, source }
}

fn unwritable(directory: &Path) -> impl Fn(io::Error) -> ArchiveError {
    let directory = directory.to_owned();
    move |source| ArchiveError::Write { directory: directory.clone(), source }
}

/// Opens a file, if it still is one.
fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = File::options().read(true).custom_flags(flags.cast_signed()).open(path)?;
    let about = file.metadata()?;
    if about.is_file() { Ok((file, about)) } else { Err(io::Error::other("it is not a regular file")) }
}

/// The header of an entry, as yet without a name.
fn header(kind: EntryType, mode: u32, time: u64, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(time);
    header.set_size(size);
    header
}

/// Copies as much of a name as fits into a field.
fn copy(field: &mut [u8; 100], name: &[u8]) {
    let length = name.len().min(SHORT);
    field[..length].copy_from_slice(&name[..length]);
}

#[cfg(test)]
mod tests;
