//! What stands between a guest and every host function: who may call it, whether it was asked for and granted, how long it
//! may take, and the audit of all that. What the function does is its own file's.

use hm_abi::HostError;
use tracing::Instrument as _;

use super::audit::{AuditLine, Audited};
use super::policy::Decision;
use super::table::HostFn;
use super::{Args, PluginState, Who};

/// One call.
pub(super) async fn call(
    function: &'static HostFn,
    state: &mut PluginState,
    args: Args,
) -> Result<Vec<u8>, HostError> {
    let denied = denied(function, state);
    let (plugin, audit) = (state.plugin.clone(), state.world.audit.clone());
    let decision = denied.as_ref().map_or_else(|| "allowed".to_owned(), |why| format!("denied: {why}"));
    let span = tracing::debug_span!(target: "hm::gate", "host_call", plugin = &*plugin, function = function.name, decision);
    let audited = audit.map(|audit| {
        let line = AuditLine::new(&plugin, state.role.who(), state.role.step_id(), function.name, &decision);
        Audited::begin(audit, AuditLine { bytes_in: args.iter().map(Vec::len).sum(), ..line })
    });
    let result = match &denied {
        Some(why) => Err(HostError::Denied { capability: format!("{}: {why}", function.name) }),
        None => within(function, (function.body)(state, args)).instrument(span).await,
    };
    if let Some(audited) = audited {
        let outcome = match (&denied, &result) {
            (Some(_), _) => None,
            (None, Ok(_)) => Some("ok"),
            // A function may refuse what its arguments name.
            (None, Err(HostError::Denied { .. })) => Some("denied"),
            (None, Err(_)) => Some("failed"),
        };
        audited.end(outcome, result.as_ref().map_or(0, Vec::len));
    }
    result
}

/// Why this instance may not call the function, if so.
fn denied(function: &HostFn, state: &PluginState) -> Option<String> {
    let who = state.role.who();
    // First: where no grant can help, none is to be asked for.
    if !function.who.contains(&who) {
        return Some(format!("not for {}", who.plural()));
    }
    match state.policy.function(function) {
        Decision::Allowed => None,
        _ if who == Who::Call => Some("it was not granted".into()),
        Decision::NotAsked => Some("its manifest does not ask for it, and it was not granted by name".into()),
        Decision::NotGranted => Some("its manifest asks for it, but it was not granted".into()),
        Decision::Denied => Some("its manifest asks for it, but a plugins.toml denies it".into()),
    }
}

/// The function's own deadline; that of the guest's call is there in any case.
async fn within(
    function: &HostFn,
    body: impl Future<Output = Result<Vec<u8>, HostError>>,
) -> Result<Vec<u8>, HostError> {
    match function.longest {
        None => body.await,
        Some(longest) => tokio::time::timeout(longest, body).await.unwrap_or_else(|_| {
            Err(HostError::failed(format!("{} took longer than {} s", function.name, longest.as_secs())))
        }),
    }
}
