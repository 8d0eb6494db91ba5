//! Host functions on the person's keyring: a plugin's own entries, and those of services that the user has granted it
//! by name.

use hm_abi::HostError;
use hm_plugin_protocol::{KeyringArgs, KeyringSetArgs, Level};

use super::PluginState;
use super::handles::{count, limit};
use crate::backend::keyring::{Entry, Owner};

/// Most bytes of a service and of an account.
const MAX_NAME: usize = 256;

/// Most bytes of a secret.
const MAX_SECRET: usize = 64 * 1024;

/// Most secrets that an instance can keep: the keyring is not a store for data.
const MAX_KEPT: u64 = 256;

/// `hm_keyring_get`: the secret, if there is one.
pub(super) async fn hm_keyring_get(
    state: &mut PluginState,
    KeyringArgs { service, account }: KeyringArgs,
) -> Result<Option<String>, HostError> {
    let secret = state.context.keyring.get(entry(state, service, account)?).await;
    warn_of_files(state).await;
    let secret = secret.map_err(HostError::failed)?;
    if let Some(secret) = &secret {
        state.context.secrets.add(secret).map_err(HostError::failed)?;
    }
    Ok(secret)
}

/// `hm_keyring_set`: keeps a secret.
pub(super) async fn hm_keyring_set(
    state: &mut PluginState,
    KeyringSetArgs { service, account, secret }: KeyringSetArgs,
) -> Result<(), HostError> {
    let entry = entry(state, service, account)?;
    if secret.len() > MAX_SECRET {
        return Err(limit("bytes of a secret", secret.len(), MAX_SECRET));
    }
    count(&mut state.handles.secrets, "secrets kept by an instance", MAX_KEPT)?;
    state.context.secrets.add(&secret).map_err(HostError::failed)?;
    let kept = state.context.keyring.set(entry, secret).await;
    warn_of_files(state).await;
    kept.map_err(HostError::failed)
}

/// `hm_keyring_delete`: removes a secret, if it is there.
pub(super) async fn hm_keyring_delete(
    state: &mut PluginState,
    KeyringArgs { service, account }: KeyringArgs,
) -> Result<(), HostError> {
    let deleted = state.context.keyring.delete(entry(state, service, account)?).await;
    warn_of_files(state).await;
    deleted.map_err(HostError::failed)
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

/// Says once for each start that secrets are in files, if they are.
async fn warn_of_files(state: &mut PluginState) {
    if let Some(directory) = state.context.keyring.notice() {
        let text = format!(
            "this system has no keyring service, so secrets are kept in files that only you can read, in {}",
            directory.display()
        );
        state.diagnose(Level::Warn, &text).await;
    }
}
