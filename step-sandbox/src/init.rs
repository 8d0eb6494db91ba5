//! The first process of a sandbox: confines itself, starts the command, collects whatever dies and ends with the
//! command. In namespaces it is process 1, whose end is the end of all the others.

use std::{
    io::Write,
    os::unix::{net::UnixStream, process::CommandExt},
    process::{Command, ExitCode, Stdio},
};

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, WaitOptions, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit, setsid, umask, wait,
};

use crate::{
    confine, keyring, loopback, root,
    wire::{self, Isolation, Program, Spec, Status},
};

/// Asks the supervisor on standard input, a socket, what to run, and runs it. Answers only if that cannot be done;
/// else our exit code is the command's.
pub(crate) fn main() -> ExitCode {
    let Ok(channel) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).map(UnixStream::from) else {
        return ExitCode::FAILURE;
    };

    // From here on we die with the supervisor. Only then ask: no answer comes from one that died before.
    if set_parent_process_death_signal(Some(Signal::KILL)).is_err()
        || (&channel).write_all(b"null\n").is_err()
    {
        return ExitCode::FAILURE;
    }
    let Ok(Some(spec)) = wire::read::<Spec>(&channel) else { return ExitCode::FAILURE };
    let problem = match run(spec) {
        Ok(code) => return code,
        Err(problem) => problem,
    };
    if let Ok(line) = wire::encode(&problem) {
        let _ = (&channel).write_all(&line);
    }
    ExitCode::FAILURE
}

fn run(spec: Spec) -> Result<ExitCode, Status> {
    prepare().map_err(|error| Status::Setup(format!("prepare the first process: {error}")))?;
    match spec.isolation {
        Isolation::Namespaces(place) => {
            // While we have the capabilities for it, in the namespace that a command's network is.
            if !place.network {
                loopback::up()
                    .map_err(|error| Status::Setup(format!("bring up the loopback interface: {error}")))?;
            }
            // Through the host's `/proc`: the one in the new root is read-only.
            confine::forbid_namespaces()
                .map_err(|error| Status::Setup(format!("forbid namespaces within: {error}")))?;
            root::enter(&place).map_err(Status::Setup)?;
            // The last mount is made.
            confine::drop_capabilities()
                .map_err(|error| Status::Setup(format!("drop capabilities: {error}")))?;
            // Landlock forbids mounts to whoever is under it, so it comes after them. It is for processes with "no new
            // privileges" only, which they have since the capabilities went.
            confine::leave_abstract_sockets();
            spec.program.map_or(Ok(ExitCode::SUCCESS), |program| attend(&program))
        }
        Isolation::Landlock(access) => {
            // These take "no new privileges" with them, without which Landlock may not be used.
            confine::drop_capabilities()
                .map_err(|error| Status::Setup(format!("drop capabilities: {error}")))?;
            confine::restrict(&access).map_err(Status::Setup)?;
            // The supervisor is the one who collects the dead here, so there is nothing to stay for.
            spec.program.map_or(Ok(ExitCode::SUCCESS), |program| {
                Err(cannot_start(&program, &command(&program)?.exec()))
            })
        }
    }
}

/// Prepares what both kinds of isolation need.
fn prepare() -> std::io::Result<()> {
    // Before anything is started: each process inherits the keyring of the one that starts it.
    keyring::leave()?;
    // A session of its own has no terminal to read from, push characters into or be interrupted from.
    setsid()?;
    // Whatever the user's own is: what steps make must not depend on it.
    umask(rustix::fs::Mode::from_raw_mode(0o022));
    // A core dump could become a file of the workspace, and so of the snapshot.
    Ok(setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?)
}

/// Starts the command and waits for its end, collecting orphans meanwhile.
fn attend(program: &Program) -> Result<ExitCode, Status> {
    // The command has our user id: this keeps its hands off our memory and descriptors.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| Status::Setup(format!("protect the first process: {error}")))?;
    // A child, and not in our place as in the fallback: process 1 collects orphans, and most signals do not reach it.
    let child = command(program)?.spawn().map_err(|error| cannot_start(program, &error))?;
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if u32::try_from(pid.as_raw_nonzero().get()) == Ok(child.id()) => {
                let code =
                    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
                return Ok(ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Status::Setup(format!("wait for the command: {error}"))),
        }
    }
}

fn command(program: &Program) -> Result<Command, Status> {
    let Some((name, arguments)) = program.argv.split_first() else {
        return Err(Status::Command("its argument list is empty".to_owned()));
    };
    // Here, so that a missing directory is not taken for a missing program.
    std::env::set_current_dir(&program.workdir)
        .map_err(|error| Status::Command(format!("its working directory `{}`: {error}", program.workdir)))?;
    let mut command = Command::new(name);
    command.args(arguments).env_clear().envs(&program.env).env("PWD", &program.workdir).stdin(Stdio::null());
    Ok(command)
}

fn cannot_start(program: &Program, error: &std::io::Error) -> Status {
    Status::Command(format!("`{}`: {error}", program.argv.first().map_or("", String::as_str)))
}
