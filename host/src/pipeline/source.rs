//! Finds and reads pipeline documents: a file, standard input (handed in), or a project's directory.
//! Their content is the document's affair.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hm_disk::{cannot, read_bounded, read_regular};

use super::PipelineError;
use super::document::{NamedPipeline, parse};

/// A document larger than this is not a pipeline: 100,000 steps of real size take about 30 MB.
pub(crate) const DOCUMENT_MAX: usize = 128 << 20;

/// Names of the directory that makes a directory a project, the preferred one first.
const FOLDERS: [&str; 2] = [".hm", ".harmont"];

/// Place from which pipelines are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// One file, or anything else that can be read to its end.
    File(PathBuf),
    /// Standard input of `hm`.
    Stdin,
    /// The `.hm/` or `.harmont/` folder of this project.
    Project(PathBuf),
}

/// The directory, `start` or the nearest one above it, that has a `.hm` or `.harmont` folder.
///
/// # Errors
/// [`PipelineError::ForeignProject`], if the folder belongs to somebody who has no business here: whoever may write to
/// a directory above (`/tmp`, say) could otherwise run commands on our files. `user` is who we are.
pub fn find_project(start: &Path, user: u32) -> Result<Option<PathBuf>, PipelineError> {
    let folders = start.ancestors().flat_map(|dir| FOLDERS.map(|f| (dir, dir.join(f))));
    let Some((dir, folder)) = folders.into_iter().find(|(_, folder)| folder.is_dir()) else {
        return Ok(None);
    };
    let owner = |path: &Path| {
        let failed = |error| cannot("read", path)(error);
        std::fs::metadata(path).map(|m| m.uid()).map_err(failed)
    };
    let (theirs, here) = (owner(&folder)?, owner(start)?);
    if [0, user, here].contains(&theirs) {
        Ok(Some(dir.to_owned()))
    } else {
        Err(PipelineError::ForeignProject { folder, owner: theirs })
    }
}

/// Contents of a source.
#[derive(Debug, Default)]
pub struct SourceContents {
    /// The pipelines in JSON.
    pub pipelines: Vec<NamedPipeline>,
    /// Those in Python, if there are any, which have to be rendered.
    pub scripts: Option<Scripts>,
}

/// Files of pipelines in Python.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scripts {
    /// The directory that they are in.
    pub folder: PathBuf,
    /// Its name in the project.
    pub name: &'static str,
    /// Names of the files, sorted.
    pub files: Vec<String>,
}

impl SourceContents {
    /// All pipelines, with those that were rendered.
    ///
    /// # Errors
    /// [`PipelineError::DuplicatePipeline`]
    pub fn with(mut self, rendered: Vec<NamedPipeline>) -> Result<Vec<NamedPipeline>, PipelineError> {
        self.pipelines.extend(rendered);
        let mut origins: BTreeMap<&str, &str> = BTreeMap::new();
        for NamedPipeline { slug, origin, .. } in &self.pipelines {
            if let Some(first) = origins.insert(slug, origin) {
                return Err(PipelineError::DuplicatePipeline {
                    slug: slug.clone(),
                    first: first.to_owned(),
                    second: origin.clone(),
                });
            }
        }
        Ok(self.pipelines)
    }
}

/// Reads what a source holds. `stdin` is read for [`Source::Stdin`] only.
///
/// # Errors
/// The source cannot be read, or [`parse`] refuses what is in it.
pub fn read(source: &Source, stdin: impl Read) -> Result<SourceContents, PipelineError> {
    let pipelines = match source {
        Source::Stdin => {
            document(Path::new("standard input"), "pipeline", read_bounded(stdin, DOCUMENT_MAX))?
        }
        Source::File(path) => {
            named_after(path, File::open(path).and_then(|file| read_bounded(file, DOCUMENT_MAX)))?
        }
        Source::Project(dir) => return read_project(dir),
    };
    Ok(SourceContents { pipelines, scripts: None })
}

/// Reads the first of the directories in which there are any pipelines.
fn read_project(dir: &Path) -> Result<SourceContents, PipelineError> {
    for name in FOLDERS {
        let folder = dir.join(name);
        let mut found = SourceContents::default();
        let mut files = list(&folder)?;
        files.sort();
        let mut scripts = Vec::new();
        for file in files {
            match file.extension().and_then(|extension| extension.to_str()) {
                // Whoever made the project may have put anything there.
                Some("json") => {
                    found.pipelines.extend(named_after(&file, read_regular(&file, DOCUMENT_MAX))?);
                }
                Some("py") if !file.is_dir() => scripts.push(script(&file)?),
                _ => {}
            }
        }
        if !scripts.is_empty() {
            found.scripts = Some(Scripts { folder, name, files: scripts });
        }
        if found.scripts.is_some() || !found.pipelines.is_empty() {
            return Ok(found);
        }
    }
    Err(PipelineError::NoProject { dir: dir.into() })
}

/// The name of a file in Python, as it is told to Python.
fn script(path: &Path) -> Result<String, PipelineError> {
    let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let not_text = || io::Error::other("its name is not UTF-8");
    name.ok_or_else(|| cannot("read", path)(not_text()).into())
}

/// The entries of a directory; none if there is no such directory.
fn list(folder: &Path) -> Result<Vec<PathBuf>, PipelineError> {
    let entries = hm_disk::list(folder).map_err(|error| error.during("read"))?;
    Ok(entries.into_iter().map(|entry| entry.path()).collect())
}

/// A document whose bare pipeline is called like its file.
fn named_after(path: &Path, bytes: io::Result<Vec<u8>>) -> Result<Vec<NamedPipeline>, PipelineError> {
    document(path, &path.file_stem().unwrap_or_default().to_string_lossy(), bytes)
}

fn document(
    origin: &Path,
    name: &str,
    bytes: io::Result<Vec<u8>>,
) -> Result<Vec<NamedPipeline>, PipelineError> {
    let bytes = bytes.map_err(cannot("read", origin))?;
    parse(&bytes, &origin.display().to_string(), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{"version":"0","steps":[]}"#;

    fn slugs(dir: &Path) -> Result<Vec<String>, String> {
        read(&Source::Project(dir.into()), std::io::empty())
            .and_then(|found| found.with(Vec::new()))
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
        std::fs::write(dir.path().join(".hm/config.toml"), "").expect("file");
        assert_eq!(slugs(dir.path()), Ok(vec!["old".to_owned()]), "an empty .hm does not hide .harmont");
        for name in ["b", "a"] {
            std::fs::write(dir.path().join(".hm").join(name).with_extension("json"), ONE).expect("file");
        }
        assert_eq!(slugs(dir.path()), Ok(vec!["a".to_owned(), "b".to_owned()]));
        std::fs::create_dir_all(dir.path().join("src/deep")).expect("folder");
        let user = rustix::process::geteuid().as_raw();
        let found = find_project(&dir.path().join("src/deep"), user).expect("mine");
        assert_eq!(found.as_deref(), Some(dir.path()));
    }

    #[test]
    fn files_in_python_are_found_beside_json_and_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join(".harmont");
        std::fs::create_dir_all(folder.join("not.py")).expect("folder");
        for name in ["b.py", "a.py", "text"] {
            std::fs::write(folder.join(name), "").expect("file");
        }
        let found = || read(&Source::Project(dir.path().into()), std::io::empty()).expect("readable");
        let scripts = Scripts {
            folder: folder.clone(),
            name: ".harmont",
            files: ["a.py", "b.py"].map(Into::into).into(),
        };
        assert_eq!(found().scripts.as_ref(), Some(&scripts));
        assert!(found().pipelines.is_empty());
        std::fs::write(folder.join("c.json"), ONE).expect("file");
        assert_eq!(found().scripts, Some(scripts));

        let rendered = parse(ONE.as_bytes(), ".harmont/a.py:3", "c").expect("a pipeline");
        let error = found().with(rendered).expect_err("twice").to_string();
        let json = folder.join("c.json").display().to_string();
        assert_eq!(error, format!("pipeline `c` is defined twice, in {json} and in .harmont/a.py:3"));
    }

    #[test]
    fn a_folder_of_somebody_else_above_us_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let (folder, start) = (dir.path().join(".hm"), dir.path().join("mine"));
        std::fs::create_dir_all(&folder).expect("folder");
        std::fs::create_dir_all(&start).expect("folder");
        // Root in a user namespace, as in a step of our own pipeline, may not either.
        if let Err(error) = std::os::unix::fs::chown(&folder, Some(1234), None) {
            println!("SKIPPED: a folder cannot be given to somebody else here: {error}");
            return;
        }
        let give = |path: &Path, owner| std::os::unix::fs::chown(path, Some(owner), None).expect("root may");
        give(&start, 1000);
        let error = find_project(&start, 1000).expect_err("theirs");
        assert!(error.to_string().ends_with(".hm belongs to another user (uid 1234)"), "{error}");
        assert!(find_project(&start, 1234).expect("mine").is_some());
        give(&start, 1234);
        assert!(find_project(&start, 0).expect("theirs, and so is where we are").is_some());
        give(&folder, 0);
        assert!(find_project(&start, 1000).expect("the administrator's").is_some());
    }

    #[test]
    fn what_is_no_file_does_not_hang() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join(".hm")).expect("folder");
        std::os::unix::fs::symlink("/dev/zero", dir.path().join(".hm/ci.json")).expect("a link");
        assert!(slugs(dir.path()).expect_err("a device").starts_with("cannot read "));
    }
}
