//! Plays scripts, and calls plug-ins, in `hm-abi`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use hm_abi::{
    CallError, CallLimits, Engine, HostFunction, HostFunctions, InstanceOptions, Module, ModuleLimits,
    USER_MODULE,
};
use tokio::runtime::Runtime;

use crate::author::Script;
use crate::script;

/// Never used up.
const CALL: CallLimits = CallLimits { fuel: 1_000_000_000, deadline: Duration::from_secs(60) };

/// What our host made of a call.
pub type Answer = Result<Vec<u8>, CallError>;

/// A guest in our host.
pub struct Guest {
    module: Module<Written>,
    runtime: Runtime,
}

/// What a guest has given to `hm_write_stdout`.
type Written = Arc<Mutex<Vec<u8>>>;

impl Guest {
    pub fn new(wasm: &[u8]) -> Result<Self> {
        let mut host = HostFunctions::new();
        let function = |name, returns| HostFunction {
            module: USER_MODULE,
            name,
            params: 1,
            returns,
            fuel: 0,
            fuel_per_byte: 0,
        };
        host.define(function("reverse", true), |_: &mut Written, arguments| {
            Box::pin(async move { Ok(arguments.concat().into_iter().rev().collect()) })
        });
        host.define(function("hm_write_stdout", false), |written: &mut Written, arguments| {
            Box::pin(async move {
                if let Ok(mut written) = written.lock() {
                    written.extend(arguments.concat());
                }
                Ok(Vec::new())
            })
        });
        let module = Module::load(&Engine::new()?, wasm, &host, &ModuleLimits::standard())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        Ok(Self { module, runtime })
    }

    /// The calls of a script, and the results of its operations if they are still known.
    pub fn play(&self, script: &Script) -> Result<(Vec<Answer>, Option<Vec<u64>>)> {
        let mut instance = self.module.instance(Written::default(), options());
        let mut call = |export, input: &[u8]| self.runtime.block_on(instance.call(export, input, &CALL));
        call("load", &script::encode(&script.ops)).context("`load` in our host")?;
        let answers = script.stops.iter().map(|_| call("run", &script.input)).collect();
        let results = call("results", b"").context("`results` in our host")?;
        let results = script::decode(&results);
        Ok((answers, (results.len() == script.ops.len()).then_some(results)))
    }

    /// These calls of one instance, and what it wrote.
    pub fn call_all(&self, calls: &[(&str, &[u8])]) -> (Vec<Answer>, Vec<u8>) {
        let written = Written::default();
        let mut instance = self.module.instance(Arc::clone(&written), options());
        let answers = calls
            .iter()
            .map(|(export, input)| self.runtime.block_on(instance.call(export, input, &CALL)))
            .collect();
        let written = written.lock().map(|written| written.clone()).unwrap_or_default();
        (answers, written)
    }
}

fn options() -> InstanceOptions {
    let config = crate::model::CONFIG.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    InstanceOptions { config, ..InstanceOptions::standard() }
}
