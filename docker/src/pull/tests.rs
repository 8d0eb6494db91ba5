//! Pulls from a registry of the test's own, by Docker's engine and by Podman's.

use std::path::Path;

use base64::Engine as _;
use bollard::auth::DockerCredentials;
use bollard::models::ProgressDetail;
use bollard::query_parameters::{PushImageOptionsBuilder, RemoveImageOptions};
use futures_util::TryStreamExt;
use hm_test_lab::{Engine, Registry, Service, import_busybox, or_skipped};

use super::*;
use crate::lab;

/// In base64 it has what the usual alphabet and the one for URLs write differently.
const PASSWORD: &str = "p~?>~?>~?>";

/// Name and password, as the registry keeps them.
const ENTRY: &str = "robot:$2y$05$GOEp9aUSl6oVGqfrbu3GSu7Roejr4VI7zQVvCPICmkkS1E3AvcyAK\n";

/// Puts an image there.
async fn fill(engine: &Engine, docker: &Docker, host: &str) {
    let name = format!("{host}/lab/bb");
    import_busybox(&engine.host, &format!("{name}:1")).expect("an image");
    let credentials = DockerCredentials {
        username: Some("robot".into()),
        password: Some(PASSWORD.into()),
        serveraddress: Some(host.into()),
        ..DockerCredentials::default()
    };
    let options = PushImageOptionsBuilder::default().tag("1").build();
    let pushed = docker.push_image(&name, Some(options), Some(credentials));
    pushed.try_collect::<Vec<_>>().await.expect("pushed");
    docker.remove_image(&format!("{name}:1"), None::<RemoveImageOptions>, None).await.expect("removed");
}

fn log_in(home: &Path, host: &str, password: &str) {
    std::fs::create_dir_all(home.join(".docker")).expect("a folder");
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("robot:{password}"));
    let text = format!(r#"{{"auths": {{"{host}": {{"auth": "{auth}"}}}}}}"#);
    std::fs::write(home.join(".docker/config.json"), text).expect("written");
}

/// Pulls, with all that is said.
async fn pulled(docker: &Docker, env: &EngineEnv, image: &str) -> (Result<(), PullError>, Vec<String>) {
    let (lines, mut said) = mpsc::channel(100);
    let result = pull(docker, env, image, lines).await;
    let mut all = Vec::new();
    while let Some(line) = said.recv().await {
        all.push(line);
    }
    (result, all)
}

/// Checks that must hold of every engine.
async fn check(docker: &Docker, env: &EngineEnv, home: &Path, host: &str) {
    let image = format!("{host}/lab/bb:1");
    let settings = home.join(".docker/config.json");
    if settings.exists() {
        std::fs::remove_file(&settings).expect("removed");
    }
    let (result, lines) = pulled(docker, env, &image).await;
    let error = result.expect_err("without a password");
    assert!(matches!(error, PullError::Refused { .. }), "{error}");
    assert!(error.to_string().contains(&format!("`docker login {host}`")), "{error}");
    assert_eq!(lines, [format!("Pulling {image}")]);

    log_in(home, host, "geheim");
    let (result, _) = pulled(docker, env, &image).await;
    let error = result.expect_err("with a wrong one");
    assert!(matches!(error, PullError::Refused { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("geheim"), "{error:?}");

    log_in(home, host, PASSWORD);
    let (result, lines) = pulled(docker, env, &image).await;
    result.expect("with the right one");
    assert_eq!(lines, [format!("Pulling {image}"), format!("Pulled {image}")]);
    docker.inspect_image(&image).await.expect("it is there under its name");

    for (missing, kind) in [("lab/bb:2", "2"), ("lab/none:1", "none")] {
        let (result, _) = pulled(docker, env, &format!("{host}/{missing}")).await;
        let error = result.expect_err(kind);
        assert!(matches!(error, PullError::Refused { .. }), "{error}");
        assert!(error.to_string().contains(missing), "{error}");
    }
    let (result, _) = pulled(docker, env, "127.0.0.1:1/lab/bb:1").await;
    let error = result.expect_err("nobody listens");
    assert!(matches!(error, PullError::Failed { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");

    std::fs::write(&settings, "{").expect("written");
    let (_, lines) = pulled(docker, env, &image).await;
    assert!(
        lines[1].starts_with("Pulling without a password: Docker's settings cannot be read: "),
        "{lines:?}"
    );
}

#[tokio::test]
async fn images_are_pulled_by_those_who_know_the_password() {
    let home = tempfile::tempdir().expect("a folder");
    let Some(engine) = lab::engine() else { return };
    let Some(registry) = or_skipped(Registry::start(engine, Some(ENTRY))) else { return };
    let host = registry.host.clone();
    let docker = lab::client(engine).await;
    fill(engine, &docker, &host).await;
    let env = lab::engine_env(&[], home.path());
    check(&docker, &env, home.path(), &host).await;

    // By its digest, whatever its tag says.
    let image = format!("{host}/lab/bb:1");
    let digests = docker.inspect_image(&image).await.expect("there").repo_digests.unwrap_or_default();
    let digest = digests[0].split_once('@').expect("a digest").1.to_owned();
    docker.remove_image(&image, None::<RemoveImageOptions>, None).await.expect("removed");
    log_in(home.path(), &host, PASSWORD);
    let (result, _) = pulled(&docker, &env, &format!("{host}/lab/bb:wrong@{digest}")).await;
    result.expect("by its digest");

    let (result, lines) = pulled(&docker, &env, "not an image").await;
    assert!(matches!(result, Err(PullError::Reference(_))), "{result:?}");
    assert!(lines.is_empty(), "{lines:?}");
    // Nobody listens to how far it is.
    let (lines, said) = mpsc::channel(1);
    drop(said);
    pull(&docker, &env, &image, lines).await.expect("pulled");

    // Podman takes the same from us. It is told that this registry has no TLS; Docker's engine takes that for granted
    // here.
    let trust = home.path().join("registries.conf");
    std::fs::write(&trust, format!("[[registry]]\nlocation = \"{host}\"\ninsecure = true\n"))
        .expect("written");
    let podman = Service::podman().on_our_network().variable("CONTAINERS_REGISTRIES_CONF", &trust).start();
    let Some(podman) = or_skipped(podman) else { return };
    check(&lab::client(&podman).await, &env, home.path(), &host).await;
}

#[test]
fn progress_is_the_sum_of_the_layers() {
    let info = |id: &str, status: &str, detail: Option<(i64, i64)>| CreateImageInfo {
        id: Some(id.into()),
        status: Some(status.into()),
        progress_detail: detail
            .map(|(current, total)| ProgressDetail { current: Some(current), total: Some(total) }),
        ..CreateImageInfo::default()
    };
    let mut progress = Progress::default();
    progress.take(info("3.20", "Pulling from library/alpine", None));
    assert_eq!(progress.line(), None);
    for (id, status, detail, line) in [
        ("a", "Downloading", Some((1_250_000, 3_000_000)), Some("… 1.2 of 3.0 MB")),
        ("b", "Downloading", Some((0, 27_100_000)), Some("… 1.2 of 30.1 MB")),
        ("a", "Download complete", None, Some("… 3.0 of 30.1 MB")),
        ("a", "Extracting", Some((1, 2)), Some("… 3.0 of 30.1 MB")),
        ("b", "Downloading", Some((-5, i64::MIN)), Some("… 3.0 of 3.0 MB")),
        ("b", "Downloading", Some((27_100_000, 27_100_000)), Some("… unpacking")),
        ("b", "Downloading", Some((i64::MAX, 0)), Some("… 9223372036857.7 MB")),
    ] {
        progress.take(info(id, status, detail));
        if status != "Downloading" || !progress.unpacking {
            assert_eq!(progress.line().as_deref(), line, "{id} {status}");
        }
    }
}
