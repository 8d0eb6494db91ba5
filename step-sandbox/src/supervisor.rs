//! The helper between hm and a sandbox: makes the namespaces, starts the first process in them, and sees to it that
//! nothing in there outlives either the command or hm. What is in the sandbox is the first process's business.

use std::{
    fs,
    io::{self, Write},
    os::{fd::OwnedFd, unix::net::UnixStream, unix::process::ExitStatusExt},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{
        Pid, PidfdFlags, Signal, WaitOptions, getgid, getpid, getuid, kill_process, pidfd_open,
        pidfd_send_signal, set_child_subreaper, wait,
    },
    thread::{UnshareFlags, capabilities, configure_capability_in_ambient_set, set_capabilities},
};

use crate::{
    process,
    wire::{self, Isolation, Spec, Status},
};

/// Runs the one command that comes in on standard input, a socket, and answers there. That socket's other end
/// belongs to hm alone: when it closes, hm is gone or wants the command gone.
pub(crate) fn main() -> ExitCode {
    // A copy that no program we start inherits: hm notices our death by the end of this socket, so nobody else may hold
    // it.
    let Ok(socket) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).map(UnixStream::from) else {
        return ExitCode::FAILURE;
    };
    // Nobody there to tell.
    let Ok(Some(spec)) = wire::read(&socket) else { return ExitCode::FAILURE };
    let status = supervise(&spec, &socket).unwrap_or_else(|error| Some(Status::Setup(error)));
    let Some(status) = status else { return ExitCode::SUCCESS };
    match wire::encode(&status).map(|line| (&socket).write_all(&line)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// None when hm went away.
fn supervise(spec: &Spec, socket: &UnixStream) -> Result<Option<Status>, String> {
    // Before anything is started: whoever started hm may have left descriptors open that lead out of the sandbox.
    process::keep_descriptors().map_err(|error| format!("close inherited files: {error}"))?;
    match &spec.isolation {
        Isolation::Namespaces(root) => enter_namespaces(root.network)?,
        Isolation::Landlock(_) => {
            // There is no namespace of processes to die with its first one, so orphans have to come to us.
            set_child_subreaper(Some(getpid())).map_err(|error| format!("become a reaper: {error}"))?;
        }
    }
    let (ours, theirs) = UnixStream::pair().map_err(|error| format!("make a socket: {error}"))?;
    // Only a child is in the new namespace of processes, and as its first one: when that dies, the kernel kills all
    // others. This process stays outside, where it can still wait for it.
    let mut init = Command::new("/proc/self/exe")
        .arg(wire::INIT)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .map_err(|error| format!("start the first process: {error}"))?;
    let outcome = attend(spec, socket, &init, &ours);
    // Also where attending failed halfway. It has not been waited for yet, so the number is still its own.
    let _ = init.kill();
    let status = init.wait().map_err(|error| format!("wait for the first process: {error}"));
    if let Isolation::Landlock(_) = spec.isolation {
        // After its death: only then are the processes that it started ours to kill and to wait for.
        reap_descendants();
    }
    let (alive, said) = (outcome?, ours);
    if !alive {
        return Ok(None);
    }
    // All who could hold the other end are dead, so this ends.
    let said = wire::read(&said).map_err(|error| format!("understand the first process: {error}"))?;
    Ok(Some(said.unwrap_or(Status::Exit(exit_code(status?)))))
}

/// Hands the spec to the first process and waits for its end; false when hm went away before.
fn attend(spec: &Spec, hm: &UnixStream, init: &Child, channel: &UnixStream) -> Result<bool, String> {
    // It asks for the spec when it is sure to die with us: killing us in between leaves nothing behind.
    let asked = wire::read::<()>(channel).map_err(|error| format!("hear from the first process: {error}"))?;
    asked.ok_or("the first process died before it began")?;
    let line = wire::encode(spec).map_err(|error| format!("encode the spec: {error}"))?;
    (&*channel).write_all(&line).map_err(|error| format!("instruct the first process: {error}"))?;
    let failed = |error| format!("watch the first process: {error}");
    // A descriptor of the process, since only descriptors can be waited for together with the socket.
    let end = pidfd_open(pid(init)?, PidfdFlags::empty()).map_err(failed)?;
    loop {
        let mut events = [
            PollFd::new(&end, PollFlags::IN),
            PollFd::new(hm, PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR),
        ];
        match poll(&mut events, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed(error)),
        }
        if !events[0].revents().is_empty() {
            return Ok(true);
        }
        // hm sends nothing after the spec, so this means that its end is closed.
        if !events[1].revents().is_empty() {
            pidfd_send_signal(&end, Signal::KILL).map_err(failed)?;
            return Ok(false);
        }
    }
}

fn pid(child: &Child) -> Result<Pid, String> {
    let number = i32::try_from(child.id()).map_err(|error| format!("process id {}: {error}", child.id()))?;
    Pid::from_raw(number).ok_or_else(|| "process id 0".to_owned())
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| status.signal().map_or(1, |signal| 128 + signal))
}

/// Leaves every namespace but, with network, that one; the next child is the first process of a new one of processes.
fn enter_namespaces(network: bool) -> Result<(), String> {
    // Inside of the new namespace nobody has an id until it is mapped.
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    let mut namespaces = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS;
    if !network {
        namespaces |= UnshareFlags::NEWNET;
    }
    process::unshare(namespaces).map_err(|error| format!("make namespaces: {error}"))?;
    for (file, map) in [
        // First: the kernel takes no map of groups from a user without privileges who could still drop groups, and with
        // them what they are denied.
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{uid} {uid} 1")),
        ("gid_map", format!("{gid} {gid} 1")),
    ] {
        fs::write(format!("/proc/self/{file}"), map)
            .map_err(|error| format!("map our user ({file}): {error}"))?;
    }
    keep_capabilities().map_err(|error| format!("keep capabilities: {error}"))
}

/// An ordinary user's process loses its capabilities with the next program, unless they are "ambient".
fn keep_capabilities() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    sets.inheritable = sets.permitted;
    set_capabilities(None, sets)?;
    // Those without a name here are newer than anything we need.
    for (_, capability) in sets.permitted.iter_names() {
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

/// Kills what the command left behind: its orphans became our children, and so do theirs in turn.
fn reap_descendants() {
    loop {
        for child in children() {
            // It may be gone already.
            let _ = kill_process(child, Signal::KILL);
        }
        if wait(WaitOptions::empty()).is_err_and(|error| error == rustix::io::Errno::CHILD) {
            return;
        }
    }
}

fn children() -> Vec<Pid> {
    let us = format!("{}", getpid().as_raw_nonzero());
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw);
    let is_ours = |pid: &Pid| {
        fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).is_ok_and(|stat| {
            // The name before it, in parentheses, may contain anything.
            stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)) == Some(us.as_str())
        })
    };
    processes.flatten().filter_map(number).filter(is_ours).collect()
}
