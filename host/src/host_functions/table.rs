//! The one table of host functions: their declarations in the protocol, joined with the rules for calling them and with
//! their bodies, both by name. Linking, checks of manifests, refusals and the reference come from it, so no function
//! reaches a plugin in any other way.

use hm_abi::HostFunctions;
use hm_plugin_protocol::*;

use super::gate;
use super::host_fn::{Form, HostFn, Param};
use super::plugin_state::PluginState;
use super::rules::RULES;
use super::wire::{LossyUtf8, SecretJson, Truth, form_name, in_wire_type, wire_pattern, wire_type};
// The bodies, which have the names of their functions.
use super::{
    browser::*, docker::*, keyring::*, kv::*, log::*, project::*, sandbox::*, sockets::*, terminal::*,
    write::*,
};

macro_rules! table {
    ($($(#[$meta:meta])* fn $name:ident $(as $wrapper:ident)?
        ($($arg:ident: $form:ident $($ty:ty)?),*) $(-> $result:ident $($answer:ty)?)?;)*) => {
        /// Every host function that this host has.
        pub const TABLE: &[HostFn] = &[$(HostFn {
            name: stringify!($name),
            params: &[$(Param { name: stringify!($arg), form: form!($form $($ty)?) }),*],
            answer: form!(@optional $($result $($answer)?)?),
            rules: RULES.$name,
            link: |function, functions| {
                type Args = ($(wire_type!($form $($ty)?),)*);
                type Answer = wire_type!($($result $($answer)?)?);
                functions.define_typed(function.declaration(), move |state: &mut PluginState, args| {
                    Box::pin(gate::call::<Args, Answer>(function, state, args, |state, ($(wire_pattern!($form $arg),)*)| {
                        Box::pin(async move {
                            let answer = $name(state, $($arg),*).await?;
                            Ok(in_wire_type!([$($result)?] answer))
                        })
                    }))
                });
            },
        }),*];
    };
}

/// The [`Form`] that a declaration names.
macro_rules! form {
    (@optional) => {
        None
    };
    (@optional $($form:tt)*) => {
        Some(form!($($form)*))
    };
    ($form:ident $($ty:ty)?) => {
        Form { name: form_name!($form), ty: concat!($(stringify!($ty))?) }
    };
}

hm_plugin_protocol::host_functions!(table);

impl HostFn {
    /// The function of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        TABLE.iter().find(|function| function.name == name)
    }
}

/// The table as the ABI links it, each function behind the gate.
#[must_use]
pub fn host_functions() -> HostFunctions<PluginState> {
    let mut functions = HostFunctions::new();
    for function in TABLE {
        (function.link)(function, &mut functions);
    }
    functions
}

/// The first function that a manifest asks for although this host does not have it.
pub(crate) fn required_but_unknown(required: &[String]) -> Option<&str> {
    required.iter().map(String::as_str).find(|name| HostFn::named(name).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_there_once() {
        let mut names: Vec<&str> = TABLE.iter().map(|f| f.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(
            required_but_unknown(&["hm_log".into(), "hm_rule_the_world".into()]),
            Some("hm_rule_the_world")
        );
    }
}
