//! Cases of the functions that reach what is outside of `hm`: sockets, the keyring, the terminal, the browser, the
//! loopback.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{self, TryRecvError};

use hm_host::backend::callback::CallbackServer;
use hm_host::backend::keyring::{Entry, Owner};
use hm_host::host_functions::Role;
use hm_plugin_protocol::{
    KeyringArgs, KeyringSetArgs, LoopbackHandle, LoopbackRecvArgs, SocketHandle, SocketReadArgs,
    SocketWriteArgs, TtyConfirmArgs, TtyPromptArgs,
};

use super::case::{Bench, Case, Done, Happened, json};
use crate::outside::pty::Pty;

pub(super) async fn case(name: &str, bench: &Bench) -> Case {
    match name {
        "hm_unix_socket_connect" => {
            let path = bench.socket();
            let listener = UnixListener::bind(&path).expect("a socket");
            listener.set_nonblocking(true).expect("a socket");
            let done = move |_: &Happened<'_>| listener.accept().is_ok();
            case_of(path.into_os_string().into_encoded_bytes(), Box::new(done))
        }
        "hm_socket_write" | "hm_socket_read" | "hm_socket_close" => socket(name, bench),
        "hm_keyring_get" | "hm_keyring_set" | "hm_keyring_delete" => keyring(name, bench).await,
        "hm_tty_prompt" => {
            let mut typed = answered(bench);
            let done: Done = Box::new(move |happened| typed() && happened.answer == b"yes");
            case_of(json(TtyPromptArgs { msg: "Name?".into(), mask: false }), done)
        }
        "hm_tty_confirm" => {
            let mut typed = answered(bench);
            let done: Done = Box::new(move |happened| typed() && happened.answer == 1_u32.to_le_bytes());
            case_of(json(TtyConfirmArgs { msg: "Really?".into(), default: false }), done)
        }
        "hm_browser_open" => {
            let (browser, opened) = (bench.browser(), bench.directory.path().join("opened"));
            std::fs::write(&browser, format!("#!/bin/sh\necho \"$@\" > {}\n", opened.display()))
                .expect("a script");
            std::fs::set_permissions(&browser, PermissionsExt::from_mode(0o755)).expect("executable");
            let done = move |_: &Happened<'_>| {
                std::fs::read_to_string(&opened).is_ok_and(|text| text == "https://a.example/\n")
            };
            case_of(b"https://a.example/".to_vec(), Box::new(done))
        }
        "hm_spawn_loopback" => case_of(
            json(None::<u16>),
            Box::new(|happened| {
                let port: Option<LoopbackHandle> = serde_json::from_slice(happened.answer).ok();
                let port = port.and_then(|port| u16::try_from(port.0).ok());
                port.is_some_and(|port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
            }),
        ),
        "hm_loopback_recv" => {
            let server = CallbackServer::start(None).await.expect("a server");
            let port = server.port();
            bench.handles.lock().expect("no panic").callback = Some(server);
            let mut browser = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
            write!(browser, "GET /cb?a=b HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n").expect("written");
            let args = LoopbackRecvArgs { h: LoopbackHandle(port.into()), timeout_ms: 30_000 };
            let expected = br#"{"path":"/cb","query":{"a":"b"}}"#;
            case_of(json(args), Box::new(move |happened| happened.answer == expected))
        }
        _ => panic!("no case for {name}"),
    }
}

/// A call by somebody for whom all these functions are.
fn case_of(arg: Vec<u8>, done: Done) -> Case {
    Case { role: Role::Hook, args: vec![arg], done }
}

/// The instance holds one end of a connection; the other end shows what has become of it.
fn socket(name: &str, bench: &Bench) -> Case {
    let (ours, mut other) = UnixStream::pair().expect("a pair");
    for socket in [&ours, &other] {
        socket.set_nonblocking(true).expect("a socket");
    }
    let ours = tokio::net::UnixStream::from_std(ours).expect("a socket");
    let h = SocketHandle(bench.handles.lock().expect("no panic").add(ours));
    match name {
        "hm_socket_write" => case_of(
            json(SocketWriteArgs { h, bytes: b"words".to_vec() }),
            Box::new(move |happened| {
                let mut bytes = [0; 10];
                let came = other.read(&mut bytes).is_ok_and(|count| &bytes[..count] == b"words");
                came && happened.answer == 5_u64.to_le_bytes()
            }),
        ),
        "hm_socket_read" => {
            other.write_all(b"words").expect("written");
            case_of(
                json(SocketReadArgs { h, max: 4 }),
                Box::new(move |happened| {
                    // It stays open until here.
                    let _ = &other;
                    happened.answer == b"word"
                }),
            )
        }
        "hm_socket_close" => {
            case_of(json(h), Box::new(move |_| other.read(&mut [0]).is_ok_and(|count| count == 0)))
        }
        _ => panic!("no case for {name}"),
    }
}

async fn keyring(name: &str, bench: &Bench) -> Case {
    let entry = |owner| Entry { owner, service: "s".into(), account: "a".into() };
    if name != "hm_keyring_set" {
        let own = entry(Owner::Plugin("p".into()));
        bench.context.keyring.set(own, "secret of p".into()).await.expect("kept");
    }
    // Entries of others under the same name, which stay as they are.
    for owner in [Owner::Plugin("other".into()), Owner::Everybody] {
        bench.context.keyring.set(entry(owner), "canary".into()).await.expect("kept");
    }
    let secrets = bench.secrets();
    let file = move |owner: &str| std::fs::read_to_string(secrets.join(owner)).unwrap_or_default();
    let untouched = {
        let file = file.clone();
        move || ["other.toml", "_everybody.toml"].iter().all(|owner| file(owner).contains("\"canary\""))
    };
    let (service, account) = ("s".to_owned(), "a".to_owned());
    let (args, mut done): (_, Done) = match name {
        "hm_keyring_get" => (
            json(KeyringArgs { service, account }),
            Box::new(|happened| happened.answer == br#""secret of p""#),
        ),
        "hm_keyring_set" => (
            json(KeyringSetArgs { service, account, secret: "new".into() }),
            Box::new(move |_| file("p.toml").contains("\"new\"")),
        ),
        "hm_keyring_delete" => (
            json(KeyringArgs { service, account }),
            Box::new(move |_| !file("p.toml").contains("secret of p")),
        ),
        _ => panic!("no case for {name}"),
    };
    case_of(
        args,
        Box::new(move |happened| {
            assert!(untouched(), "entries of others are not touched");
            done(happened)
        }),
    )
}

/// Somebody at the terminal, who types `yes` when asked. Tells, at the end, whether they were.
fn answered(bench: &Bench) -> impl FnMut() -> bool + Send + use<> {
    let mut pty = Pty::open();
    std::os::unix::fs::symlink(pty.device(), bench.terminal()).expect("a link");
    let (over, ended) = mpsc::channel::<()>();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut asked = false;
        // Until it is over, or nobody wants to know any more.
        while ended.try_recv() == Err(TryRecvError::Empty) {
            pty.read();
            if !asked && pty.shown().contains("plugin p asks: ") {
                asked = true;
                pty.type_in("yes\n");
            }
        }
        let _ = sender.send(asked);
    });
    move || {
        over.send(()).expect("somebody at the terminal");
        receiver.recv().expect("somebody at the terminal")
    }
}

impl Bench {
    pub(super) fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    pub(super) fn secrets(&self) -> PathBuf {
        self.directory.path().join("secrets")
    }

    pub(super) fn terminal(&self) -> PathBuf {
        self.directory.path().join("terminal")
    }

    pub(super) fn browser(&self) -> PathBuf {
        self.directory.path().join("browser")
    }
}
