//! The gate between a guest and every host function: who may call it, whether it was asked for and granted, how long it
//! may take, and the audit of all that. The functions' bodies are in other files.

use hm_abi::{Answer, Arguments, Encoded, HostError, HostFuture, Undecoded};
use tracing::Instrument as _;

use super::audit::{AuditLine, AuditedCall};
use super::host_fn::HostFn;
use super::plugin_state::PluginState;
use super::policy::Permission;
use super::role::RoleKind;

/// Body of a host function, on its arguments as they were read.
type Body<A, R> = for<'a> fn(&'a mut PluginState, A) -> HostFuture<'a, R>;

/// One call. Its arguments are read only once it is allowed, so a denied call tells the guest nothing about them.
pub(super) async fn call<A: Arguments, R: Answer>(
    function: &'static HostFn,
    state: &mut PluginState,
    args: Undecoded<A>,
    body: Body<A, R>,
) -> Result<Encoded<R::Wasm>, HostError> {
    let denied = denied(function, state);
    let (plugin, audit) = (state.plugin.clone(), state.context.audit.clone());
    let decision = denied.as_ref().map_or_else(|| "allowed".to_owned(), |why| format!("denied: {why}"));
    let span = tracing::debug_span!(target: "hm::gate", "host_call", plugin = &*plugin, function = function.name, decision);
    let audited = audit.map(|audit| {
        let line = AuditLine::new(&plugin, state.role.kind(), state.role.step_id(), function.name, &decision);
        AuditedCall::begin(audit, AuditLine { bytes_in: args.byte_count(), ..line })
    });
    let result = match &denied {
        Some(why) => Err(HostError::Denied { capability: format!("{}: {why}", function.name) }),
        None => run(function, state, args, body).instrument(span).await,
    };
    if let Some(audited) = audited {
        let outcome = match (&denied, &result) {
            (Some(_), _) => None,
            (None, Ok(_)) => Some("ok"),
            // A function may refuse what its arguments name.
            (None, Err(HostError::Denied { .. })) => Some("denied"),
            (None, Err(_)) => Some("failed"),
        };
        audited.end(outcome, result.as_ref().map_or(0, Encoded::byte_count));
    }
    result
}

/// An allowed call: reads the arguments, runs the body within the function's deadline, writes the answer.
async fn run<A: Arguments, R: Answer>(
    function: &HostFn,
    state: &mut PluginState,
    args: Undecoded<A>,
    body: Body<A, R>,
) -> Result<Encoded<R::Wasm>, HostError> {
    let args = args.decode().map_err(|(number, error)| {
        let name = function.params.get(number.wrapping_sub(1)).map_or("?", |param| param.name);
        HostError::InvalidArgument(format!("argument `{name}`: {error}"))
    })?;
    let answer = within(function, body(state, args)).await?;
    answer.encode().map_err(HostError::Failed)
}

/// Reason that this instance may not call the function, if there is one.
fn denied(function: &HostFn, state: &PluginState) -> Option<String> {
    let role = state.role.kind();
    // The role comes first: where no grant can help, the user should not be told to grant anything.
    if !function.rules.roles.contains(&role) {
        return Some(format!("not for {}", role.plural()));
    }
    match state.policy.permission(function.name, function.rules.grant) {
        Permission::Allowed => None,
        _ if role == RoleKind::Call => Some("it was not granted".into()),
        Permission::NotAsked => {
            Some("its manifest does not ask for it, and it was not granted by name".into())
        }
        Permission::NotGranted => Some("its manifest asks for it, but it was not granted".into()),
        Permission::Denied => Some("its manifest asks for it, but a plugins.toml denies it".into()),
    }
}

/// Runs a body within the function's own deadline, if it has one. The deadline of the guest's call applies in any case.
async fn within<R>(
    function: &HostFn,
    body: impl Future<Output = Result<R, HostError>>,
) -> Result<R, HostError> {
    match function.rules.deadline {
        None => body.await,
        Some(deadline) => tokio::time::timeout(deadline, body).await.unwrap_or_else(|_| {
            Err(HostError::failed(format!("{} took longer than {} s", function.name, deadline.as_secs())))
        }),
    }
}
