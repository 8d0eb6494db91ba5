//! `hm plugin call`: one call of one function of any Extism module. No manifest is read, so nothing is asked for: the
//! module may do what the command line grants by name, and nothing else. What is shown of the call is in `call_output`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hm_abi::{
    AllowedHosts, CallLimits, Code, InstanceLimits, InstanceOptions, LogLevel, LogSink, Module, ModuleLimits,
};
use hm_disk::{read_bounded, read_regular, sha256_hex};
use hm_plugin_protocol::Level;

use super::args::CallArgs;
use super::call_output::{OutputSink, show, show_not_loaded};
use super::error::CliError;
use super::plugin_loading::{compiler, host_context, show_diagnostics};
use super::signals::interrupts;
use crate::host_functions::{
    AccessEntry, Diagnostics, GrantedAccess, PluginState, Policy, Role, host_functions,
};
use crate::plugin::{Compiler, LoadError, check_by_name, protocol_level};
use crate::sys::System;

/// Digits of a module's digest that are in the name under which it keeps data.
const NAME_DIGITS: usize = 16;

/// Runs the command and returns the exit code.
pub(super) async fn call(args: CallArgs) -> Result<u8, CliError> {
    let system = System::read()?;
    let input = input(&args)?;
    let config = pairs("--config KEY=VALUE", &args.config)?;
    let links = pairs("--link NAME=FILE", &args.link)?;
    let policy = policy(&args)?;
    let compiler = compiler(&system)?;
    let interrupts = interrupts()?;

    let limits = InstanceLimits { memory_pages: args.max_pages.into(), ..InstanceLimits::standard() };
    let loaded = tokio::select! {
        loaded = load(&compiler, &args, &links) => loaded,
        () = interrupts.token().cancelled() => return Err(CliError::Interrupted),
    };
    let (module, plugin) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return show_not_loaded(&args, error),
    };

    let threshold = if args.verbose { Level::Trace } else { Level::Warn };
    // Room for all that a call may log, and the notice of what was dropped.
    let (diagnostics, lines) = Diagnostics::with_room(threshold, limits.log_lines + 1);
    let listener = tokio::spawn(show_diagnostics(lines));
    let host_context = Arc::new(host_context(&system, Some(&system.current_dir)));
    let log = {
        let (label, lines, host_context) = (label(&args.file), diagnostics.clone(), host_context.clone());
        LogSink::new(LogLevel::Trace, move |level, text| {
            lines.try_send(protocol_level(level), &label, &host_context.secrets.mask(text));
        })
    };
    let (sink, output) = OutputSink::new(&args);
    let state = PluginState::new(plugin, Arc::new(policy), Role::Call(output), host_context, diagnostics);
    let GrantedAccess { directories, http } = GrantedAccess::of(&state);
    let options = InstanceOptions { limits, config: config.into_iter().collect(), log, http, directories };
    let mut instance = module.instance(state, options);
    let budget = CallLimits { fuel: args.fuel, deadline: Duration::from_millis(args.timeout) };
    let cancel = instance.cancel_handle();
    let (result, interrupted) = {
        let mut call = std::pin::pin!(instance.call(&args.export, &input, &budget));
        tokio::select! {
            // First, so that there is a call to cancel.
            biased;
            result = &mut call => (result, false),
            () = interrupts.token().cancelled() => {
                cancel.cancel();
                (call.await, true)
            }
        }
    };
    let report = instance.report().clone();
    // What it wrote and logged comes before what became of it: all of it, as long as nobody is tired of waiting for its
    // reader.
    let told = async {
        if let Some(output) = instance.data_mut().role.output() {
            output.flush().await.map_err(CliError::Write)?;
        }
        drop(instance);
        // It ends when there is nothing left to show.
        let _ = listener.await;
        Ok(())
    };
    let told = tokio::select! {
        told = told => told,
        // Whoever has ended the call still wants to see what it said.
        () = interrupts.token().cancelled(), if !interrupted => Ok(()),
    };
    show(&args, &module, result, &report, sink).and_then(|code| told.map(|()| code))
}

/// Input of the function.
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

/// Policy that the command line gives the module.
fn policy(args: &CallArgs) -> Result<Policy, CliError> {
    if let Some(name) = args.grant.iter().find(|name| check_by_name(name).is_err()) {
        let what = "there is no such host function; docs/host-functions.md lists those that there are";
        return Err(CliError::Usage(format!("--grant {name:?}: {what}")));
    }
    for entry in &args.allow_host {
        if AccessEntry::parse(entry) != AccessEntry::Unknown {
            continue;
        }
        let error = match AllowedHosts::parse([entry]) {
            Err(error) if AllowedHosts::is_host(entry) => error.to_string(),
            _ => format!(
                "{entry:?}: `unix:` takes an absolute path, `dir:` and `dir+rw:` one below this directory"
            ),
        };
        return Err(CliError::Usage(format!("--allow-host: {error}")));
    }
    let names = args.grant.iter().cloned().collect();
    Ok(Policy::by_name(names).with_access(args.allow_host.iter().cloned().collect()))
}

/// The module, and the name under which it keeps data: one that no other module has.
async fn load(
    compiler: &Compiler,
    args: &CallArgs,
    links: &[(String, String)],
) -> Result<(Module<PluginState>, Arc<str>), LoadError> {
    let limits = ModuleLimits { max_initial_pages: u64::from(args.max_pages), ..ModuleLimits::standard() };
    let mut others = Vec::new();
    for (name, file) in links {
        let (code, _) = code(compiler, Path::new(file), &limits).await?;
        others.push((name.as_str(), code));
    }
    let (main, digest) = code(compiler, &args.file, &limits).await?;
    let module = Module::new(compiler.engine(), &main, &others, &host_functions())
        .map_err(|source| LoadError::Module { plugin: label(&args.file), source })?;
    let digits: String = digest.chars().take(NAME_DIGITS).collect();
    Ok((module, format!("call-{digits}").into()))
}

/// A module's code and digest.
async fn code(compiler: &Compiler, file: &Path, limits: &ModuleLimits) -> Result<(Code, String), LoadError> {
    let wasm = read_regular(file, limits.max_bytes)
        .map_err(|source| LoadError::Read { path: file.to_owned(), source })?;
    let code = compiler.code(&wasm, limits).await;
    let code = code.map_err(|source| LoadError::Code { plugin: label(file), source })?;
    Ok((code, sha256_hex(&wasm)))
}

/// Name of a module in messages: its file.
fn label(file: &Path) -> Arc<str> {
    file.display().to_string().into()
}
