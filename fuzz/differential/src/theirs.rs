//! Plays scripts, and calls plug-ins, in the reference implementation.

use anyhow::{Context, Result};
use extism::{CompiledPlugin, Function, Manifest, PTR, Plugin, PluginBuilder, UserData, ValType, Wasm};

use crate::author::Script;
use crate::script;

/// What 1.41 made of a call, by both of its ways to call: one says why, the other with which code.
pub struct Answer {
    pub output: Result<Vec<u8>, String>,
    pub code: Result<Vec<u8>, i32>,
}

/// A guest in 1.41.
pub struct Guest {
    compiled: CompiledPlugin,
    written: UserData<Vec<u8>>,
}

impl Guest {
    pub fn new(wasm: &[u8]) -> Result<Self> {
        let config = crate::model::CONFIG.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let manifest = Manifest::new([Wasm::data(wasm)]).with_config(config.into_iter());
        let reverse = Function::new("reverse", [PTR], [PTR], UserData::new(()), |plugin, from, to, _| {
            let mut bytes: Vec<u8> = match from[0].i64() {
                Some(0) | None => Vec::new(),
                Some(_) => plugin.memory_get_val(&from[0])?,
            };
            bytes.reverse();
            plugin.memory_set_val(&mut to[0], bytes)
        });
        let written = UserData::new(Vec::new());
        let nothing: [ValType; 0] = [];
        let write =
            Function::new("hm_write_stdout", [PTR], nothing, written.clone(), |plugin, from, _, to| {
                let bytes: Vec<u8> = plugin.memory_get_val(&from[0])?;
                if let Ok(mut to) = to.get()?.lock() {
                    to.extend(bytes);
                }
                Ok(())
            });
        let builder = PluginBuilder::new(manifest).with_wasi(true).with_functions([reverse, write]);
        Ok(Self { compiled: builder.with_cache_disabled().compile()?, written })
    }

    /// The calls of a script, and the results of its operations.
    pub fn play(&self, script: &Script) -> Result<(Vec<Answer>, Vec<u64>)> {
        let mut plugins = [self.plugin()?, self.plugin()?];
        let code = script::encode(&script.ops);
        for plugin in &mut plugins {
            plugin.call::<_, Vec<u8>>("load", &code).context("`load` in 1.41")?;
        }
        let answers = script.stops.iter().map(|_| ask(&mut plugins, "run", &script.input)).collect();
        let results: Vec<u8> = plugins[0].call("results", "").context("`results` in 1.41")?;
        Ok((answers, script::decode(&results)))
    }

    /// These calls of one instance, and what it wrote. The calls are made twice, in two instances.
    pub fn call_all(&self, calls: &[(&str, &[u8])]) -> Result<(Vec<Answer>, Vec<u8>)> {
        let mut plugins = [self.plugin()?, self.plugin()?];
        let answers = calls.iter().map(|(export, input)| ask(&mut plugins, export, input)).collect();
        let written = self.written.get()?;
        let written = written.lock().map(|mut written| std::mem::take(&mut *written));
        Ok((answers, written.unwrap_or_default()))
    }

    fn plugin(&self) -> Result<Plugin> {
        Plugin::new_from_compiled(&self.compiled)
    }
}

fn ask(plugins: &mut [Plugin; 2], export: &str, input: &[u8]) -> Answer {
    let [one, other] = plugins;
    Answer {
        output: one.call(export, input).map_err(|error| error.root_cause().to_string()),
        code: other.call_get_error_code(export, input).map_err(|(_, code)| code),
    }
}
