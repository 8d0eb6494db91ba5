//! `cargo xtask bench docker`: what a step in a container costs, beside the bare calls to the same engine, `docker
//! run` and `docker exec`, all in one run. The calls are plain HTTP here, so that nothing but the engine is measured.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::measure::{median, millis, time};
use crate::scale::pipeline;

/// Measured rounds; the median is what is shown.
const ROUNDS: usize = 5;

/// The lengths of the two chains. What a step costs is what the further ones of the longer chain take.
const CHAINS: [u32; 2] = [10, 30];

/// Steps, or runs of Docker's client, in a round.
const STEPS: u32 = 10;

const IMAGE: &str = "hm-bench/busybox:1";

/// Address of the engine where `DOCKER_HOST` is not set.
const DEFAULT: &str = "unix:///var/run/docker.sock";

/// Runs steps by this `hm`, by hand and by Docker's client in turn, and prints a table.
///
/// # Errors
/// When no engine answers at a unix socket, or something that is measured fails.
pub(crate) fn docker(hm: &Path, folder: &Path) -> Result<()> {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| DEFAULT.to_owned());
    let Some(socket) = host.strip_prefix("unix://") else {
        bail!("DOCKER_HOST is `{host}`: only engines at a unix socket are measured")
    };
    let engine = Engine { socket: socket.into() };
    let ping = engine.connect().and_then(|mut connection| connection.call("GET", "/_ping", ""));
    ping.with_context(|| format!("no engine answers at {host}"))?;
    let place = folder.join("bench-docker");
    let project = place.join("project");
    fs::create_dir_all(project.join(".hm"))?;
    hm_test_lab::import_busybox(&host, IMAGE).map_err(|why| anyhow!(why))?;
    for steps in CHAINS {
        let text = pipeline(steps, &format!(r#","image":"{IMAGE}""#), |n| Some(n - 1));
        fs::write(project.join(format!(".hm/chain{steps}.json")), text)?;
    }

    let build = |steps: u32| {
        let mut command = Command::new(hm);
        command.args(["build", "-j1", "--dir"]).arg(&project).arg(format!("chain{steps}"));
        command.env("DOCKER_HOST", &host);
        time(command)
    };
    let client = |args: &[&str]| {
        let mut command = Command::new("docker");
        // It warns of every machine that forwards no packets.
        command.args(["-H", &host]).args(args).stderr(Stdio::null());
        time(command)
    };
    let life = "hm-bench-exec";
    // It may be there if we were interrupted.
    let _ = client(&["rm", "-f", life]);
    client(&["run", "-d", "--init", "--name", life, "--network", "none", IMAGE, "sleep", "100000"])?;
    let mut times: [Vec<Duration>; 5] = Default::default();
    let measured: Result<()> = (0..=ROUNDS).try_for_each(|round| {
        let [short, long] = CHAINS.map(build);
        let (short, long) = (short?, long?);
        let bare = engine.chain(STEPS)?;
        let repeat = |args: &[&str]| -> Result<Duration> {
            let all = (0..STEPS).map(|_| client(args)).sum::<Result<Duration>>()?;
            Ok(all / STEPS)
        };
        let further = long.saturating_sub(short) / (CHAINS[1] - CHAINS[0]);
        let run = repeat(&["run", "--rm", IMAGE, "true"])?;
        let exec = repeat(&["exec", life, "true"])?;
        // The first round fills caches.
        if round > 0 {
            for (times, time) in times.iter_mut().zip([short, further, bare, run, exec]) {
                times.push(time);
            }
        }
        Ok(())
    });
    let cleaned = client(&["rm", "-f", life]).and_then(|_| client(&["rmi", IMAGE]));
    measured?;
    cleaned?;

    let [short, further, bare, run, exec] = times.map(median);
    println!("a step of `true` in a chain of containers on {host}, medians of {ROUNDS} rounds in turn\n");
    for (what, time) in [
        (format!("hm build, {} steps, all of it", CHAINS[0]), short),
        (format!("hm build, a further step of {}", CHAINS[1]), further),
        ("the bare calls for a step".to_owned(), bare),
        ("docker run --rm".to_owned(), run),
        ("docker exec".to_owned(), exec),
    ] {
        println!("  {what:34} {:>12}", millis(time));
    }
    let overhead = (further.as_secs_f64() / bare.as_secs_f64() - 1.0) * 100.0;
    println!(
        "\nhm adds {overhead:.1} % to the bare calls: create, attach, start, exec, wait, commit, remove"
    );
    Ok(())
}

/// An engine at a unix socket.
struct Engine {
    socket: PathBuf,
}

/// A connection to it, which is used again and again.
struct Connection(BufReader<UnixStream>);

impl Engine {
    fn connect(&self) -> Result<Connection> {
        Ok(Connection(BufReader::new(UnixStream::connect(&self.socket)?)))
    }

    /// Makes the calls for so many steps that build on each other, as `hm` does; what one takes.
    fn chain(&self, steps: u32) -> Result<Duration> {
        let mut connection = self.connect()?;
        let mut made = Vec::new();
        let mut image = IMAGE.to_owned();
        let start = Instant::now();
        for n in 0..steps {
            let name = format!("hm-bench:{n}");
            self.step(&mut connection, &image, n)?;
            made.push(name.clone());
            image = name;
        }
        let time = start.elapsed() / steps;
        for image in made.iter().rev() {
            connection.call("DELETE", &format!("/images/{image}"), "")?;
        }
        Ok(time)
    }

    fn step(&self, connection: &mut Connection, image: &str, n: u32) -> Result<()> {
        let body = format!(
            r#"{{"Image":"{image}","Entrypoint":["sh"],"Cmd":["-c","while read -r _; do :; done"],"OpenStdin":true,"StdinOnce":true,
                "WorkingDir":"/workspace","HostConfig":{{"Init":true,"PidsLimit":4096,"SecurityOpt":["no-new-privileges"]}}}}"#
        );
        let made = connection.call("POST", "/containers/create", &body)?;
        let container = field(&made, "Id")?;
        let at = |what: &str| format!("/containers/{container}{what}");
        let mut life = self.connect()?;
        life.send("POST", &at("/attach?stream=1&stdin=1"), "", "Connection: Upgrade\r\nUpgrade: tcp\r\n")?;
        ensure!(life.head()?.0 == 101, "the engine does not attach");
        connection.call("POST", &at("/start"), "")?;

        let body = format!(
            r#"{{"Cmd":["sh","-c","true {n}"],"AttachStdout":true,"AttachStderr":true,"WorkingDir":"/workspace"}}"#
        );
        let exec = field(&connection.call("POST", &at("/exec"), &body)?, "Id")?.to_owned();
        let mut output = self.connect()?;
        let upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n";
        output.send("POST", &format!("/exec/{exec}/start"), r#"{"Detach":false,"Tty":false}"#, upgrade)?;
        ensure!(output.head()?.0 == 101, "the engine does not run a command");
        std::io::copy(&mut output.0, &mut std::io::sink())?;
        let ended = connection.call("GET", &format!("/exec/{exec}/json"), "")?;
        ensure!(ended.contains(r#""ExitCode":0"#), "a command in a container ended with {ended}");

        drop(life);
        connection.call("POST", &at("/wait?condition=not-running"), "")?;
        connection.call(
            "POST",
            &format!("/commit?container={container}&repo=hm-bench&tag={n}&pause=0"),
            "{}",
        )?;
        connection.call("DELETE", &at("?force=1&v=1"), "")?;
        Ok(())
    }
}

impl Connection {
    /// One request; the body of its answer.
    fn call(&mut self, method: &str, path: &str, body: &str) -> Result<String> {
        self.send(method, path, body, "")?;
        let (status, length) = self.head()?;
        let mut answer = Vec::new();
        if let Some(length) = length {
            answer.resize(length, 0);
            self.0.read_exact(&mut answer)?;
        } else if status != 204 && status != 304 {
            self.chunks(&mut answer)?;
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        ensure!((200..400).contains(&status), "{method} {path}: {status} {answer}");
        Ok(answer)
    }

    fn send(&mut self, method: &str, path: &str, body: &str, more: &str) -> Result<()> {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{more}\r\n{body}"
        );
        Ok(self.0.get_mut().write_all(request.as_bytes())?)
    }

    /// The status of an answer, and how long its body is; none if it comes in chunks, or not at all.
    fn head(&mut self) -> Result<(u16, Option<usize>)> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("`{first}` is no HTTP"))?;
        let mut length = None;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                return Ok((status, length));
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = Some(value.trim().parse()?);
            }
        }
    }

    fn chunks(&mut self, answer: &mut Vec<u8>) -> Result<()> {
        loop {
            let size = usize::from_str_radix(self.line()?.trim(), 16).context("a chunk without a size")?;
            let begin = answer.len();
            answer.resize(begin + size, 0);
            self.0.read_exact(&mut answer[begin..])?;
            self.line()?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.0.read_line(&mut line)? > 0, "the engine has closed the connection");
        Ok(line.trim_end().to_owned())
    }
}

/// A field of a JSON object whose value is a plain string.
fn field<'a>(json: &'a str, name: &str) -> Result<&'a str> {
    let value = json.split_once(&format!("\"{name}\":\"")).and_then(|(_, rest)| rest.split_once('"'));
    Ok(value.with_context(|| format!("no `{name}` in {json}"))?.0)
}
