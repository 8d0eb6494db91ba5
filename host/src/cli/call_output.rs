//! Output of `hm plugin call`: the function's answer or its error, as text or as one object for programs, and
//! everything that the module wrote meanwhile. The call itself is in `call`.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine as _;
use hm_abi::{CallError, Module, Report};
use hm_disk::one_line;
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};
use tokio::io::AsyncWrite;

use super::args::CallArgs;
use super::error::{CliError, FailedCall};
use super::terminal_output::print_data;
use crate::host_functions::{Output, PluginState};
use crate::plugin::LoadError;

/// Functions that an error lists, at the most.
const MAX_EXPORTS: usize = 20;

/// Most bytes of what a module wrote to one stream that `--json` gives back.
const MAX_CAPTURED: usize = 16 << 20;

/// Destination of a module's writing: our own streams, or, for `--json`, fields of the object.
pub(super) enum OutputSink {
    /// Our own streams, which have it already.
    Streams,
    /// Standard output and standard error, kept here.
    Captured(CapturedStream, CapturedStream),
}

impl OutputSink {
    /// The destination, and the streams that lead there.
    pub(super) fn new(args: &CallArgs) -> (Self, Output) {
        if args.json {
            let (out, err) = (CapturedStream::default(), CapturedStream::default());
            let streams = Output::new((Box::pin(out.clone()), false), (Box::pin(err.clone()), false));
            return (Self::Captured(out, err), streams);
        }
        let terminal = io::stdout().is_terminal();
        let streams =
            Output::new((Box::pin(tokio::io::stdout()), terminal), (Box::pin(tokio::io::stderr()), true));
        (Self::Streams, streams)
    }

    fn fields(self, object: &mut Value) {
        let Self::Captured(out, err) = self else { return };
        for (name, kept) in [("stdout", out), ("stderr", err)] {
            let Capture { kept, dropped } = std::mem::take(&mut *kept.lock());
            let (text, encoding) = encoded(kept);
            object[name] = text.into();
            if let Some(encoding) = encoding {
                object[format!("{name}_encoding")] = encoding.into();
            }
            if dropped > 0 {
                object[format!("{name}_dropped")] = dropped.into();
            }
        }
    }
}

/// A stream that is kept, up to a limit; the rest is counted. Clones are the same stream.
#[derive(Clone, Default)]
pub(super) struct CapturedStream(Arc<Mutex<Capture>>);

#[derive(Default)]
struct Capture {
    kept: Vec<u8>,
    dropped: usize,
}

impl CapturedStream {
    fn lock(&self) -> MutexGuard<'_, Capture> {
        self.0.lock()
    }
}

impl AsyncWrite for CapturedStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut this = self.lock();
        let (start, rest) = bytes.split_at(bytes.len().min(MAX_CAPTURED - this.kept.len()));
        this.kept.extend_from_slice(start);
        this.dropped += rest.len();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Shows what became of the call: the output, or the error, or both as one object.
pub(super) fn show(
    args: &CallArgs,
    module: &Module<PluginState>,
    result: Result<Vec<u8>, CallError>,
    report: &Report,
    sink: OutputSink,
) -> Result<u8, CliError> {
    let failed = |source| {
        CliError::from(Box::new(FailedCall {
            file: args.file.clone(),
            export: args.export.clone(),
            exports: export_names(module),
            source,
        }))
    };
    match result {
        Ok(output) if args.json => {
            let (output, encoding) = encoded(output);
            let mut object = json!({"ok": true, "output": output, "report": usage_json(report)});
            if let Some(encoding) = encoding {
                object["encoding"] = encoding.into();
            }
            sink.fields(&mut object);
            print_line(&object)
        }
        Ok(output) => print_data(&output),
        Err(error) if args.json => {
            let mut object = json!({"ok": false, "error": error_json(&error), "report": usage_json(report)});
            sink.fields(&mut object);
            print_line(&object)?;
            Ok(failed(error).exit_code())
        }
        Err(error) => Err(failed(error)),
    }
}

/// Shows that there is no module to call.
pub(super) fn show_not_loaded(args: &CallArgs, error: LoadError) -> Result<u8, CliError> {
    if !args.json {
        return Err(error.into());
    }
    let said = json!({"kind": "load", "message": one_line(&error)});
    print_line(&json!({"ok": false, "error": said}))?;
    Ok(CliError::Load(error).exit_code())
}

/// The functions of a module, the first of them.
fn export_names(module: &Module<PluginState>) -> Vec<String> {
    let mut names: Vec<String> = module.exports().take(MAX_EXPORTS).map(str::to_owned).collect();
    let more = module.exports().count() - names.len();
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    names
}

/// Capture as JSON has them, and how, if not as they are.
fn encoded(bytes: Vec<u8>) -> (String, Option<&'static str>) {
    match String::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(bytes) => (base64::engine::general_purpose::STANDARD.encode(bytes.as_bytes()), Some("base64")),
    }
}

/// An error of a call, for programs.
fn error_json(error: &CallError) -> Value {
    let mut object = json!({"kind": error.kind(), "message": one_line(error)});
    match error {
        CallError::Guest { code, .. } | CallError::Exit { code, .. } => object["code"] = (*code).into(),
        CallError::Trap { backtrace, .. } if !backtrace.is_empty() => {
            object["backtrace"] = backtrace.as_slice().into();
        }
        _ => {}
    }
    object
}

/// Report of a call, for programs.
fn usage_json(report: &Report) -> Value {
    json!({
        "fuel_used": report.fuel_used,
        "wall_ms": u64::try_from(report.wall.as_millis()).unwrap_or(u64::MAX),
        "memory_bytes": report.memory_bytes,
        "block_bytes": report.block_bytes,
        "host_calls": report.host_calls,
        "bytes_in": report.bytes_in,
        "bytes_out": report.bytes_out,
    })
}

/// Prints an object on a line. It is sink as it is made: as text it may be six times as long as the output in it.
fn print_line(object: &Value) -> Result<u8, CliError> {
    let mut stdout = BufWriter::new(std::io::stdout().lock());
    serde_json::to_writer(&mut stdout, object)
        .map_err(std::io::Error::from)
        .and_then(|()| writeln!(stdout))
        .and_then(|()| stdout.flush())
        .map_err(CliError::Write)?;
    Ok(0)
}
