//! Files of a record, and the first thing that goes wrong with one: no build fails for its record.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use hm_disk::{PathError, one_line};
use parking_lot::Mutex;

/// The first thing that went wrong.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<Option<String>>);

impl Trouble {
    pub(super) fn told(&self) -> Option<String> {
        self.0.lock().clone()
    }

    pub(super) fn note(&self, error: &PathError) {
        self.0.lock().get_or_insert_with(|| one_line(error));
    }
}

/// Makes a new file that nobody else can read.
pub(super) fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
