//! Commands in containers: what goes in, what comes out, and how they end.

use std::collections::BTreeMap;
use std::sync::Arc;

use bollard::container::LogOutput;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use futures_util::StreamExt;
use hm_plugin_protocol::StdStream;
use hm_workspace::archive::{Archive, READ_MAX};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::container::Container;
use crate::engine::Engine;
use crate::error::{DockerError, status};

/// Beginnings of engines' messages about programs that they cannot start.
const CANNOT_START: [&str; 2] = ["OCI runtime exec failed: ", "unable to start container process: "];

/// Exit codes then, as in shells.
const NOT_STARTED: [i64; 2] = [126, 127];

/// Most bytes of a short answer that are kept.
const SHORT: usize = 4096;

/// Command to be run in a container.
#[derive(Debug, Clone)]
pub struct Command {
    /// Program, and the arguments that it gets.
    pub argv: Vec<String>,
    /// Added to the container's environment.
    pub env: BTreeMap<String, String>,
    /// Directory that it runs in.
    pub workdir: String,
    /// Bytes for its standard input.
    pub input: Option<Arc<Archive>>,
}

impl Container {
    /// Runs a command to its end, and answers with its exit code. Output is passed on as it comes, and no faster than
    /// it is taken. If the future is dropped, the command goes on until the container ends.
    ///
    /// # Errors
    /// The engine does not run it; [`DockerError::Command`] if that is the command's own fault.
    pub async fn exec(
        &mut self,
        command: Command,
        output: mpsc::Sender<(StdStream, Vec<u8>)>,
    ) -> Result<i32, DockerError> {
        let name = self.name().to_owned();
        let Command { argv, env, workdir, input } = command;
        let env = self.environment(env);
        // Twice: which snapshot it is made from is certain only once it runs.
        self.run().await?;
        let user = self.from().user.clone();
        let engine = self.run().await?;
        let config = ExecConfig {
            attach_stdin: Some(input.is_some()),
            cmd: Some(argv),
            env: Some(env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            user,
            working_dir: Some(workdir),
            ..ExecConfig::default()
        };
        let exit_code =
            engine.exec(&name, config, input, |stream, bytes| output.send((stream, bytes))).await?;
        // Signals are 128 + n here, as everywhere.
        Ok(i32::try_from(exit_code).unwrap_or(i32::MAX))
    }

    /// Environment of a command beside what the image says.
    fn environment(&self, own: BTreeMap<String, String>) -> BTreeMap<String, String> {
        // As in the local sandbox: where a step is, and that asking git changes nothing.
        let ours = [("CI", "true"), ("GIT_OPTIONAL_LOCKS", "0")];
        let ours = ours.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        ours.chain(self.spec().env.clone()).chain(own).collect()
    }
}

impl Engine {
    /// Runs a command of ours, as root. Its output is what an error says.
    pub(crate) async fn tool(&self, name: &str, argv: Vec<String>) -> Result<(), DockerError> {
        let program = argv.first().cloned().unwrap_or_default();
        let config = ExecConfig { cmd: Some(argv), user: Some("0".into()), ..ExecConfig::default() };
        let said = std::sync::Mutex::new(Vec::new());
        let exit_code = self
            .exec(name, config, None, |_, bytes| {
                if let Ok(mut said) = said.lock()
                    && said.len() < SHORT
                {
                    said.extend(bytes);
                }
                std::future::ready(Ok::<_, ()>(()))
            })
            .await;
        let exit_code = match exit_code {
            Err(DockerError::Command(reason)) => {
                let (what, help) = match program.as_str() {
                    "chown" => (
                        "give a workspace to the image's user",
                        "an image whose user is not root has to have `chown`",
                    ),
                    _ => ("bring a workspace up to date", "hm build --no-cache goes without what is kept"),
                };
                let message = format!("{reason}; {help}");
                return Err(DockerError::Refused { what: what.to_owned(), message });
            }
            exit_code => exit_code?,
        };
        if exit_code == 0 {
            return Ok(());
        }
        let said = said.into_inner().unwrap_or_default();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        Err(DockerError::Tool { program, said })
    }

    /// Runs a command; `taken` gets its output. Answers with its exit code.
    async fn exec<E, F: Future<Output = Result<(), E>>>(
        &self,
        name: &str,
        config: ExecConfig,
        input: Option<Arc<Archive>>,
        taken: impl Fn(StdStream, Vec<u8>) -> F,
    ) -> Result<i64, DockerError> {
        let config = ExecConfig { attach_stdout: Some(true), attach_stderr: Some(true), ..config };
        let made = match self.docker.create_exec(name, config).await {
            Err(error) if status(&error) == Some(409) => return Err(self.why_over(name).await?),
            made => made,
        };
        let id = made.map_err(self.failed("run a command in a container"))?.id;
        let started = self.docker.start_exec(&id, None::<StartExecOptions>).await;
        let (mut output, writer) = match started {
            Ok(StartExecResults::Attached { output, input }) => (output, input),
            Ok(StartExecResults::Detached) => return Ok(0),
            Err(bollard::errors::Error::DockerResponseServerError { message, .. })
                if message.contains(CANNOT_START[0]) =>
            {
                return Err(DockerError::Command(reason(&message)));
            }
            Err(error) => return Err(self.failed("run a command in a container")(error)),
        };
        let read = async {
            // What the engine itself says is all that there is; a command may say the same, and more.
            let mut first = None;
            let mut is_first = true;
            while let Some(chunk) = output.next().await {
                let chunk = chunk.map_err(self.failed("go on with a command in a container"))?;
                let (stream, bytes) = match chunk {
                    LogOutput::StdErr { message } => (StdStream::Stderr, message),
                    LogOutput::StdOut { message } | LogOutput::Console { message } => {
                        (StdStream::Stdout, message)
                    }
                    LogOutput::StdIn { .. } => continue,
                };
                if std::mem::take(&mut is_first) && bytes.starts_with(CANNOT_START[0].as_bytes()) {
                    first = Some((stream, bytes.to_vec()));
                    continue;
                }
                // Nobody listens any more: then the command may as well come to its end.
                for (stream, bytes) in first.take().into_iter().chain([(stream, bytes.to_vec())]) {
                    let _ = taken(stream, bytes).await;
                }
            }
            Ok::<_, DockerError>(first)
        };
        let write = async {
            match input {
                Some(archive) => feed(&archive, writer).await,
                // Held until the end: a command may ask what its input is.
                None => std::future::pending().await,
            }
        };
        // At the same time, or a command that waits for its output to be read would keep its input waiting, and we it.
        // The end of the output is the end of the command, whether or not it has read all of its input.
        tokio::pin!(read, write);
        let first = tokio::select! {
            first = &mut read => first?,
            fed = &mut write => {
                fed?;
                read.await?
            }
        };
        let ended = self.docker.inspect_exec(&id).await;
        let ended = ended.map_err(self.failed("find out how a command in a container has ended"))?;
        let code = ended.exit_code.ok_or_else(|| DockerError::Ended(name.to_owned()))?;
        match first {
            Some((_, said)) if NOT_STARTED.contains(&code) => {
                Err(DockerError::Command(reason(&String::from_utf8_lossy(&said))))
            }
            Some((stream, said)) => {
                let _ = taken(stream, said).await;
                Ok(code)
            }
            None => Ok(code),
        }
    }
}

impl Engine {
    /// Error that says why nothing can run in a container.
    async fn why_over(&self, name: &str) -> Result<DockerError, DockerError> {
        let about = self.docker.inspect_container(name, None).await;
        let state = about.map_err(self.failed("look at a container"))?.state.unwrap_or_default();
        let reason = match state.exit_code {
            _ if state.oom_killed == Some(true) => "there was no memory left for it".to_owned(),
            Some(code) if NOT_STARTED.contains(&code) => "there is no `sh` in it, which hm needs".to_owned(),
            code => format!("exit code {}", code.unwrap_or_default()),
        };
        Ok(DockerError::Command(format!("its container has ended: {reason}")))
    }
}

/// Writes an archive to the standard input of a command, as far as that reads it.
async fn feed(archive: &Arc<Archive>, mut writer: impl AsyncWrite + Unpin) -> Result<(), DockerError> {
    let mut offset = 0;
    while offset < archive.size() {
        let from = archive.clone();
        let read = hm_disk::blocking(move || from.read(offset, READ_MAX / 8)).await;
        let chunk = read?.map_err(DockerError::io("read the source archive"))?;
        offset = offset.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        if writer.write_all(&chunk).await.is_err() {
            return Ok(());
        }
    }
    // It may have ended without reading all of it.
    let _ = writer.shutdown().await;
    Ok(())
}

/// Part that matters of a message about a program that could not be started.
fn reason(message: &str) -> String {
    let mut rest = message.trim();
    for known in CANNOT_START {
        rest = rest.split_once(known).map_or(rest, |(_, rest)| rest);
    }
    let rest = rest.strip_prefix("exec: ").unwrap_or(rest);
    rest.trim_end_matches(": unknown").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_say_much_about_programs_that_are_not_there() {
        for message in [
            "OCI runtime exec failed: exec failed: unable to start container process: exec: \"nope\": executable file not found in $PATH: unknown\r\n",
            "OCI runtime exec failed: exec failed: unable to start container process: exec: \"nope\": executable file not found in $PATH",
        ] {
            assert_eq!(reason(message), "\"nope\": executable file not found in $PATH");
        }
        assert_eq!(reason("something else"), "something else");
    }
}
