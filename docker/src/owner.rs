//! Owners of what there is on an engine, so that what a dead `hm` has left can be told from what a living one uses.
//! Only what was made from the same cache on the same machine is ever told to be dead: of others nobody here knows.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hm_disk::{Boot, sha256_hex};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// Digits that are enough of a digest or an id.
const DIGITS: usize = 12;

/// A process that uses an engine. As text, it fits into the tag of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Stands for the machine and the cache.
    machine: String,
    /// Stands for the time since the machine was started.
    boot: String,
    /// The namespace that the process has its number in.
    namespace: u64,
    /// The namespace of its clocks.
    clocks: u64,
    pid: u32,
    /// When it was started, in clock ticks since the machine was: numbers come again.
    started: u64,
}

impl Owner {
    /// This process, with a cache of this name.
    ///
    /// # Errors
    /// `/proc` does not say who we are.
    pub(crate) fn this(cache: &str) -> io::Result<Self> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let about = [cache, &read("/etc/machine-id"), &read("/proc/sys/kernel/hostname")].join("\0");
        let (machine, boot) = (sha256_hex(about), Boot::current());
        // Without it, nobody's being dead could be told.
        if !boot.is_known() {
            return Err(io::Error::other("the kernel does not tell which start of the machine this is"));
        }
        let short = |text: &str| text.chars().filter(char::is_ascii_hexdigit).take(DIGITS).collect();
        let pid = std::process::id();
        let started = started(pid)?.ok_or(io::ErrorKind::NotFound)?;
        let namespace = fs::metadata("/proc/self/ns/pid")?.ino();
        // Kernels before 5.6 have one time for all.
        let clocks = fs::metadata("/proc/self/ns/time").map_or(0, |about| about.ino());
        Ok(Self { machine: short(&machine), boot: short(boot.as_str()), namespace, clocks, pid, started })
    }

    /// Reads what an owner was written as.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let whole = |part: Option<&str>| part?.parse().ok();
        let owner = Self {
            machine: parts.next()?.to_owned(),
            boot: parts.next()?.to_owned(),
            namespace: whole(parts.next())?,
            pid: parts.next()?.parse().ok()?,
            started: whole(parts.next())?,
            clocks: whole(parts.next())?,
        };
        parts.next().is_none().then_some(owner)
    }

    /// True if it is sure that it is no more, as this one sees it.
    pub(crate) fn is_dead(&self, seen_by: &Self) -> bool {
        if self.machine != seen_by.machine {
            return false;
        }
        if self.boot != seen_by.boot {
            return true;
        }
        // When it was started is told in the time of whoever asks.
        let same_numbers = (self.namespace, self.clocks) == (seen_by.namespace, seen_by.clocks);
        same_numbers && started(self.pid).is_ok_and(|started| started != Some(self.started))
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, boot, namespace, clocks, pid, started } = self;
        write!(f, "{machine}.{boot}.{namespace}.{pid}.{started}.{clocks}")
    }
}

/// When a process was started; none if there is no such process. The form is that of proc(5).
fn started(pid: u32) -> io::Result<Option<u64>> {
    let stat = match fs::read(Path::new("/proc").join(pid.to_string()).join("stat")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // It may only be hidden from us.
            let there = i32::try_from(pid).ok().and_then(Pid::from_raw).map(test_kill_process);
            return match there {
                Some(Err(Errno::SRCH)) => Ok(None),
                _ => Err(error),
            };
        }
        stat => String::from_utf8_lossy(&stat?).into_owned(),
    };
    // The name of the program is in parentheses, and may have others in it.
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' '));
    let fields: Vec<&str> = fields.into_iter().flatten().collect();
    // Dead, and nobody has asked how it died.
    if fields.first() == Some(&"Z") {
        return Ok(None);
    }
    let started = fields.get(19).and_then(|started| started.parse().ok());
    started.map(Some).ok_or_else(|| io::Error::other("its stat has another form"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_read_as_it_was_written_and_fits_into_a_tag() {
        let this = Owner::this("cache").unwrap();
        let text = this.to_string();
        assert_eq!(Owner::read(&text), Some(this));
        assert!(text.len() < 90, "{text}");
        assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.'), "{text}");
        for text in ["", "a.b.1.2.3", "a.b.1.2.3.4.5", "a.b.c.2.3.4", "a.b.1.-2.3.4"] {
            assert_eq!(Owner::read(text), None, "{text}");
        }
    }

    #[test]
    fn only_what_is_surely_dead_is_told_to_be() {
        let this = Owner::this("cache").unwrap();
        assert!(!this.is_dead(&this));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let living =
            Owner { pid: child.id(), started: started(child.id()).unwrap().unwrap(), ..this.clone() };
        assert!(!living.is_dead(&this));
        assert!(Owner { started: living.started + 1, ..living.clone() }.is_dead(&this), "another process");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(living.is_dead(&this));
        assert!(Owner { boot: "another".into(), ..this.clone() }.is_dead(&this));
        for unknown in [
            Owner { machine: "another".into(), boot: "another".into(), ..living.clone() },
            Owner { namespace: 1, ..living.clone() },
            Owner { clocks: 1, ..living.clone() },
            Owner { machine: Owner::this("other").unwrap().machine, ..living },
        ] {
            assert!(!unknown.is_dead(&this), "{unknown}");
        }
    }
}
