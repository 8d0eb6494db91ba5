//! `hm plugin call`: one call of one function of any Extism module, on the sandbox alone. Nothing of `hm` is offered to the
//! module: no manifest is read, and there are no host functions but those of the ABI.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use hm_abi::{
    AllowedHosts, AllowedHostsClient, CallError, CallLimits, Code, HostFunctions, HttpClient, InstanceLimits,
    InstanceOptions, LogLevel, LogSink, Module, ModuleLimits, Report, TlsRoots,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::args::CallArgs;
use super::error::{CliError, FailedCall};
use super::signals::interrupts;
use super::{compiler, print_data, show_diagnostics};
use crate::files::{read_bounded, read_regular};
use crate::plugin::{Compiler, LoadError, one_line, protocol_level};
use crate::sandbox::Diagnostic;
use crate::sys::System;

/// How many functions an error lists, of those that there are.
const NAMED: usize = 20;

/// Runs the command and returns the exit code.
pub(super) async fn call(args: CallArgs) -> Result<u8, CliError> {
    let system = System::read()?;
    let input = input(&args)?;
    let config = pairs("--config KEY=VALUE", &args.config)?;
    let links = pairs("--link NAME=FILE", &args.link)?;
    let http = client(&args.allow_host)?;
    let compiler = compiler(&system)?;
    let mut interrupts = interrupts()?;

    let limits = InstanceLimits { memory_pages: args.max_pages.into(), ..InstanceLimits::standard() };
    let loaded = tokio::select! {
        loaded = load(&compiler, &args, &links) => loaded,
        _ = interrupts.recv() => return Err(CliError::Interrupted),
    };
    let module = match loaded {
        Ok(module) => module,
        Err(error) if args.json => {
            let said = json!({"kind": "load", "message": one_line(&error)});
            answer(&json!({"ok": false, "error": said}))?;
            return Ok(CliError::Load(error).exit_code());
        }
        Err(error) => return Err(error.into()),
    };

    let (log, lines) = log(&args, &limits);
    let listener = tokio::spawn(show_diagnostics(lines));
    let options = InstanceOptions { limits, config: config.into_iter().collect(), log, http };
    let mut instance = module.instance((), options);
    let budget = CallLimits { fuel: args.fuel, deadline: Duration::from_millis(args.timeout) };
    let cancel = instance.cancel_handle();
    let result = {
        let mut call = std::pin::pin!(instance.call(&args.export, &input, &budget));
        tokio::select! {
            // First, so that there is a call to cancel.
            biased;
            result = &mut call => result,
            _ = interrupts.recv() => {
                cancel.cancel();
                call.await
            }
        }
    };
    let report = instance.report().clone();
    // What it logged comes before what became of it: all of it, as long as nobody is tired of waiting for its reader.
    drop(instance);
    tokio::select! {
        _ = listener => {}
        _ = interrupts.recv() => {}
    }
    show(&args, &module, result, &report)
}

/// What the function gets.
fn input(args: &CallArgs) -> Result<Vec<u8>, CliError> {
    let max = InstanceLimits::standard().memory_bytes;
    let from_stdin = || {
        read_bounded(std::io::stdin().lock(), max)
            .map_err(|source| CliError::Input { from: "standard input".into(), source })
    };
    match (&args.input, &args.input_file, &args.stdin) {
        (Some(text), _, _) => Ok(text.clone().into_bytes()),
        (_, Some(file), _) if file.as_os_str() == "-" => from_stdin(),
        (_, Some(file), _) => read_regular(file, max)
            .map_err(|source| CliError::Input { from: file.display().to_string(), source }),
        (_, _, Some(_)) => from_stdin(),
        _ => Ok(Vec::new()),
    }
}

/// The two sides of what is typed as `NAME=VALUE`, each name once.
fn pairs(option: &str, typed: &[String]) -> Result<Vec<(String, String)>, CliError> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for entry in typed {
        let Some((name, value)) = entry.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(CliError::Usage(format!("{option}: {entry:?} is not of this form")));
        };
        if pairs.iter().any(|(other, _)| other == name) {
            return Err(CliError::Usage(format!("{option}: `{name}` is given twice")));
        }
        pairs.push((name.to_owned(), value.to_owned()));
    }
    Ok(pairs)
}

/// The HTTP client of a module that may reach these hosts; none, where there are none.
fn client(hosts: &[String]) -> Result<Option<Arc<dyn HttpClient>>, CliError> {
    if hosts.is_empty() {
        return Ok(None);
    }
    let hosts =
        AllowedHosts::parse(hosts).map_err(|error| CliError::Usage(format!("--allow-host: {error}")))?;
    let roots = TlsRoots::system().map_err(CliError::Certificates)?;
    Ok(Some(Arc::new(AllowedHostsClient::new(hosts, roots))))
}

async fn load(
    compiler: &Compiler,
    args: &CallArgs,
    links: &[(String, String)],
) -> Result<Module<()>, LoadError> {
    let limits = ModuleLimits { max_initial_pages: u64::from(args.max_pages), ..ModuleLimits::standard() };
    let mut others = Vec::new();
    for (name, file) in links {
        others.push((name.as_str(), code(compiler, Path::new(file), &limits).await?));
    }
    let main = code(compiler, &args.file, &limits).await?;
    Module::new(compiler.engine(), &main, &others, &HostFunctions::new())
        .map_err(|source| LoadError::Module { plugin: name(&args.file), source })
}

async fn code(compiler: &Compiler, file: &Path, limits: &ModuleLimits) -> Result<Code, LoadError> {
    let wasm = read_regular(file, limits.max_bytes)
        .map_err(|source| LoadError::Read { path: file.to_owned(), source })?;
    let code = compiler.code(&wasm, limits).await;
    code.map_err(|source| LoadError::Code { plugin: name(file), source })
}

/// What a module is called in messages: its file.
fn name(file: &Path) -> Arc<str> {
    file.display().to_string().into()
}

/// Where the log of a call goes: a sink, and what comes out of it. It has room for all that a call may log.
fn log(args: &CallArgs, limits: &InstanceLimits) -> (LogSink, mpsc::Receiver<Diagnostic>) {
    // One more, for the notice of what was dropped.
    let (sender, receiver) = mpsc::channel(limits.log_lines + 1);
    let plugin = name(&args.file);
    let threshold = if args.verbose { LogLevel::Trace } else { LogLevel::Warn };
    let sink = LogSink::new(threshold, move |level, text| {
        let diagnostic =
            Diagnostic { level: protocol_level(level), plugin: plugin.clone(), text: text.to_owned() };
        // The listener ends with the instance, not before it.
        let _ = sender.try_send(diagnostic);
    });
    (sink, receiver)
}

/// The functions of a module, the first of them.
fn named(module: &Module<()>) -> Vec<String> {
    let mut names: Vec<String> = module.exports().take(NAMED).map(str::to_owned).collect();
    let more = module.exports().count() - names.len();
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    names
}

/// Shows what became of the call: the output, or the error, or both as one object.
fn show(
    args: &CallArgs,
    module: &Module<()>,
    result: Result<Vec<u8>, CallError>,
    report: &Report,
) -> Result<u8, CliError> {
    let failed = |source| {
        CliError::from(Box::new(FailedCall {
            file: args.file.clone(),
            export: args.export.clone(),
            exports: named(module),
            source,
        }))
    };
    match result {
        Ok(output) if args.json => {
            let (output, encoding) = match String::from_utf8(output) {
                Ok(text) => (text, None),
                Err(bytes) => {
                    (base64::engine::general_purpose::STANDARD.encode(bytes.as_bytes()), Some("base64"))
                }
            };
            let mut object = json!({"ok": true, "output": output, "report": used(report)});
            if let Some(encoding) = encoding {
                object["encoding"] = encoding.into();
            }
            answer(&object)
        }
        Ok(output) => print_data(&output),
        Err(error) if args.json => {
            answer(&json!({"ok": false, "error": said(&error), "report": used(report)}))?;
            Ok(failed(error).exit_code())
        }
        Err(error) => Err(failed(error)),
    }
}

/// An error of a call, for programs.
fn said(error: &CallError) -> Value {
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

/// What a call has used, for programs.
fn used(report: &Report) -> Value {
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

/// Prints an object on a line. It is written as it is made: as text it may be six times as long as the output in it.
fn answer(object: &Value) -> Result<u8, CliError> {
    let mut stdout = BufWriter::new(std::io::stdout().lock());
    serde_json::to_writer(&mut stdout, object)
        .map_err(std::io::Error::from)
        .and_then(|()| writeln!(stdout))
        .and_then(|()| stdout.flush())
        .map_err(CliError::Write)?;
    Ok(0)
}
