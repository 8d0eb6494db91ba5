//! Engines that are reached in each way there is, and what is said when they are not.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use bollard::container::LogOutput;
use bollard::exec::StartExecResults;
use bollard::models::{ContainerCreateBody, ExecConfig, HostConfig};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use futures_util::StreamExt;
use hm_test_lab::{Running, Service, free_port, installed, or_skipped, wait_until};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::*;
use crate::lab;

fn home() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Text of the failure to find an engine.
async fn refused(variables: &[(&str, &str)], home: &Path) -> String {
    match connect(&lab::engine_env(variables, home)).await {
        Ok((endpoint, _)) => panic!("{endpoint:?} has answered to {variables:?}"),
        Err(error) => error.to_string(),
    }
}

/// Someone who gives everybody the same answer.
async fn answers(listener: UnixListener, answer: &'static str) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

#[test]
fn every_form_of_an_address_is_read() {
    let tcp = |host: &str, port, secure| Address::Tcp { host: host.into(), port, secure };
    for (text, secure, address) in [
        ("unix:///run/user/1000/docker.sock", false, Address::Unix("/run/user/1000/docker.sock".into())),
        ("unix://", true, Address::Unix("/var/run/docker.sock".into())),
        ("tcp://box", false, tcp("box", 2375, false)),
        ("tcp://box", true, tcp("box", 2376, true)),
        ("tcp://box:99/", true, tcp("box", 99, true)),
        ("tcp://[::1]:99", false, tcp("::1", 99, false)),
        ("tcp://", false, tcp("localhost", 2375, false)),
        ("tcp://:99", false, tcp("localhost", 99, false)),
        ("box:99", false, tcp("box", 99, false)),
        ("10.0.0.1", true, tcp("10.0.0.1", 2376, true)),
        ("http://box", false, tcp("box", 80, false)),
        ("http://box:2375", false, tcp("box", 2375, false)),
        ("https://box", false, tcp("box", 443, true)),
    ] {
        assert_eq!(Address::parse(text, secure).as_ref(), Ok(&address), "{text}");
    }
    let ssh = |user: Option<&str>, host: &str, port, socket: Option<&str>| Address::Ssh {
        user: user.map(str::to_owned),
        host: host.into(),
        port,
        socket: socket.map(str::to_owned),
    };
    for (text, address) in [
        ("ssh://box", ssh(None, "box", None, None)),
        ("ssh://me@box:2222/", ssh(Some("me"), "box", Some(2222), None)),
        ("ssh://[::1]/run/docker.sock", ssh(None, "::1", None, Some("/run/docker.sock"))),
    ] {
        assert_eq!(Address::parse(text, false).as_ref(), Ok(&address), "{text}");
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_with_the_reason_and_without_its_password() {
    let home = home();
    for (host, reason) in [
        ("npipe:////./pipe/docker_engine", "pipes are of Windows"),
        ("fd://3", "`fd://` is for the engine itself"),
        ("ftp://box", "begins with none of unix://"),
        ("tcp://box:port", "invalid port"),
        ("tcp://me:geheim@box", "takes no user and no password"),
        ("tcp://box/path", "behind the host"),
        ("unix:/run/docker.sock", "a socket is written unix:///run/docker.sock"),
        ("/run/docker.sock", "a socket is written unix:///run/docker.sock"),
        ("ssh://me:geheim@box", "a password in the open is not used"),
        ("ssh://me:geheim@bo x", "invalid"),
        ("ssh://", "it names no host"),
        ("me:geheim@box:port", "invalid port"),
    ] {
        let error = refused(&[("DOCKER_HOST", host)], home.path()).await;
        assert!(error.starts_with("DOCKER_HOST says that the engine is at `"), "{error}");
        assert!(error.contains(reason), "{host}: {error}");
        assert!(!error.contains("geheim"), "{error}");
    }
}

#[tokio::test]
async fn what_stands_in_the_way_is_said_in_words() {
    let home = home();
    let path = |name: &str| home.path().join(name);
    let bind = |name: &str| UnixListener::bind(path(name)).expect("a socket");
    drop(bind("left"));
    std::fs::write(path("file"), "").expect("a file");
    std::fs::create_dir(path("folder")).expect("a folder");
    tokio::spawn(answers(bind("web"), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    tokio::spawn(answers(bind("noise"), "SSH-2.0-OpenSSH_9.2\r\n"));
    tokio::spawn(answers(bind("old"), "HTTP/1.1 200 OK\r\napi-version: 1.40\r\ncontent-length: 0\r\n\r\n"));
    tokio::spawn(answers(bind("closed"), ""));
    let tls = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    tokio::spawn(answers(bind("tls"), tls));
    for (name, reason) in [
        ("none", "there is no such file"),
        ("left", "connection refused"),
        ("file", "it is no socket"),
        ("folder", "it is no socket"),
        ("web", "whoever answers is no engine"),
        ("noise", "invalid HTTP"),
        ("old", "its API has the version 1.40; 1.41 is needed"),
        ("closed", "connection closed"),
        ("tls", "set DOCKER_TLS_VERIFY=1"),
    ] {
        let url = format!("unix://{}", path(name).display());
        let error = refused(&[("DOCKER_HOST", &url)], home.path()).await;
        assert!(error.starts_with(&format!("no engine answers at {url} (DOCKER_HOST): ")), "{error}");
        assert!(error.contains(reason), "{name}: {error}");
    }
    let port = free_port();
    let error = refused(&[("DOCKER_HOST", &format!("tcp://127.0.0.1:{port}"))], home.path()).await;
    assert!(error.contains("connection refused; nothing listens there"), "{error}");
}

#[tokio::test]
async fn who_wants_tls_is_named_and_what_is_missing_is_said_once() {
    let home = home();
    std::fs::create_dir(home.path().join(".docker")).expect("a folder");
    for (host, verify, who) in [
        ("tcp://box:1", "1", "DOCKER_TLS_VERIFY wants TLS with the engine at tcp://box:1"),
        ("https://box:1", "", "DOCKER_HOST wants TLS with the engine at https://box:1"),
    ] {
        std::fs::write(home.path().join(".docker/cert.pem"), "").expect("written");
        let variables = [("DOCKER_HOST", host), ("DOCKER_TLS_VERIFY", verify)];
        let error = connect(&lab::engine_env(&variables, home.path())).await.expect_err("no files");
        assert!(error.to_string().starts_with(&format!("{who}: ")), "{error}");
        assert!(std::error::Error::source(&error).is_none(), "{error}");
    }
    std::fs::write(home.path().join(".docker/config.json"), "{").expect("written");
    let error = connect(&lab::engine_env(&[], home.path())).await.expect_err("no settings");
    assert!(error.to_string().contains("config.json: "), "{error}");
    assert!(std::error::Error::source(&error).is_none(), "{error}");
}

#[tokio::test]
async fn one_that_says_nothing_is_given_up() {
    let home = home();
    let mute = home.path().join("mute");
    let _listener = UnixListener::bind(&mute).expect("a socket");
    let error = answer(Connector::Unix(mute), Duration::from_millis(1)).await.expect_err("no answer");
    assert_eq!(error, "no answer within 0 s");
}

#[tokio::test]
async fn giving_up_a_request_ends_its_connection() {
    let home = home();
    let path = home.path().join("slow");
    let listener = UnixListener::bind(&path).expect("a socket");
    for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"] {
        let version = ClientVersion { major_version: 1, minor_version: 41 };
        let docker = Transport::new(Connector::Unix(path.clone())).client(version).expect("a client");
        let asking = tokio::spawn(async move { docker.info().await.map(|_| ()) });
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.expect("a request");
        assert!(
            request[..length].starts_with(b"GET /v1.41/info HTTP/1.1\r\n"),
            "the version that was agreed upon"
        );
        stream.write_all(answer.as_bytes()).await.expect("written");
        // What is there has been read before the request is given up, or has not; it ends either way.
        tokio::task::yield_now().await;
        asking.abort();
        let end = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut request)).await;
        assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
    }
}

#[tokio::test]
async fn of_the_usual_places_the_first_that_answers_is_taken() {
    let home = home();
    let (mute, good, last) = (home.path().join("mute"), home.path().join("good"), home.path().join("last"));
    let engine = "HTTP/1.1 200 OK\r\napi-version: 1.99\r\ncontent-length: 0\r\n\r\n";
    tokio::spawn(answers(UnixListener::bind(&mute).expect("a socket"), ""));
    tokio::spawn(answers(UnixListener::bind(&good).expect("a socket"), engine));
    tokio::spawn(answers(UnixListener::bind(&last).expect("a socket"), engine));
    let nothing = home.path().join("nothing");
    let (found, docker) =
        search(&[nothing.clone(), mute.clone(), good.clone(), last]).await.expect("an engine");
    assert_eq!(found.url, format!("unix://{}", good.display()));
    let newest = (API_DEFAULT_VERSION.major_version, API_DEFAULT_VERSION.minor_version);
    let version = docker.client_version();
    assert_eq!((version.major_version, version.minor_version), newest, "not newer than the client");
    let error = search(&[nothing, mute]).await.expect_err("none of them").to_string();
    assert!(error.contains("nothing is not there; ") && error.contains("mute: connection closed"), "{error}");
    let env = lab::engine_env(&[("XDG_RUNTIME_DIR", "/run/user/7")], Path::new("/home/me"));
    let places = env.usual_places();
    assert_eq!(places[0], Path::new("/var/run/docker.sock"));
    assert!(places.contains(&PathBuf::from("/run/user/7/podman/podman.sock")), "{places:?}");
    assert!(places.contains(&PathBuf::from("/home/me/.docker/run/docker.sock")), "{places:?}");
}

/// Docker's own client writes a context.
fn docker(home: &Path, arguments: &[&str]) -> bool {
    if !installed(&["docker"]) {
        return false;
    }
    let done = Command::new("docker").args(arguments).env("DOCKER_CONFIG", home.join(".docker")).output();
    let done = done.expect("docker");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    true
}

#[tokio::test]
async fn contexts_are_those_that_docker_itself_has_written() {
    let home = home();
    let (good, other) = (home.path().join("good"), home.path().join("other"));
    let engine = "HTTP/1.1 200 OK\r\napi-version: 1.41\r\ncontent-length: 0\r\n\r\n";
    tokio::spawn(answers(UnixListener::bind(&good).expect("a socket"), engine));
    tokio::spawn(answers(UnixListener::bind(&other).expect("a socket"), engine));
    let url = |path: &Path| format!("unix://{}", path.display());
    if !docker(home.path(), &["context", "create", "one", "--docker", &format!("host={}", url(&good))]) {
        return;
    }
    docker(home.path(), &["context", "create", "blind", "--docker", "host=tcp://box:1,skip-tls-verify=true"]);
    docker(home.path(), &["context", "use", "one"]);
    let (found, docker_client) = connect(&lab::engine_env(&[], home.path())).await.expect("an engine");
    assert_eq!(found, Endpoint { url: url(&good), from: "the Docker context `one`".into() });
    assert_eq!(docker_client.client_version().minor_version, 41);
    let both = [("DOCKER_HOST", url(&other)), ("DOCKER_CONTEXT", "one".into())];
    let both: Vec<_> = both.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (found, _) = connect(&lab::engine_env(&both, home.path())).await.expect("an engine");
    assert_eq!(found, Endpoint { url: url(&other), from: "DOCKER_HOST".into() });
    let error = refused(&[("DOCKER_CONTEXT", "gone")], home.path()).await;
    assert_eq!(
        error,
        "there is no Docker context `gone`, which DOCKER_CONTEXT asks for; there is: blind, default, one"
    );
    let error = refused(&[("DOCKER_CONTEXT", "blind")], home.path()).await;
    assert!(error.contains("`SkipTLSVerify`"), "{error}");
    // The default one is none, whatever is in use.
    assert!(
        context::chosen(&lab::engine_env(&[("DOCKER_CONTEXT", "default")], home.path()))
            .expect("read")
            .is_none()
    );
    let settings = home.path().join(".docker/config.json");
    std::fs::write(&settings, r#"{"currentContext": ["geheim"]}"#).expect("written");
    let error = refused(&[], home.path()).await;
    assert!(error.contains("config.json: it is not what it should be in line 1"), "{error}");
    assert!(!error.contains("geheim"), "{error}");
}

fn pem(path: &Path, label: &str, der: &[u8]) {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    std::fs::write(path, format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n"))
        .expect("written");
}

/// A directory as Docker's client wants it, and in it one for the engine.
fn certificates(folder: &Path) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
    std::fs::create_dir_all(folder.join("engine")).expect("a folder");
    for (folder, name) in [(folder.to_owned(), "me"), (folder.join("engine"), "127.0.0.1")] {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &authority).expect("a certificate");
        pem(&folder.join("ca.pem"), "CERTIFICATE", authority.der());
        pem(&folder.join("cert.pem"), "CERTIFICATE", certificate.der());
        pem(&folder.join("key.pem"), "PRIVATE KEY", &key.serialize_der());
    }
}

/// Sends what comes to a port on to a socket.
async fn forward(listener: TcpListener, socket: PathBuf) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let socket = socket.clone();
        tokio::spawn(async move {
            let mut engine = UnixStream::connect(socket).await?;
            tokio::io::copy_bidirectional(&mut stream, &mut engine).await
        });
    }
}

#[tokio::test]
async fn an_engine_answers_in_the_clear_and_with_tls_only_to_whom_it_knows() {
    let home = home();
    let certs = home.path().join("certs");
    certificates(&certs);
    let port = free_port();
    let mut more = vec!["-H".into(), format!("tcp://127.0.0.1:{port}"), "--tlsverify".into()];
    for (option, name) in [("tlscacert", "ca"), ("tlscert", "cert"), ("tlskey", "key")] {
        more.push(format!("--{option}={}", certs.join(format!("engine/{name}.pem")).display()));
    }
    let service = more.into_iter().fold(Service::docker().on_our_network(), Service::option);
    let Some(engine) = or_skipped(lab::start(&service)) else { return };

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let plain = format!("tcp://{}", listener.local_addr().expect("its address"));
    tokio::spawn(forward(listener, engine.socket().to_owned()));
    let (_, docker) =
        connect(&lab::engine_env(&[("DOCKER_HOST", &plain)], home.path())).await.expect("in the clear");
    echoes(&docker).await;

    let url = format!("tcp://127.0.0.1:{port}");
    let folder = certs.display().to_string();
    let secure = [("DOCKER_HOST", url.as_str()), ("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", &folder)];
    let (found, docker) = connect(&lab::engine_env(&secure, home.path())).await.expect("with TLS");
    assert_eq!(found, Endpoint { url: url.clone(), from: "DOCKER_HOST".into() });
    echoes(&docker).await;

    let https = format!("https://127.0.0.1:{port}");
    let by_https = [("DOCKER_HOST", https.as_str()), ("DOCKER_CERT_PATH", &folder)];
    connect(&lab::engine_env(&by_https, home.path())).await.expect("https, with the same files");
    let context = format!("host={url},ca={folder}/ca.pem,cert={folder}/cert.pem,key={folder}/key.pem");
    if docker_context(home.path(), &context) {
        let chosen = lab::engine_env(&[("DOCKER_CONTEXT", "secure")], home.path());
        let (found, _) = connect(&chosen).await.expect("by a context");
        assert_eq!(found.from, "the Docker context `secure`");
    }

    let error = refused(&[("DOCKER_HOST", &url)], home.path()).await;
    assert!(error.contains("set DOCKER_TLS_VERIFY=1 for TLS"), "{error}");
    let error = refused(&[("DOCKER_HOST", &url), ("DOCKER_TLS_VERIFY", "1")], home.path()).await;
    assert!(error.contains(".docker/ca.pem: No such file"), "{error}");
    let error = refused(&[("DOCKER_HOST", &https)], home.path()).await;
    assert!(error.contains("UnknownIssuer"), "nobody the system trusts vouches for it: {error}");
    let error = refused(&[("DOCKER_HOST", &plain), secure[1], secure[2]], home.path()).await;
    assert!(error.contains("does not speak TLS"), "{error}");
    std::fs::remove_file(certs.join("key.pem")).expect("removed");
    let error = refused(&secure, home.path()).await;
    assert!(error.contains("key.pem: No such file"), "{error}");
    std::fs::remove_file(certs.join("cert.pem")).expect("removed");
    let error = refused(&secure, home.path()).await;
    assert!(error.contains("no engine answers"), "it knows only whom it has given a certificate: {error}");
    let strangers = home.path().join("strangers");
    certificates(&strangers);
    let strangers = strangers.display().to_string();
    let error = refused(&[secure[0], secure[1], ("DOCKER_CERT_PATH", &strangers)], home.path()).await;
    assert!(error.contains("invalid peer certificate"), "{error}");
}

fn docker_context(home: &Path, about: &str) -> bool {
    docker(home, &["context", "create", "secure", "--docker", about])
}

/// A container gets what is sent to it and its end, and what it says comes back: a request that becomes a connection.
async fn echoes(docker: &Docker) {
    let body = ContainerCreateBody {
        image: Some(lab::IMAGE.into()),
        cmd: Some(vec!["sleep".into(), "600".into()]),
        host_config: Some(HostConfig { network_mode: Some("none".into()), ..HostConfig::default() }),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptionsBuilder::default().build();
    let made = docker.create_container(Some(options), body).await.expect("a container");
    docker.start_container(&made.id, None).await.expect("started");
    let command = ExecConfig {
        cmd: Some(vec!["cat".into()]),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        ..ExecConfig::default()
    };
    let exec = docker.create_exec(&made.id, command).await.expect("a command");
    let started = docker.start_exec(&exec.id, None::<bollard::exec::StartExecOptions>).await.expect("runs");
    let StartExecResults::Attached { mut output, mut input } = started else { panic!("not attached") };
    let sent = vec![b'x'; 300_000];
    let writing = {
        let sent = sent.clone();
        tokio::spawn(async move {
            input.write_all(&sent).await.expect("written");
            input.shutdown().await.expect("closed");
        })
    };
    let mut came = Vec::new();
    while let Some(part) = output.next().await {
        if let LogOutput::StdOut { message } = part.expect("output") {
            came.extend_from_slice(&message);
        }
    }
    writing.await.expect("written");
    assert!(came == sent, "{} of {} bytes", came.len(), sent.len());
    let remove = bollard::query_parameters::RemoveContainerOptionsBuilder::default().force(true).build();
    docker.remove_container(&made.id, Some(remove)).await.expect("removed");
}

#[tokio::test]
async fn an_engine_answers_over_ssh_as_the_users_own_settings_say() {
    let home = home();
    let at = |name: &str| home.path().join(name).display().to_string();
    if !installed(&["sshd", "ssh", "ssh-keygen", "docker"]) {
        return;
    }
    let Some(engine) = lab::engine() else { return };
    let port = free_port();
    for key in ["host_key", "user_key"] {
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &at(key)]).status();
        assert!(made.expect("ssh-keygen").success());
    }
    std::fs::copy(at("user_key.pub"), at("authorized")).expect("copied");
    // The server wants it, whatever its settings say.
    std::fs::create_dir_all("/run/sshd").expect("a folder");
    let settings = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
         PasswordAuthentication no\nPermitRootLogin yes\nSetEnv DOCKER_HOST=unix://{}\n",
        at("host_key"),
        at("authorized"),
        engine.socket().display()
    );
    std::fs::write(at("sshd_config"), settings).expect("written");
    let _server = Running::start(Command::new("sshd").args(["-D", "-e", "-f", &at("sshd_config")]));
    wait_until("sshd listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    // `ssh` finds its settings by the user's entry, and not by HOME.
    let host_key = std::fs::read_to_string(at("host_key.pub")).expect("a key");
    std::fs::write(at("known"), format!("box {host_key}[127.0.0.1]:{port} {host_key}")).expect("written");
    let settings = format!(
        "IdentityFile {}\nIdentitiesOnly yes\nUserKnownHostsFile {}\nHost box\nHostName 127.0.0.1\nPort {port}\nHostKeyAlias box\n",
        at("user_key"),
        at("known")
    );
    std::fs::write(at("ssh_config"), settings).expect("written");
    std::fs::create_dir(at("bin")).expect("a folder");
    let script = format!(
        "#!/bin/sh\necho started >>{}\nexec /usr/bin/ssh -F {} \"$@\"\n",
        at("log"),
        at("ssh_config")
    );
    std::fs::write(at("bin/ssh"), script).expect("written");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(at("bin/ssh"), executable).expect("executable");
    let path = format!("{}:{}", at("bin"), std::env::var("PATH").unwrap_or_default());
    let to = |host: &str| [("DOCKER_HOST".to_owned(), host.to_owned()), ("PATH".to_owned(), path.clone())];
    let env = |host: &str| EngineEnv { env: to(host).into_iter().collect(), home: None };
    let why = async |host: &str| match connect(&env(host)).await {
        Ok((endpoint, _)) => panic!("{endpoint:?} has answered"),
        Err(error) => error.to_string(),
    };

    let (found, docker) = connect(&env("ssh://root@box")).await.expect("an engine");
    assert_eq!(found.url, "ssh://root@box");
    echoes(&docker).await;
    for _ in 0..10 {
        docker.version().await.expect("an answer");
    }
    let started = std::fs::read_to_string(at("log")).expect("the log").lines().count();
    assert!(started < 10, "connections are used again, but {started} were made");
    connect(&env(&format!("ssh://root@127.0.0.1:{port}"))).await.expect("by its port");
    connect(&env(&format!("ssh://box{}", engine.socket().display())))
        .await
        .expect("by the socket over there");

    let error = why("ssh://root@box/it's/not.sock").await;
    assert!(error.contains("ssh says: ") && error.contains("not.sock"), "{error}");
    std::fs::write(at("known"), "").expect("written");
    let error = why("ssh://root@box").await;
    assert!(error.contains("Host key verification failed"), "a key that nobody knows is not taken: {error}");
    let error = why("ssh://root@nowhere.invalid").await;
    assert!(error.contains("ssh says: ") && error.contains("nowhere.invalid"), "{error}");
}

#[tokio::test]
async fn podman_answers_as_an_engine() {
    let home = home();
    let Some(podman) = or_skipped(Service::podman().start()) else { return };
    let url = podman.host.clone();
    let (found, docker) =
        connect(&lab::engine_env(&[("DOCKER_HOST", &url)], home.path())).await.expect("an engine");
    assert_eq!(found.url, url);
    let version = docker.version().await.expect("an answer");
    let parts: Vec<_> = version.components.unwrap_or_default().into_iter().map(|part| part.name).collect();
    assert!(parts.contains(&"Podman Engine".into()), "{parts:?}");
}
