//! The machine's current start, by which a reader knows whether the kernel still has everything that was written.

use std::fs;

/// The kernel's name for the time since the machine was started.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A start of the machine. State that was written without a sync is whole as long as the machine has not been
/// restarted, so its writer notes the boot beside it.
///
/// The boot is unknown where the kernel does not tell. An unknown boot is the same as no other, not even as another
/// unknown one: then nothing unsynced is trusted.
#[derive(Debug, Clone)]
pub struct Boot(String);

impl Boot {
    /// Boot of the machine that runs now.
    #[must_use]
    pub fn current() -> Self {
        Self(fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned())
    }

    /// One that was noted down; an empty text is an unknown boot.
    #[must_use]
    pub fn noted(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text to note down; empty if the boot is unknown.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if the kernel has told which boot this is.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !self.0.is_empty()
    }

    /// True for the boot that was noted down as this text, and false if either is unknown.
    #[must_use]
    pub fn is(&self, noted: &str) -> bool {
        self.is_known() && self.0 == noted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_is_itself_and_an_unknown_one_is_no_other() {
        let boot = Boot::current();
        assert!(boot.is_known() && !boot.as_str().contains(char::is_whitespace));
        assert!(boot.is(Boot::current().as_str()));
        assert!(!boot.is("") && !boot.is("another"));
        let unknown = Boot::noted("");
        assert!(!unknown.is_known() && !unknown.is("") && !unknown.is(boot.as_str()));
    }
}
