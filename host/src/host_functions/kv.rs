//! Host functions on the values that a plugin keeps: for itself alone, until its instance, the run of `hm`, or nothing ends.

use hm_abi::{HostError, HostFuture};
use hm_plugin_protocol::KvScope;

use super::{Args, PluginState, steps};
use crate::backend::kv::{KeptValues, KvError};

/// A program that gave plugins no place on disk.
#[derive(Debug, thiserror::Error)]
#[error("there is no place where values could be kept")]
struct NoPlace;

/// `hm_kv_get`: a value, or null.
pub(super) fn get(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let scope: KvScope = steps::json("hm_kv_get", &args[0])?;
        let key = steps::text("hm_kv_get", &args[1])?;
        let value: Option<Vec<u8>> = match scope {
            KvScope::Plugin => kept(state)?.get(&state.plugin, key).await.map_err(error)?,
            KvScope::Build => state.world.build_values.get(&state.plugin, key),
            KvScope::Step => state.values.get(key).map(<[u8]>::to_vec),
        };
        serde_json::to_vec(&value).map_err(steps::failed)
    })
}

/// `hm_kv_set`: keeps a value.
pub(super) fn set(state: &mut PluginState, mut args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let scope: KvScope = steps::json("hm_kv_set", &args[0])?;
        let value = std::mem::take(&mut args[2]);
        let key = steps::text("hm_kv_set", &args[1])?;
        let done = match scope {
            KvScope::Plugin => kept(state)?.set(&state.plugin, key, value).await,
            KvScope::Build => state.world.build_values.set(&state.plugin, key, value),
            KvScope::Step => state.values.set(key, value),
        };
        done.map(|()| Vec::new()).map_err(error)
    })
}

fn kept(state: &PluginState) -> Result<&KeptValues, HostError> {
    state.world.kept_values.as_ref().ok_or_else(|| steps::failed(NoPlace))
}

fn error(error: KvError) -> HostError {
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    match error {
        KvError::Limit { which, asked, allowed } => {
            HostError::Limit { which, asked: number(asked), allowed: number(allowed) }
        }
        other => steps::failed(other),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use hm_plugin_protocol::Level;

    use super::*;
    use crate::host_functions::{Diagnostics, Policy, Role, World};

    fn world(directory: &Path) -> Arc<World> {
        let kept_values = Some(KeptValues::new(directory.to_owned()));
        Arc::new(World { kept_values, ..World::default() })
    }

    fn instance(plugin: &str, world: &Arc<World>) -> PluginState {
        let diagnostics = Diagnostics::new(Level::Error).0;
        PluginState::new(plugin.into(), Arc::new(Policy::default()), Role::Hook, world.clone(), diagnostics)
    }

    fn args(args: &[&[u8]]) -> Args {
        args.iter().map(|arg| arg.to_vec()).collect()
    }

    async fn asked(state: &mut PluginState, scope: &str) -> String {
        let answer = get(state, args(&[format!("{scope:?}").as_bytes(), b"key"])).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn each_scope_lasts_as_long_as_it_says() {
        let scratch = tempfile::tempdir().unwrap();
        let build = world(scratch.path());
        let mut first = instance("p", &build);
        for (scope, value) in [("plugin", 1), ("build", 2), ("step", 3)] {
            assert_eq!(asked(&mut first, scope).await, "null");
            set(&mut first, args(&[format!("{scope:?}").as_bytes(), b"key", &[value]])).await.unwrap();
            assert_eq!(asked(&mut first, scope).await, format!("[{value}]"));
        }
        let (mut same_build, mut other_build) =
            (instance("p", &build), instance("p", &world(scratch.path())));
        let mut other_plugin = instance("q", &build);
        for (scope, in_build, later) in
            [("plugin", "[1]", "[1]"), ("build", "[2]", "null"), ("step", "null", "null")]
        {
            assert_eq!(asked(&mut same_build, scope).await, in_build, "{scope}");
            assert_eq!(asked(&mut other_build, scope).await, later, "{scope}");
            assert_eq!(asked(&mut other_plugin, scope).await, "null", "{scope}");
        }
    }

    #[tokio::test]
    async fn every_scope_has_limits_and_none_takes_what_is_no_text() {
        let scratch = tempfile::tempdir().unwrap();
        let mut state = instance("p", &world(scratch.path()));
        for scope in ["\"plugin\"", "\"build\"", "\"step\""] {
            let large = set(&mut state, args(&[scope.as_bytes(), b"key", &vec![0; (1 << 20) + 1]])).await;
            assert!(
                matches!(large, Err(HostError::Limit { asked: 1_048_577, allowed: 1_048_576, .. })),
                "{large:?}"
            );
            let no_text = set(&mut state, args(&[scope.as_bytes(), b"\xff", b""])).await;
            assert!(matches!(no_text, Err(HostError::InvalidArgument(_))), "{no_text:?}");
        }
        assert!(set(&mut state, args(&[b"\"world\"", b"key", b""])).await.is_err());
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
}
