//! Plays scripts, and calls plug-ins, in `hm-abi`.

use std::time::Duration;

use anyhow::{Context, Result};
use hm_abi::{
    CallError, CallLimits, Engine, HostFunction, HostFunctions, InstanceOptions, Module, ModuleLimits,
};
use tokio::runtime::Runtime;

use crate::author::Script;
use crate::host::{Called, Calls, FUNCTIONS, Function, answer};
use crate::script;

/// Limits that no script uses up.
const CALL: CallLimits = CallLimits { fuel: 1_000_000_000, deadline: Duration::from_secs(60) };

/// Result of a call in our host.
pub type Answer = Result<Vec<u8>, CallError>;

/// A guest in our host.
pub struct Guest {
    module: Module<Calls>,
    runtime: Runtime,
}

impl Guest {
    pub fn new(wasm: &[u8]) -> Result<Self> {
        let mut host = HostFunctions::new();
        for &Function { module, name, params, returns } in FUNCTIONS {
            let declaration = HostFunction { module, name, params, returns, fuel: 0, fuel_per_byte: 0 };
            host.define(declaration, move |calls: &mut Calls, arguments| {
                Box::pin(async move { Ok(answer(calls, name, arguments)) })
            });
        }
        let module = Module::load(&Engine::new()?, wasm, &host, &ModuleLimits::standard())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        Ok(Self { module, runtime })
    }

    /// The calls of a script, and the results of its operations if they are still known.
    pub fn play(&self, script: &Script) -> Result<(Vec<Answer>, Option<Vec<u64>>)> {
        let mut instance = self.module.instance(Calls::default(), options());
        let mut call = |export, input: &[u8]| self.runtime.block_on(instance.call(export, input, &CALL));
        call("load", &script::encode(&script.ops)).context("`load` in our host")?;
        let answers = script.stops.iter().map(|_| call("run", &script.input)).collect();
        let results = call("results", b"").context("`results` in our host")?;
        let results = script::decode(&results);
        Ok((answers, (results.len() == script.ops.len()).then_some(results)))
    }

    /// These calls of one instance, and those that it made itself.
    pub fn call_all(&self, calls: &[(&str, &str)]) -> (Vec<Answer>, Called) {
        let mut instance = self.module.instance(Calls::default(), options());
        let mut call =
            |export, input: &str| self.runtime.block_on(instance.call(export, input.as_bytes(), &CALL));
        let answers = calls.iter().map(|(export, input)| call(export, input)).collect();
        let called = instance.data().lock().map(|called| called.clone()).unwrap_or_default();
        (answers, called)
    }
}

fn options() -> InstanceOptions {
    let config = crate::model::CONFIG.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    InstanceOptions { config, ..InstanceOptions::standard() }
}
