//! Checks of the commands that plugins declare: of whatever can be read as one, a parser is made or a reason is given.

use hm_host::plugin::CommandParser;
use hm_plugin_protocol::{SubcommandSpec, serde_json};

/// Any bytes as a command, or as the arguments of one, and what follows the first line as words for it. In builds
/// with debug assertions clap panics if it is given what contradicts itself.
pub fn args_schema(data: &[u8]) {
    let (json, words) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len()));
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(json) else { return };
    let spec = serde_json::from_value(value.clone()).unwrap_or(SubcommandSpec {
        verb: "verb".into(),
        about: String::new(),
        args_schema: value,
        subcommands: Vec::new(),
    });
    let form = match CommandParser::read(&spec) {
        Ok(form) => form,
        Err(error) => return assert!(!error.to_string().contains(char::is_control), "{error}"),
    };
    let help = form.command().render_long_help().to_string();
    assert!(!help.contains(|c: char| c.is_control() && c != '\n'), "{help:?}");
    form.for_shells().command().build();
    let words = String::from_utf8_lossy(words);
    let words: Vec<String> =
        std::iter::once(spec.verb.clone()).chain(words.split_whitespace().map(str::to_owned)).collect();
    if !form.is_unparsed(&words)
        && let Ok(matches) = form.command().try_get_matches_from(&words)
    {
        let typed = form.typed(&matches);
        assert!(typed.verb_path[0] == spec.verb && typed.args.is_object(), "{typed:?}");
    }
}
