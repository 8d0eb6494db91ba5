//! Giving up rights for good: capabilities, and what Landlock can take away. The view of the file system that
//! namespaces give is made elsewhere.

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use rustix::{
    io::Errno,
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
    },
};

use super::wire::Access;

/// Sees to it that our user namespace is the last: in one of its own, a command would have every capability again,
/// and with them all of the kernel that only those reach. What is written counts for the writer's namespace alone,
/// and nobody without capabilities in there can take it back.
///
/// # Errors
/// `/proc` of the host is not there, or may not be written.
pub(crate) fn forbid_namespaces() -> std::io::Result<()> {
    std::fs::write("/proc/sys/user/max_user_namespaces", "0")
}

/// Takes every capability from us and from whatever we start, setuid programs included.
///
/// # Errors
/// The system says no.
pub(crate) fn drop_capabilities() -> rustix::io::Result<()> {
    // This set first: taking something from it needs a capability that goes with the others.
    for number in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // Beyond the last one that this kernel knows.
            Err(Errno::INVAL) => break,
            // An ordinary user without namespaces. There is none to take then, and none to be had below.
            Err(Errno::PERM) if capabilities(None)?.permitted.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    // Before the others: what is ambient comes back with the next program.
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    // No program gives others either, such as one with the set-user-id bit. Landlock asks for this, too.
    set_no_new_privs(true)
}

/// Hides abstract unix sockets but our own, where the kernel can. They belong to the network, so a step that has the
/// host's would reach the desktop's, the display among them.
pub(crate) fn leave_abstract_sockets() {
    let rules =
        Ruleset::default().set_compatibility(CompatLevel::BestEffort).scope(Scope::AbstractUnixSocket);
    // Best effort: it is one wall more, and older kernels do not have it.
    let _ = rules.and_then(Ruleset::create).and_then(landlock::RulesetCreated::restrict_self);
}

/// Leaves us with `access` and nothing else.
///
/// # Errors
/// A sentence: this kernel has no Landlock, or not enough of it.
pub(crate) fn restrict(access: &Access) -> Result<(), String> {
    let status = rules(access).map_err(|error| format!("restrict file access with Landlock: {error}"))?;
    if status == RulesetStatus::NotEnforced { Err("this kernel has no Landlock".to_owned()) } else { Ok(()) }
}

fn rules(access: &Access) -> Result<RulesetStatus, RulesetError> {
    // Each later generation knows more, and what a ruleset does not handle, it allows.
    // The third generation is the first that also guards truncation; what later ones add is taken where it is there.
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V3))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V5))?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?;
    if !access.network {
        rules = rules
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessNet::ConnectTcp | AccessNet::BindTcp)?;
    }
    // A device that a step makes would be a way around everything.
    let written = AccessFs::from_all(ABI::V5) & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    let rules = rules
        .create()?
        .set_compatibility(CompatLevel::BestEffort)
        .add_rules(path_beneath_rules(&access.read, AccessFs::from_read(ABI::V5)))?
        .add_rules(path_beneath_rules(&access.list, AccessFs::ReadDir))?
        .add_rules(path_beneath_rules(&access.write, written))?;
    Ok(rules.restrict_self()?.ruleset)
}
