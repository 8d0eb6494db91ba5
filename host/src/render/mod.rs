//! Pipelines in Python: the project's files are imported in the local sandbox, by the project's own Python, and harmont makes a document
//! of them. What is in the document is the affair of `pipeline`, and how a command is isolated that of `backend`.

mod answer;
mod installation;
mod interpreter;

pub use interpreter::Interpreter;

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use hm_plugin_protocol::StdStream;
use hm_step_sandbox::{ExecSpec, SandboxError, SandboxRun};
use hm_workspace::WORKSPACE;
use tokio::sync::mpsc;

use crate::pipeline::{DOCUMENT_MAX, NamedPipeline, PipelineError, Scripts};

/// Script that the interpreter runs.
const PROGRAM: &str = include_str!("render.py");
/// Time that rendering may take: files of pipelines say what is to be done, and do not do it.
const LIMIT: Duration = Duration::from_secs(30);
/// Bytes that the files may print.
const PRINTED_MAX: usize = 16 << 20;
/// Bytes of it that are shown, of the end.
const SHOWN: usize = 8 << 10;

/// Outcome of rendering.
#[derive(Debug)]
pub struct Rendered {
    /// The pipelines, each with the file and line that it is from.
    pub pipelines: Result<Vec<NamedPipeline>, RenderError>,
    /// The end of what the files printed, for people.
    pub printed: String,
}

/// Error of pipelines in Python that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A variable says which interpreter to take, and it is not there.
    #[error("{variable} is `{value}`, and there is no Python")]
    NotThere { variable: &'static str, value: String },
    /// No variable says anything, and no Python is where one is expected.
    #[error("there are pipelines in Python, and no python3 to render them")]
    NoPython,
    /// The project's Python is somewhere else, where a project must not lead us.
    #[error("{} leads to {}, which is no Python that this machine's user is known to have", path.display(), real.display())]
    Foreign {
        /// The link, or what is behind one.
        path: PathBuf,
        real: PathBuf,
    },
    /// The package is missing.
    #[error("the package harmont is not installed for {} (Python {version})", python.display())]
    NoHarmont { python: PathBuf, version: String },
    /// The package is there, but not for this Python.
    #[error("{} (Python {version}) cannot import its package harmont", python.display())]
    BrokenHarmont { python: PathBuf, version: String, source: Raised },
    /// A file is in the project, and not in the snapshot of it.
    #[error("{} is not part of the project as steps see it: git or a .hmignore ignores it", file.display())]
    LeftOut { file: PathBuf },
    /// A file, or a pipeline in it, is wrong.
    #[error("the pipelines in {} cannot be rendered", folder.display())]
    Raised { folder: PathBuf, source: Raised },
    /// It did not end.
    #[error("the pipelines in {} were not rendered within {} s", folder.display(), LIMIT.as_secs())]
    TooLong { folder: PathBuf },
    /// It wrote without end.
    #[error("rendering the pipelines in {} gave more than {max} bytes of {what}", folder.display())]
    TooMuch { folder: PathBuf, what: &'static str, max: usize },
    /// The interpreter ended in the middle of it.
    #[error("rendering the pipelines in {} ended early: {} exited with {code}", folder.display(), python.display())]
    Ended {
        folder: PathBuf,
        python: PathBuf,
        /// Its exit code: 128 + n for signal n.
        code: i32,
    },
    /// No file registers a pipeline.
    #[error("no file in {} registers a pipeline", folder.display())]
    NoPipeline { folder: PathBuf },
    /// A document of harmont's that is not right.
    #[error("what harmont made of the pipelines in {} is not right", folder.display())]
    Document { folder: PathBuf, source: Box<PipelineError> },
    /// The sandbox could not be used.
    #[error("cannot render pipelines in the sandbox")]
    Sandbox(#[from] SandboxError),
}

/// An exception as Python tells it, with those parts of its traceback that are in the project.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Raised(String);

/// Renders all pipelines of a project, in its snapshot, which stays as it is: without the network, for 30 s at the most.
pub async fn render(backend: &SandboxRun, python: &Interpreter, scripts: &Scripts) -> Rendered {
    let mut output = InterpreterOutput::default();
    let ended = run(backend, python, scripts, &mut output).await;
    let read = |code| answer::read(&output.answer, code, python, scripts);
    Rendered { pipelines: ended.and_then(read), printed: shown(&output.printed) }
}

/// Runs the interpreter to its end; answers with its exit code.
async fn run(
    backend: &SandboxRun,
    python: &Interpreter,
    scripts: &Scripts,
    output: &mut InterpreterOutput,
) -> Result<i32, RenderError> {
    let folder = &scripts.folder;
    let text =
        |path: &Path| path.to_str().map(str::to_owned).ok_or_else(|| SandboxError::NotUtf8(path.to_owned()));
    let user_base = python.user_base.as_deref().map_or(Ok(String::new()), text)?;
    // Isolated from variables and the current directory, without files of byte code, whatever the language.
    let mut argv = vec![text(&python.program)?];
    argv.extend(["-I", "-B", "-X", "utf8", "-c", PROGRAM].map(str::to_owned));
    argv.extend([text(Path::new(scripts.name))?, user_base]);
    argv.extend(scripts.files.iter().cloned());
    let command = ExecSpec { argv, env: [].into(), workdir: WORKSPACE.to_owned(), network: false };

    // The snapshot may take long, and that is not their fault.
    backend.workspace().tree().await.map_err(SandboxError::from)?;
    let (sender, mut chunks) = mpsc::channel(4);
    let mut running = pin!(backend.look(command, &python.needs, LIMIT, sender));
    let ended = loop {
        tokio::select! {
            Some((stream, bytes)) = chunks.recv() => output.collect(stream, &bytes, folder)?,
            ended = &mut running => break ended?,
        }
    };
    // The end may be heard of first, with the last of the output still on its way.
    while let Some((stream, bytes)) = chunks.recv().await {
        output.collect(stream, &bytes, folder)?;
    }
    ended.ok_or_else(|| RenderError::TooLong { folder: folder.clone() })
}

/// Output of the interpreter: its answer, and what the files printed.
#[derive(Debug, Default)]
struct InterpreterOutput {
    answer: Vec<u8>,
    printed: Vec<u8>,
}

impl InterpreterOutput {
    fn collect(&mut self, stream: StdStream, bytes: &[u8], folder: &Path) -> Result<(), RenderError> {
        let (all, max, what) = match stream {
            StdStream::Stdout => (&mut self.answer, DOCUMENT_MAX, "pipelines"),
            StdStream::Stderr => (&mut self.printed, PRINTED_MAX, "output"),
        };
        if all.len() + bytes.len() > max {
            return Err(RenderError::TooMuch { folder: folder.to_owned(), what, max });
        }
        all.extend(bytes);
        Ok(())
    }
}

/// The end of a text.
fn shown(bytes: &[u8]) -> String {
    let start = bytes.len().saturating_sub(SHOWN);
    let text = String::from_utf8_lossy(&bytes[start..]);
    let text = text.trim_end();
    if start == 0 { text.to_owned() } else { format!("… ({start} bytes before)\n{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_long_output_the_end_is_shown() {
        assert_eq!(shown(b"one\ntwo\n"), "one\ntwo");
        let long = [b"a".repeat(SHOWN), b"end\n".to_vec()].concat();
        let text = shown(&long);
        assert!(text.starts_with("… (4 bytes before)\naaa") && text.ends_with("aend"), "{text}");
    }

    #[test]
    fn what_is_heard_has_bounds() {
        let mut output = InterpreterOutput::default();
        let chunk = vec![b'x'; 1 << 20];
        let mut hear = || output.collect(StdStream::Stderr, &chunk, Path::new(".hm"));
        assert!((0..16).all(|_| hear().is_ok()));
        let error = hear().expect_err("too much").to_string();
        assert_eq!(error, "rendering the pipelines in .hm gave more than 16777216 bytes of output");
    }
}
