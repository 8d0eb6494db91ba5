//! Finds and reads pipeline documents: a file, standard input (as bytes that the caller read), or a project's folder.
//! What is in them is the document's affair.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::PipelineError;
use super::document::{NamedPipeline, parse};

/// A document larger than this is not a pipeline: 100,000 steps of real size take about 30 MB.
const MAX_BYTES: usize = 128 << 20;

/// Names of the folder that makes a directory a project, the preferred one first.
const FOLDERS: [&str; 2] = [".hm", ".harmont"];

/// Where the pipelines come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// One file.
    File(PathBuf),
    /// Standard input.
    Stdin,
    /// The `.hm/` or `.harmont/` folder of this project.
    Project(PathBuf),
}

/// The directory, `start` or the nearest one above it, that has a `.hm` or `.harmont` folder.
#[must_use]
pub fn find_project(start: &Path) -> Option<PathBuf> {
    start.ancestors().find(|dir| FOLDERS.iter().any(|f| dir.join(f).is_dir())).map(Path::to_owned)
}

/// Reads all pipelines of a source. `stdin` is read for [`Source::Stdin`] only.
///
/// # Errors
/// What cannot be read, and what [`parse`] refuses.
pub fn read(source: &Source, stdin: impl Read) -> Result<Vec<NamedPipeline>, PipelineError> {
    match source {
        Source::Stdin => {
            let origin = "standard input";
            parse(&bounded(stdin, Path::new(origin))?, origin, "pipeline")
        }
        Source::File(path) => read_file(path),
        Source::Project(dir) => read_project(dir),
    }
}

fn read_project(dir: &Path) -> Result<Vec<NamedPipeline>, PipelineError> {
    let mut only_python = None;
    for folder in FOLDERS.map(|f| dir.join(f)) {
        let mut files = list(&folder)?;
        files.sort();
        let python = files.iter().any(|f| f.extension().is_some_and(|e| e == "py"));
        files.retain(|f| f.extension().is_some_and(|e| e == "json"));
        if files.is_empty() {
            only_python = only_python.or(python.then_some(folder));
            continue;
        }
        let mut all: Vec<NamedPipeline> = Vec::new();
        for file in files {
            for pipeline in read_file(&file)? {
                if let Some(first) = all.iter().find(|p| p.slug == pipeline.slug) {
                    return Err(PipelineError::DuplicatePipeline {
                        slug: pipeline.slug,
                        first: first.origin.clone(),
                        second: pipeline.origin,
                    });
                }
                all.push(pipeline);
            }
        }
        return Ok(all);
    }
    Err(match only_python {
        Some(dir) => PipelineError::OnlyPython { dir },
        None => PipelineError::NoProject { dir: dir.into() },
    })
}

/// The entries of a folder; none if there is no such folder.
fn list(folder: &Path) -> Result<Vec<PathBuf>, PipelineError> {
    let failed = |source| PipelineError::Read { path: folder.into(), source };
    match std::fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(failed(e)),
        Ok(entries) => entries.map(|e| e.map(|e| e.path()).map_err(failed)).collect(),
    }
}

fn read_file(path: &Path) -> Result<Vec<NamedPipeline>, PipelineError> {
    let file = File::open(path).map_err(|source| PipelineError::Read { path: path.into(), source })?;
    let origin = path.display().to_string();
    let name = path.file_stem().map_or_else(|| origin.clone(), |s| s.to_string_lossy().into_owned());
    parse(&bounded(file, path)?, &origin, &name)
}

/// Reads to the end, up to the limit.
fn bounded(reader: impl Read, path: &Path) -> Result<Vec<u8>, PipelineError> {
    let mut bytes = Vec::new();
    let failed = |source| PipelineError::Read { path: path.into(), source };
    reader.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MAX_BYTES {
        return Err(PipelineError::TooLarge { origin: path.display().to_string(), limit: MAX_BYTES });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{"version":"0","steps":[]}"#;

    fn slugs(dir: &Path) -> Result<Vec<String>, String> {
        read(&Source::Project(dir.into()), std::io::empty())
            .map(|all| all.into_iter().map(|p| p.slug).collect())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn the_new_folder_wins_and_file_names_are_slugs() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(slugs(dir.path()).expect_err("nothing there").starts_with("no pipeline found"));
        std::fs::create_dir(dir.path().join(".harmont")).expect("folder");
        std::fs::write(dir.path().join(".harmont/old.json"), ONE).expect("file");
        assert_eq!(slugs(dir.path()), Ok(vec!["old".to_owned()]));
        std::fs::create_dir(dir.path().join(".hm")).expect("folder");
        std::fs::write(dir.path().join(".hm/ci.py"), "").expect("file");
        assert_eq!(slugs(dir.path()), Ok(vec!["old".to_owned()]), "an empty .hm does not hide .harmont");
        for name in ["b", "a"] {
            std::fs::write(dir.path().join(".hm").join(name).with_extension("json"), ONE).expect("file");
        }
        assert_eq!(slugs(dir.path()), Ok(vec!["a".to_owned(), "b".to_owned()]));
        std::fs::create_dir_all(dir.path().join("src/deep")).expect("folder");
        assert_eq!(find_project(&dir.path().join("src/deep")).as_deref(), Some(dir.path()));
    }

    #[test]
    fn python_only_says_so() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join(".hm")).expect("folder");
        std::fs::write(dir.path().join(".hm/ci.py"), "").expect("file");
        assert!(slugs(dir.path()).expect_err("python").contains("only pipelines in Python"));
    }
}
