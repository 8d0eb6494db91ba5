//! The engines of `hm-test-lab` as unit tests of this back end talk to them: by its own clients. Only there for tests.

use std::path::Path;
use std::sync::OnceLock;

use bollard::Docker;
use hm_test_lab::{Engine, Service, import_busybox, or_skipped};

use super::endpoint::{self, Reach};

/// The engine that all tests of this program share, with the image [`IMAGE`]. None, with a word, where there cannot be one.
pub(super) fn engine() -> Option<&'static Engine> {
    static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
    or_skipped(ENGINE.get_or_init(|| start(&Service::docker().on_our_network())).as_ref())
}

/// Busybox, which has `sh` and the usual commands.
pub(super) const IMAGE: &str = "lab:1";

/// An engine with the image.
pub(super) fn start(service: &Service) -> Result<Engine, String> {
    let engine = service.start()?;
    import_busybox(&engine.host, IMAGE)?;
    Ok(engine)
}

/// A client for an engine.
pub(super) async fn client(engine: &Engine) -> Docker {
    let reach = reach(&[("DOCKER_HOST", &engine.host)], Path::new("/nowhere"));
    endpoint::connect(&reach).await.expect("the engine answers").1
}

/// An environment with these variables, and a home directory.
pub(super) fn reach(variables: &[(&str, &str)], home: &Path) -> Reach {
    let path = std::env::var("PATH").unwrap_or_default();
    let all = [("PATH", path.as_str())].into_iter().chain(variables.iter().copied());
    Reach {
        env: all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        home: Some(home.to_owned()),
    }
}
