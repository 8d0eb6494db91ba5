//! Host functions on the person's keyring: a plugin's own entries, and those of services that the user has granted it by name.

use hm_abi::{HostError, HostFuture};
use hm_plugin_protocol::{KeyringArgs, KeyringSetArgs, Level};
use serde::de::DeserializeOwned;

use super::handles::{count, limit};
use super::steps::failed;
use super::{Args, PluginState};
use crate::backend::keyring::{Entry, Owner};

/// Most bytes of a service and of an account.
const MAX_NAME: usize = 256;

/// Most bytes of a secret.
const MAX_SECRET: usize = 64 * 1024;

/// How often an instance can keep a secret: the keyring is not a store for data.
const MAX_KEPT: u64 = 256;

/// `hm_keyring_get`: the secret, or null.
pub(super) fn get(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let KeyringArgs { service, account } = read("hm_keyring_get", &args[0])?;
        let secret = state.world.keyring.get(entry(state, service, account)?).await;
        say_where(state).await;
        let secret = secret.map_err(failed)?;
        if let Some(secret) = &secret {
            state.world.secrets.add(secret).map_err(failed)?;
        }
        serde_json::to_vec(&secret).map_err(failed)
    })
}

/// `hm_keyring_set`: keeps a secret.
pub(super) fn set(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let KeyringSetArgs { service, account, secret } = read("hm_keyring_set", &args[0])?;
        let entry = entry(state, service, account)?;
        if secret.len() > MAX_SECRET {
            return Err(limit("bytes of a secret", secret.len(), MAX_SECRET));
        }
        count(&mut state.handles.secrets, "secrets kept by an instance", MAX_KEPT)?;
        state.world.secrets.add(&secret).map_err(failed)?;
        let kept = state.world.keyring.set(entry, secret).await;
        say_where(state).await;
        kept.map(|()| Vec::new()).map_err(failed)
    })
}

/// `hm_keyring_delete`: removes a secret, if it is there.
pub(super) fn delete(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let KeyringArgs { service, account } = read("hm_keyring_delete", &args[0])?;
        let deleted = state.world.keyring.delete(entry(state, service, account)?).await;
        say_where(state).await;
        deleted.map(|()| Vec::new()).map_err(failed)
    })
}

/// Reads an argument, of which no error may quote anything.
fn read<T: DeserializeOwned>(function: &str, bytes: &[u8]) -> Result<T, HostError> {
    serde_json::from_slice(bytes)
        .map_err(|_| HostError::InvalidArgument(format!("the argument of {function} is not valid")))
}

/// The entry that a plugin means.
fn entry(state: &PluginState, service: String, account: String) -> Result<Entry, HostError> {
    for name in [&service, &account] {
        if name.len() > MAX_NAME {
            return Err(limit("bytes of a service or an account", name.len(), MAX_NAME));
        }
        if name.is_empty() || name.chars().any(char::is_control) {
            let reason = "a service or an account is empty, or has control characters in it";
            return Err(HostError::InvalidArgument(reason.into()));
        }
    }
    let owner = if state.policy.shares_keyring(&service) {
        Owner::Everybody
    } else {
        Owner::Plugin(state.plugin.clone())
    };
    Ok(Entry { owner, service, account })
}

/// Says once for each start where secrets are, if it is not where one would think.
async fn say_where(state: &mut PluginState) {
    if let Some(directory) = state.world.keyring.notice() {
        let text = format!(
            "this system has no keyring service, so secrets are kept in files that only you can read, in {}",
            directory.display()
        );
        state.diagnostics.say(&mut state.said, Level::Warn, &state.plugin, &text).await;
    }
}
