//! One host function, as its declaration in the protocol and its rules describe it.

use hm_abi::{HostFunctions, TypedFunction, USER_MODULE};

use super::call_rules::CallRules;
use super::plugin_state::PluginState;

/// Fuel for each byte that crosses in either direction: copying is not free for the host either.
const FUEL_PER_BYTE: u64 = 1;

/// Host function: its declaration, its rules, and the way to its body.
pub struct HostFn {
    /// Import name in `extism:host/user`.
    pub name: &'static str,
    /// Arguments, an offset each.
    pub params: &'static [Param],
    /// Form of the answer, behind an offset; none for a function without an answer.
    pub answer: Option<Form>,
    /// Rules for calling it.
    pub rules: CallRules,
    /// Links it, behind the gate.
    pub(super) link: fn(&'static HostFn, &mut HostFunctions<PluginState>),
}

/// Argument of a host function.
pub struct Param {
    /// Name, for people.
    pub name: &'static str,
    /// Form in which it comes.
    pub form: Form,
}

/// Form in which a value crosses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Name of the form, such as `json`.
    pub name: &'static str,
    /// Type of the JSON value; empty for other forms.
    pub ty: &'static str,
}

impl HostFn {
    /// The function as the ABI links it.
    pub(super) fn declaration(&self) -> TypedFunction {
        let rules = &self.rules;
        TypedFunction { module: USER_MODULE, name: self.name, fuel: rules.fuel, fuel_per_byte: FUEL_PER_BYTE }
    }
}
