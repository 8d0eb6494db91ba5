//! The engines of `hm-test-lab` as unit tests of this back end talk to them: by its own clients. Only there for tests.

use std::path::Path;
use std::sync::OnceLock;

use bollard::Docker;
use hm_test_lab::{Engine, Service, import_busybox, or_skipped};

use crate::endpoint;
use crate::engine_env::EngineEnv;

/// The engine that all tests of this program share, with the image [`IMAGE`]. None, with a word, where there cannot be
/// one.
pub(crate) fn engine() -> Option<&'static Engine> {
    static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
    or_skipped(ENGINE.get_or_init(|| start(&Service::docker().on_our_network())).as_ref())
}

/// Busybox, which has `sh` and the usual commands.
pub(crate) const IMAGE: &str = "lab:1";

/// An engine with the image.
pub(crate) fn start(service: &Service) -> Result<Engine, String> {
    let engine = service.start()?;
    import_busybox(&engine.host, IMAGE)?;
    Ok(engine)
}

/// A client for an engine.
pub(crate) async fn client(engine: &Engine) -> Docker {
    let env = engine_env(&[("DOCKER_HOST", &engine.host)], Path::new("/nowhere"));
    endpoint::connect(&env).await.expect("the engine answers").1
}

/// An environment with these variables, and a home directory.
pub(crate) fn engine_env(variables: &[(&str, &str)], home: &Path) -> EngineEnv {
    let path = std::env::var("PATH").unwrap_or_default();
    let all = [("PATH", path.as_str())].into_iter().chain(variables.iter().copied());
    EngineEnv {
        env: all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        home: Some(home.to_owned()),
    }
}
