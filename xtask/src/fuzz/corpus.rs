//! The corpus of a fuzz target: seeds that somebody wrote, a file each, and what the fuzzer has generated, in one
//! archive. What a run finds goes beside what was built, until the corpus is minimized.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::run::run;

/// Packs files of a directory. The same ones make the same bytes, so that an archive changes when an input does.
const PACK: &str = r#"folder=$1; archive=$2; shift 2
    for name; do echo "$name"; done |
      tar --owner=0 --group=0 --numeric-owner --mtime=@0 --mode=644 -C "$folder" -cf - -T - | gzip -9n >"$archive""#;

/// Places of the inputs of a target.
pub(super) struct Corpus {
    /// Those that somebody wrote. They are only read.
    pub(super) seeds: PathBuf,
    /// The archive of those that were generated.
    archive: PathBuf,
    /// Directory for the inputs from the archive.
    pub(super) unpacked: PathBuf,
    /// Directory for the inputs that runs on this machine have found.
    pub(super) found: PathBuf,
    /// Directory for the inputs that are left of all of them.
    minimized: PathBuf,
}

impl Corpus {
    /// The corpus of this target, with room where its program is built.
    pub(super) fn of(root: &Path, build: &Path, target: &str) -> Self {
        let checked_in = root.join("fuzz/corpus");
        Self {
            seeds: checked_in.join(target),
            archive: checked_in.join(format!("{target}.tar.gz")),
            unpacked: build.join("unpacked").join(target),
            found: build.join("corpus").join(target),
            minimized: build.join("minimized").join(target),
        }
    }

    /// Puts what is in the archive into its directory, and nothing else.
    ///
    /// # Errors
    /// When a folder cannot be made anew, or `tar` fails.
    pub(super) fn unpack(&self) -> Result<()> {
        fs::create_dir_all(&self.found).with_context(|| self.found.display().to_string())?;
        make_anew(&self.unpacked)?;
        run(Command::new("tar").arg("-xzf").arg(&self.archive).arg("-C").arg(&self.unpacked))
    }

    /// Leaves in the archive, of what is in it and what was found, the fewest inputs that together with the seeds reach
    /// as much. The fuzzer puts into its first directory what the others have and that one lacks.
    ///
    /// # Errors
    /// When the fuzzer or `tar` fails, or a file cannot be copied.
    pub(super) fn minimize(&self, fuzzer: impl FnOnce(&[&Path]) -> Result<()>) -> Result<()> {
        make_anew(&self.minimized)?;
        let seeds = names(&self.seeds)?;
        for seed in &seeds {
            fs::copy(self.seeds.join(seed), self.minimized.join(seed))?;
        }
        fuzzer(&[&self.minimized, &self.unpacked, &self.found])?;
        let mut generated = names(&self.minimized)?;
        generated.retain(|name| !seeds.contains(name));
        let mut packing = Command::new("sh");
        packing.args(["-ec", PACK, "sh"]).arg(&self.minimized).arg(&self.archive);
        run(packing.args(generated))
    }
}

fn make_anew(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())
}

/// The names of the files in a directory, sorted.
fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut names = entries
        .map(|entry| entry?.file_name().into_string().ok().context("a name that is no text"))
        .collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_no_more_leaves_the_archive_and_seeds_stay() {
        let scratch = tempfile::tempdir().unwrap();
        let corpus = Corpus::of(scratch.path(), &scratch.path().join("build"), "target");
        for (folder, name) in [
            (&corpus.seeds, "seed"),
            (&corpus.minimized, "of another time"),
            (&corpus.unpacked, "old"),
            (&corpus.unpacked, "needless"),
            (&corpus.found, "new"),
        ] {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join(name), name).unwrap();
        }
        let merge = |folders: &[&Path]| -> Result<()> {
            assert_eq!(names(folders[0]).unwrap(), ["seed"]);
            fs::copy(folders[1].join("old"), folders[0].join("old"))?;
            fs::copy(folders[2].join("new"), folders[0].join("new"))?;
            Ok(())
        };
        corpus.minimize(merge).unwrap();
        let archive = fs::read(&corpus.archive).unwrap();
        corpus.unpack().unwrap();
        assert_eq!(names(&corpus.unpacked).unwrap(), ["new", "old"]);
        assert_eq!(fs::read_to_string(corpus.unpacked.join("old")).unwrap(), "old");
        assert_eq!(names(&corpus.seeds).unwrap(), ["seed"]);
        fs::write(corpus.unpacked.join("needless"), "").unwrap();
        corpus.minimize(merge).unwrap();
        assert_eq!(fs::read(&corpus.archive).unwrap(), archive, "the same inputs make the same bytes");

        corpus.minimize(|_| Ok(())).unwrap();
        corpus.unpack().unwrap();
        assert!(names(&corpus.unpacked).unwrap().is_empty());
    }
}
