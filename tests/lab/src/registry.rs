//! A registry of images on the network that an engine sees, which ends with its test.

use std::process::Stdio;

use crate::engine::Engine;
use crate::programs::{Running, free_port, missing, wait_until};

/// A registry without any image. It ends with this value.
#[derive(Debug)]
pub struct Registry {
    /// Its host and port, as the names of its images begin.
    pub host: String,
    _program: Running,
    _folder: tempfile::TempDir,
}

impl Registry {
    /// Starts one beside an engine, and waits until it answers. Where there is an entry of `htpasswd`, only that user
    /// gets in.
    ///
    /// # Errors
    /// The program that is not installed.
    pub fn start(engine: &Engine, user: Option<&str>) -> Result<Self, String> {
        if let Some(program) = missing(&["docker-registry", "setpriv"]) {
            return Err(format!("`{program}` is not installed"));
        }
        let folder = tempfile::tempdir().expect("a directory");
        let host = format!("127.0.0.1:{}", free_port());
        let at = |name: &str| folder.path().join(name);
        let mut settings = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{host}\"}}\n",
            at("data").display()
        );
        if let Some(user) = user {
            std::fs::write(at("users"), user).expect("a file");
            settings += &format!("auth: {{htpasswd: {{realm: lab, path: {}}}}}\n", at("users").display());
        }
        std::fs::write(at("settings.yml"), settings).expect("a file");
        let mut serve = engine.beside("docker-registry");
        let program = Running::start(serve.arg("serve").arg(at("settings.yml")));
        let url = format!("http://{host}/");
        wait_until("the registry answers", || {
            let mut ask = engine.beside("/bin/busybox");
            ask.args(["wget", "-q", "-O", "/dev/null", &url]).stdout(Stdio::null()).stderr(Stdio::null());
            ask.status().is_ok_and(|status| status.success())
        });
        Ok(Self { host, _program: program, _folder: folder })
    }
}
