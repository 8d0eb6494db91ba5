//! Reads a tar as it comes from an engine: names that have no end to them, and line ends in names, are no matter. What
//! the entries are good for is decided elsewhere.

use std::io::{self, Read};

use tar::{EntryType, Header};

/// Bytes in a block.
const BLOCK: u64 = 512;

/// Bytes of what stands before an entry and says more about it, at the most.
const ABOUT_MAX: u64 = 1 << 20;

/// A tar that is being read.
pub struct Untar<R> {
    from: R,
    /// Bytes of the entry that have not been read.
    content: u64,
    /// Bytes between the entry and the next.
    padding: u64,
}

/// Entry of a tar, without its content.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, as it is written: nothing is sure about it.
    pub name: Vec<u8>,
    /// Kind of thing that it is.
    pub kind: EntryType,
    /// True if anybody may run it.
    pub executable: bool,
    /// Bytes of its content.
    pub size: u64,
}

impl<R: Read> Untar<R> {
    /// A tar that comes from there. Nothing is read yet.
    pub fn new(from: R) -> Self {
        Self { from, content: 0, padding: 0 }
    }

    /// The next entry; none at the end.
    ///
    /// # Errors
    /// It cannot be read, or is no tar.
    pub fn entry(&mut self) -> io::Result<Option<Entry>> {
        let (mut name, mut size) = (None, None);
        loop {
            self.skip()?;
            let mut header = Header::new_old();
            self.from.read_exact(header.as_mut_bytes())?;
            if header.as_bytes().iter().all(|&byte| byte == 0) {
                return Ok(None);
            }
            if sum(&header) != header.cksum()? {
                return Err(invalid("it is no tar"));
            }
            let kind = header.entry_type();
            let is_entry = !matches!(
                kind,
                EntryType::XHeader
                    | EntryType::XGlobalHeader
                    | EntryType::GNULongName
                    | EntryType::GNULongLink
            );
            self.content =
                if is_entry { size.map_or_else(|| header.entry_size(), Ok)? } else { header.entry_size()? };
            self.padding = self.content.wrapping_neg() % BLOCK;
            match kind {
                EntryType::XHeader => {
                    for (key, value) in
                        records(&self.about()?).ok_or_else(|| invalid("a record makes no sense"))?
                    {
                        match key.as_slice() {
                            b"path" => name = Some(value),
                            b"size" => {
                                let number =
                                    std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
                                size = Some(number.ok_or_else(|| invalid("a size is none"))?);
                            }
                            _ => {}
                        }
                    }
                }
                EntryType::GNULongName => {
                    let mut long = self.about()?;
                    long.truncate(long.iter().position(|&byte| byte == 0).unwrap_or(long.len()));
                    name = Some(long);
                }
                EntryType::XGlobalHeader | EntryType::GNULongLink => {}
                _ => {
                    let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
                    return Ok(Some(Entry {
                        name,
                        kind,
                        executable: header.mode()? & 0o111 != 0,
                        size: self.content,
                    }));
                }
            }
        }
    }

    /// Unread rest of the last entry.
    pub fn content(&mut self) -> impl Read {
        Content(self)
    }

    fn skip(&mut self) -> io::Result<()> {
        let left = self.content.saturating_add(std::mem::take(&mut self.padding));
        self.content = 0;
        let skipped = io::copy(&mut self.from.by_ref().take(left), &mut io::sink())?;
        if skipped < left { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Extended header of the next entry.
    fn about(&mut self) -> io::Result<Vec<u8>> {
        if self.content > ABOUT_MAX {
            return Err(invalid("what is said of an entry has more than 1 MiB"));
        }
        let (mut bytes, size) = (Vec::new(), self.content);
        self.content().read_to_end(&mut bytes)?;
        if bytes.len() as u64 == size { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

struct Content<'a, R>(&'a mut Untar<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.0.from.by_ref().take(self.0.content).read(to)?;
        self.0.content -= read as u64;
        Ok(read)
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The sum of a header's bytes, with blanks in place of the sum that it says.
fn sum(header: &Header) -> u32 {
    let bytes = header.as_bytes();
    let all = bytes[..148].iter().chain(&[b' '; 8]).chain(&bytes[156..]);
    all.map(|&byte| u32::from(byte)).sum()
}

/// Keys and values, each record with its length before it: a value may hold anything. None if that does not fit.
fn records(mut bytes: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let digits = bytes.iter().position(|&byte| byte == b' ')?;
        let length: usize = std::str::from_utf8(&bytes[..digits]).ok()?.parse().ok()?;
        let (record, rest) = bytes.split_at_checked(length)?;
        let record = record.get(digits + 1..)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|&byte| byte == b'=')?;
        all.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        bytes = rest;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use std::process::Command;

    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    fn packed(tree: &Path, format: &str) -> Vec<u8> {
        let mut command = Command::new("tar");
        command.args([&format!("--format={format}"), "--sort=name", "-cf-", "-C"]).arg(tree).arg("top");
        let ran = command.output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        ran.stdout
    }

    fn all(bytes: &[u8], reading: bool) -> io::Result<Vec<(Entry, Vec<u8>)>> {
        let (mut tar, mut all) = (Untar::new(bytes), Vec::new());
        while let Some(entry) = tar.entry()? {
            let mut content = Vec::new();
            if reading {
                tar.content().read_to_end(&mut content)?;
            }
            all.push((entry, content));
        }
        Ok(all)
    }

    #[test]
    fn what_tar_packs_is_read_and_no_cut_goes_unseen() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().join("top");
        let long = "l".repeat(120);
        fs::create_dir_all(top.join("d").join(&long)).unwrap();
        let odd = [long.as_bytes(), b"\n12 path=evil\n\xff"].concat();
        for (name, content) in [(b"a".to_vec(), &[7; 1000][..]), (b"b".to_vec(), b""), (odd.clone(), b"odd")]
        {
            fs::write(top.join(OsStr::from_bytes(&name)), content).unwrap();
        }
        fs::write(top.join("d").join(&long).join("deep"), "deep").unwrap();
        fs::set_permissions(top.join("a"), Permissions::from_mode(0o711)).unwrap();
        symlink("/".repeat(200), top.join("s")).unwrap();
        fs::hard_link(top.join("a"), top.join("z")).unwrap();
        let name = |path: &[u8]| [b"top/", path].concat();
        for format in ["gnu", "pax"] {
            let bytes = packed(scratch.path(), format);
            let found = all(&bytes, true).unwrap();
            let deep = format!("d/{long}");
            let expected = [
                (name(b""), EntryType::Directory, &b""[..]),
                (name(b"a"), EntryType::Regular, &[7; 1000]),
                (name(b"b"), EntryType::Regular, b""),
                (name(b"d/"), EntryType::Directory, b""),
                (name(format!("{deep}/").as_bytes()), EntryType::Directory, b""),
                (name(format!("{deep}/deep").as_bytes()), EntryType::Regular, b"deep"),
                (name(&odd), EntryType::Regular, b"odd"),
                (name(b"s"), EntryType::Symlink, b""),
                (name(b"z"), EntryType::Link, b""),
            ];
            let shown: Vec<_> = found
                .iter()
                .map(|(entry, content)| (entry.name.clone(), entry.kind, content.as_slice()))
                .collect();
            assert_eq!(shown, expected, "{format}");
            let executable =
                |name: &[u8]| found.iter().any(|(entry, _)| entry.name == name && entry.executable);
            assert!(executable(b"top/a") && !executable(b"top/b"));
            let skipped: Vec<_> = all(&bytes, false).unwrap().into_iter().map(|(entry, _)| entry).collect();
            assert_eq!(skipped, found.into_iter().map(|(entry, _)| entry).collect::<Vec<_>>());
            let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
            for cut in (0..end).step_by(7) {
                assert!(all(&bytes[..cut], false).is_err(), "{format}, cut at {cut}");
            }
        }
    }

    #[test]
    fn large_sizes_are_understood_and_nonsense_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("top"), "top").unwrap();
        fs::File::options().write(true).open(scratch.path().join("top")).unwrap().set_len(9 << 30).unwrap();
        for format in ["gnu", "pax"] {
            let mut child = Command::new("tar");
            let child =
                child.args([&format!("--format={format}"), "-cf-", "-C"]).arg(scratch.path()).arg("top");
            let mut child = child.stdout(std::process::Stdio::piped()).spawn().unwrap();
            let mut tar = Untar::new(child.stdout.take().unwrap());
            assert_eq!(tar.entry().unwrap().unwrap().size, 9 << 30, "{format}");
            drop(tar);
            let _ = child.wait();
        }
        for nonsense in
            [&b"x"[..], b"0 a=b\n", b"6 a=b\nx", b"5 a=b\n", b"99 a=b\n", b"4 ab\n", b"-1 a=b\n", b" a=b\n"]
        {
            assert_eq!(records(nonsense), None, "{}", String::from_utf8_lossy(nonsense));
        }
        assert_eq!(
            records(b"6 a=b\n7 c=\n\n\n"),
            Some(vec![(b"a".to_vec(), b"b".to_vec()), (b"c".to_vec(), b"\n\n".to_vec())])
        );
        assert!(all(&[b'x'; 2048], false).is_err());
        assert!(all(&[0; 1024], false).unwrap().is_empty());
    }
}
