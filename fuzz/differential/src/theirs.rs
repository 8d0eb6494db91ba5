//! Plays scripts, and calls plug-ins, in the reference implementation.

use anyhow::{Context, Result, anyhow};
use extism::{
    CompiledPlugin, CurrentPlugin, Function, Manifest, PTR, Plugin, PluginBuilder, UserData, Val, Wasm,
};

use crate::author::Script;
use crate::host::{self, Called, Calls, FUNCTIONS, answer};
use crate::script;

/// Result of a call in 1.41, by both of its ways to call: one gives the reason of a failure, the other its code.
pub struct Answer {
    pub output: Result<Vec<u8>, String>,
    pub code: Result<Vec<u8>, i32>,
}

/// A guest in 1.41.
pub struct Guest {
    compiled: CompiledPlugin,
    calls: Calls,
}

impl Guest {
    pub fn new(wasm: &[u8]) -> Result<Self> {
        let config = crate::model::CONFIG.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let manifest = Manifest::new([Wasm::data(wasm)]).with_config(config.into_iter());
        let calls = Calls::default();
        let functions: Vec<Function> = FUNCTIONS
            .iter()
            .map(|&host::Function { module, name, params, returns }| {
                let (params, results) = (vec![PTR; params.into()], vec![PTR; returns.into()]);
                let data = UserData::new(Calls::clone(&calls));
                Function::new(name, params, results, data, move |plugin, from, to, calls| {
                    let arguments = from.iter().map(|offset| read(plugin, offset)).collect::<Result<_>>()?;
                    let calls = Calls::clone(&*calls.get()?.lock().map_err(|_| anyhow!("a lock"))?);
                    let bytes = answer(&calls, name, arguments);
                    to.first_mut().map_or(Ok(()), |to| plugin.memory_set_val(to, bytes))
                })
                .with_namespace(module)
            })
            .collect();
        let builder = PluginBuilder::new(manifest).with_wasi(true).with_functions(functions);
        Ok(Self { compiled: builder.with_cache_disabled().compile()?, calls })
    }

    /// The calls of a script, and the results of its operations.
    pub fn play(&self, script: &Script) -> Result<(Vec<Answer>, Vec<u64>)> {
        let mut plugins = [self.plugin()?, self.plugin()?];
        let bytes = script::encode(&script.ops);
        for plugin in &mut plugins {
            plugin.call::<_, Vec<u8>>("load", &bytes).context("`load` in 1.41")?;
        }
        let [one, other] = &mut plugins;
        let ask =
            |_| Answer { output: output(one, "run", &script.input), code: code(other, "run", &script.input) };
        let answers = script.stops.iter().map(ask).collect();
        let results: Vec<u8> = plugins[0].call("results", "").context("`results` in 1.41")?;
        Ok((answers, script::decode(&results)))
    }

    /// These calls of one instance, then of another, and those that they made themselves.
    pub fn call_all(&self, calls: &[(&str, &str)]) -> Result<(Vec<Answer>, Called)> {
        let mut plugin = self.plugin()?;
        let outputs: Vec<_> =
            calls.iter().map(|(export, input)| output(&mut plugin, export, input)).collect();
        let mut plugin = self.plugin()?;
        let codes = calls.iter().map(|(export, input)| code(&mut plugin, export, input));
        let answers = outputs.into_iter().zip(codes).map(|(output, code)| Answer { output, code }).collect();
        let called = self.calls.lock().map(|mut calls| std::mem::take(&mut *calls));
        Ok((answers, called.unwrap_or_default()))
    }

    fn plugin(&self) -> Result<Plugin> {
        Plugin::new_from_compiled(&self.compiled)
    }
}

fn output(plugin: &mut Plugin, export: &str, input: impl AsRef<[u8]>) -> Result<Vec<u8>, String> {
    plugin.call(export, input.as_ref()).map_err(|error| error.root_cause().to_string())
}

fn code(plugin: &mut Plugin, export: &str, input: impl AsRef<[u8]>) -> Result<Vec<u8>, i32> {
    plugin.call_get_error_code(export, input.as_ref()).map_err(|(_, code)| code)
}

/// The bytes of an argument.
fn read(plugin: &mut CurrentPlugin, offset: &Val) -> Result<Vec<u8>> {
    if offset.i64() == Some(0) { Ok(Vec::new()) } else { plugin.memory_get_val(offset) }
}
