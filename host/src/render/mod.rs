//! Pipelines in Python: the project's files are imported in the local sandbox, by the project's own Python, and harmont
//! makes a document of them. What is in the document is the affair of `pipeline`, and how a command is isolated that of
//! `backend`.

mod answer;
mod error;
mod installation;
mod interpreter;

pub use error::{Raised, RenderError};
pub use interpreter::Interpreter;

use error::LIMIT;

use std::path::Path;
use std::pin::pin;

use hm_plugin_protocol::StdStream;
use hm_step_sandbox::{ExecSpec, SandboxError, SandboxRun};
use hm_workspace::WORKSPACE;
use tokio::sync::mpsc;

use crate::pipeline::{DOCUMENT_MAX, NamedPipeline, Scripts};

/// Script that the interpreter runs.
const PROGRAM: &str = include_str!("render.py");
/// Bytes that the files may print.
const PRINTED_MAX: usize = 16 << 20;
/// Bytes of it that are shown, of the end.
const SHOWN: usize = 8 << 10;

/// Pipelines that rendering gave, and what was printed meanwhile.
#[derive(Debug)]
pub struct Rendered {
    /// The pipelines, each with the file and line that it is from.
    pub pipelines: Result<Vec<NamedPipeline>, RenderError>,
    /// The end of what the files printed, for people.
    pub printed: String,
}

/// Renders all pipelines of a project, in its snapshot, which stays as it is: without the network, for 30 s at the
/// most.
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
