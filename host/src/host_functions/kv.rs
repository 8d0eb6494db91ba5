//! Host functions on the values that a plugin keeps: for itself alone, until its instance, the run of `hm`, or nothing
//! ends.

use hm_abi::HostError;
use hm_plugin_protocol::KvScope;

use super::PluginState;
use super::handles::limit;
use crate::backend::kv::{KvError, StoredValues};

/// A program that gave plugins no place on disk.
#[derive(Debug, thiserror::Error)]
#[error("there is no place where values could be kept")]
struct NoPlace;

/// `hm_kv_get`: a value, if there is one.
pub(super) async fn hm_kv_get(
    state: &mut PluginState,
    scope: KvScope,
    key: String,
) -> Result<Option<Vec<u8>>, HostError> {
    Ok(match scope {
        KvScope::Plugin => kept(state)?.get(&state.plugin, &key).await.map_err(error)?,
        KvScope::Build => state.context.build_values.get(&state.plugin, &key),
        KvScope::Step => state.values.get(&key).map(<[u8]>::to_vec),
    })
}

/// `hm_kv_set`: keeps a value.
pub(super) async fn hm_kv_set(
    state: &mut PluginState,
    scope: KvScope,
    key: String,
    value: Vec<u8>,
) -> Result<(), HostError> {
    let done = match scope {
        KvScope::Plugin => kept(state)?.set(&state.plugin, &key, value).await,
        KvScope::Build => state.context.build_values.set(&state.plugin, &key, value),
        KvScope::Step => state.values.set(&key, value),
    };
    done.map_err(error)
}

fn kept(state: &PluginState) -> Result<&StoredValues, HostError> {
    state.context.kept_values.as_ref().ok_or_else(|| HostError::failed(NoPlace))
}

fn error(error: KvError) -> HostError {
    match error {
        KvError::Limit { which, asked, allowed } => limit(which, asked, allowed),
        other => HostError::failed(other),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use hm_plugin_protocol::Level;

    use super::*;
    use crate::host_functions::{Diagnostics, HostContext, Policy, Role};

    fn context(directory: &Path) -> Arc<HostContext> {
        let kept_values = Some(StoredValues::new(directory.to_owned()));
        Arc::new(HostContext { kept_values, ..HostContext::default() })
    }

    fn instance(plugin: &str, context: &Arc<HostContext>) -> PluginState {
        let diagnostics = Diagnostics::new(Level::Error).0;
        PluginState::new(plugin.into(), Arc::new(Policy::default()), Role::Hook, context.clone(), diagnostics)
    }

    const SCOPES: [KvScope; 3] = [KvScope::Plugin, KvScope::Build, KvScope::Step];

    async fn asked(state: &mut PluginState, scope: KvScope) -> Option<Vec<u8>> {
        hm_kv_get(state, scope, "key".into()).await.unwrap()
    }

    #[tokio::test]
    async fn each_scope_lasts_as_long_as_it_says() {
        let scratch = tempfile::tempdir().unwrap();
        let build = context(scratch.path());
        let mut first = instance("p", &build);
        for (scope, value) in SCOPES.into_iter().zip(1..) {
            assert_eq!(asked(&mut first, scope).await, None);
            hm_kv_set(&mut first, scope, "key".into(), vec![value]).await.unwrap();
            assert_eq!(asked(&mut first, scope).await, Some(vec![value]));
        }
        let (mut same_build, mut other_build) =
            (instance("p", &build), instance("p", &context(scratch.path())));
        let mut other_plugin = instance("q", &build);
        for (scope, in_build, later) in [
            (KvScope::Plugin, Some(vec![1]), Some(vec![1])),
            (KvScope::Build, Some(vec![2]), None),
            (KvScope::Step, None, None),
        ] {
            assert_eq!(asked(&mut same_build, scope).await, in_build, "{scope:?}");
            assert_eq!(asked(&mut other_build, scope).await, later, "{scope:?}");
            assert_eq!(asked(&mut other_plugin, scope).await, None, "{scope:?}");
        }
    }

    #[tokio::test]
    async fn every_scope_has_limits() {
        let scratch = tempfile::tempdir().unwrap();
        let mut state = instance("p", &context(scratch.path()));
        for scope in SCOPES {
            let large = hm_kv_set(&mut state, scope, "key".into(), vec![0; (1 << 20) + 1]).await;
            assert!(
                matches!(large, Err(HostError::Limit { asked: 1_048_577, allowed: 1_048_576, .. })),
                "{large:?}"
            );
        }
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
}
