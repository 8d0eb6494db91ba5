//! The commands of plugins as parsers: reads how a manifest declares arguments, refuses what contradicts itself, and
//! makes a clap command of the rest. Which plugin has a command, and calling it, is not done here.

use std::collections::BTreeSet;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use hm_plugin_protocol::{ArgSpec, ArgTakes, ArgsSchema, SubcommandSpec};
use serde_json::{Map, Value};

/// Commands below commands, the verb included.
const MAX_DEPTH: usize = 8;
/// Commands of a verb, itself included.
const MAX_COMMANDS: usize = 200;
/// Arguments of a command.
const MAX_ARGS: usize = 100;
/// Values that an argument lists.
const MAX_VALUES: usize = 200;
/// Longest name of an argument or a command.
const MAX_NAME: usize = 64;
/// Longest text for the help, in characters, and longest value, in bytes.
const MAX_TEXT: usize = 1000;

/// A command that a plugin brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandParser {
    name: String,
    about: String,
    /// None: it declares nothing, and gets what was typed.
    args: Option<Vec<ArgSpec>>,
    subcommands: Vec<Self>,
}

/// A command that contradicts itself, or asks too much.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its command `{command}` {reason}")]
pub struct CommandSchemaError {
    /// The command, with those above it.
    pub command: String,
    /// The error, as the end of a sentence about the command.
    pub reason: String,
}

/// Typed words, as the plugin gets them.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedCommand {
    /// The verb and the commands below it; and all words behind them, if they were not parsed.
    pub verb_path: Vec<String>,
    /// An object with the value of each argument of these commands; null, if the words were not parsed.
    pub args: Value,
}

impl CommandParser {
    /// Reads a verb with all that is below it.
    ///
    /// # Errors
    /// [`CommandSchemaError`], if no parser can be made of it.
    pub fn read(spec: &SubcommandSpec) -> Result<Self, CommandSchemaError> {
        Self::below(&[], spec, &BTreeSet::new(), &mut 0)
    }

    fn below(
        above: &[&str],
        spec: &SubcommandSpec,
        taken: &BTreeSet<String>,
        count: &mut usize,
    ) -> Result<Self, CommandSchemaError> {
        let path = [above, &[spec.verb.as_str()]].concat();
        let refused = |reason: String| CommandSchemaError {
            command: path.iter().map(|name| shown(name)).collect::<Vec<_>>().join(" "),
            reason,
        };
        *count += 1;
        if path.len() > MAX_DEPTH || *count > MAX_COMMANDS {
            return Err(refused("has too many commands beside or above it".into()));
        }
        if !is_name(&spec.verb) || (!above.is_empty() && spec.verb == "help") {
            return Err(refused("has a name that no command can have".into()));
        }
        let args = match &spec.args_schema {
            Value::Object(object) if object.contains_key("args") => Some(arguments(&spec.args_schema)),
            _ => None,
        };
        let args = args.transpose().map_err(&refused)?;
        let mut taken = taken.clone();
        match &args {
            Some(args) => check(args, &mut taken).map_err(&refused)?,
            None if taken.is_empty() => {}
            None => return Err(refused("declares no arguments, but a command above it does".into())),
        }
        let mut names = BTreeSet::new();
        let mut subcommands = Vec::new();
        for spec in &spec.subcommands {
            if !names.insert(&spec.verb) {
                return Err(refused(format!("has two commands `{}`", shown(&spec.verb))));
            }
            subcommands.push(Self::below(&path, spec, &taken, count)?);
        }
        Ok(Self { name: spec.verb.clone(), about: plain(&spec.about), args, subcommands })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Purpose of the command, in a line.
    #[must_use]
    pub fn about(&self) -> &str {
        &self.about
    }

    /// True if these words, the verb first, are for a command that gets them as they were typed.
    #[must_use]
    pub fn is_unparsed(&self, words: &[String]) -> bool {
        let mut form = self;
        for word in words.iter().skip(1) {
            match form.subcommands.iter().find(|below| below.name == *word) {
                Some(below) if form.args.is_some() => form = below,
                _ => break,
            }
        }
        form.args.is_none()
    }

    /// The parser. It is made of checked parts alone, so that building it does not panic.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.name.clone()).about(self.about.clone());
        match &self.args {
            Some(args) => {
                for spec in args {
                    command = command.arg(argument(spec));
                }
            }
            // Its help is its own.
            None => {
                let words = Arg::new("words").num_args(0..).value_name("ARGUMENTS");
                command = command.arg(words.trailing_var_arg(true).allow_hyphen_values(true));
                command = command.disable_help_flag(true);
            }
        }
        command.subcommands(self.subcommands.iter().map(Self::command))
    }

    /// The same command with nothing in it that a shell could take for something else than a word. Completions are
    /// shell scripts, and what clap writes of texts and values into them is not quoted in every shell.
    #[must_use]
    pub fn for_shells(&self) -> Self {
        let text = |text: &str| -> String {
            let plain = |c: char| if c.is_alphanumeric() || " .,-".contains(c) { c } else { ' ' };
            text.chars().map(plain).collect()
        };
        let is_word = |value: &String| {
            !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        };
        let arg = |spec: &ArgSpec| ArgSpec {
            help: spec.help.as_deref().map(text),
            value_name: spec.value_name.as_deref().map(text).filter(|name| !name.trim().is_empty()),
            possible_values: if spec.possible_values.iter().all(is_word) {
                spec.possible_values.clone()
            } else {
                Vec::new()
            },
            default: Vec::new(),
            ..spec.clone()
        };
        Self {
            name: self.name.clone(),
            about: text(&self.about),
            args: self.args.as_ref().map(|args| args.iter().map(arg).collect()),
            subcommands: self.subcommands.iter().map(Self::for_shells).collect(),
        }
    }

    /// Values that the parser has found.
    #[must_use]
    pub fn typed(&self, matches: &ArgMatches) -> ParsedCommand {
        let (mut form, mut matches) = (self, matches);
        let (mut verb_path, mut values) = (vec![self.name.clone()], Map::new());
        loop {
            for spec in form.args.iter().flatten() {
                values.insert(spec.id.clone(), value(spec, matches));
            }
            let Some((name, below)) = matches.subcommand() else { break };
            let Some(found) = form.subcommands.iter().find(|form| form.name == name) else { break };
            verb_path.push(name.to_owned());
            (form, matches) = (found, below);
        }
        ParsedCommand { verb_path, args: Value::Object(values) }
    }
}

/// The arguments that a schema declares.
fn arguments(schema: &Value) -> Result<Vec<ArgSpec>, String> {
    // Few enough to look at each before any is copied.
    let count = schema["args"].as_array().map_or(0, Vec::len);
    if count > MAX_ARGS {
        return Err(format!("has {count} arguments, and {MAX_ARGS} are allowed"));
    }
    let ArgsSchema { mut args } = serde::Deserialize::deserialize(schema)
        .map_err(|e| format!("has arguments of another form: {}", plain(&e.to_string())))?;
    for spec in &mut args {
        spec.help = spec.help.as_deref().map(plain);
        spec.value_name = spec.value_name.as_deref().map(plain).filter(|name| !name.trim().is_empty());
    }
    Ok(args)
}

/// Checks the arguments of a command against each other and the keys that are `taken` already.
fn check(args: &[ArgSpec], taken: &mut BTreeSet<String>) -> Result<(), String> {
    let (mut longs, mut shorts) = (BTreeSet::from(["help"]), BTreeSet::from(['h']));
    for spec in args {
        let id = shown(&spec.id);
        if !is_name(&spec.id) || spec.id == "help" {
            return Err(format!("has an argument of the id `{id}`, which none can have"));
        }
        if !taken.insert(spec.id.clone()) {
            return Err(format!("has two arguments of the id `{id}`, those of the commands above included"));
        }
        if let Some(long) = &spec.long
            && (!is_name(long) || !longs.insert(long))
        {
            return Err(format!("cannot call `{id}` `--{}`: no name, or that of another", shown(long)));
        }
        if let Some(short) = spec.short
            && (!short.is_ascii_alphanumeric() || !shorts.insert(short))
        {
            return Err(format!(
                "cannot call `{id}` `-{}`: no letter, or that of another",
                short.escape_debug()
            ));
        }
        check_values(spec).map_err(|reason| format!("has an argument `{id}` that {reason}"))?;
    }
    check_positional(args)
}

fn check_values(spec: &ArgSpec) -> Result<(), String> {
    let takes_values = matches!(spec.takes, ArgTakes::One | ArgTakes::Many);
    if !takes_values {
        if is_positional(spec) {
            return Err("takes nothing and has no name".into());
        }
        if !spec.default.is_empty() || !spec.possible_values.is_empty() {
            return Err("takes nothing and has values".into());
        }
    }
    if spec.default.len() > MAX_VALUES || spec.possible_values.len() > MAX_VALUES {
        return Err(format!("lists more than {MAX_VALUES} values"));
    }
    if spec.takes == ArgTakes::One && spec.default.len() > 1 {
        return Err("takes one value and has several by default".into());
    }
    for value in spec.default.iter().chain(&spec.possible_values) {
        if value.len() > MAX_TEXT || value.contains(is_invisible) {
            return Err(format!("lists a value that cannot be shown, `{}`", shown(value)));
        }
    }
    let mut possible = BTreeSet::new();
    if let Some(twice) = spec.possible_values.iter().find(|value| !possible.insert(*value)) {
        return Err(format!("lists the value `{twice}` twice"));
    }
    let impossible = spec.default.iter().find(|value| !possible.is_empty() && !possible.contains(value));
    match impossible {
        Some(value) => Err(format!("has the value `{value}` by default, but does not allow it")),
        None => Ok(()),
    }
}

/// Checks the order of positional arguments: words are handed out from the left, so each must know where it ends.
fn check_positional(args: &[ArgSpec]) -> Result<(), String> {
    let positional: Vec<&ArgSpec> = args.iter().filter(|spec| is_positional(spec)).collect();
    if let Some(pair) = positional.windows(2).find(|pair| pair[1].required && !pair[0].required) {
        let [optional, required] = [&pair[0].id, &pair[1].id];
        return Err(format!("has `{required}`, which must be given, behind `{optional}`, which need not"));
    }
    let mut many = positional.iter().enumerate().filter(|(_, spec)| spec.takes == ArgTakes::Many);
    let Some((at, first)) = many.next() else { return Ok(()) };
    let one_follows = at + 2 == positional.len() && positional[at + 1].required && many.next().is_none();
    if at + 1 == positional.len() || one_follows {
        return Ok(());
    }
    Err(format!(
        "has `{}`, which takes many, before others: only one that must be given may follow",
        first.id
    ))
}

fn is_positional(spec: &ArgSpec) -> bool {
    spec.long.is_none() && spec.short.is_none()
}

/// Argument of clap for one that was checked.
fn argument(spec: &ArgSpec) -> Arg {
    let positional = is_positional(spec);
    let mut arg = Arg::new(spec.id.clone()).required(spec.required);
    arg = match spec.takes {
        ArgTakes::Flag => arg.action(ArgAction::SetTrue),
        ArgTakes::Count => arg.action(ArgAction::Count),
        ArgTakes::One => arg.action(ArgAction::Set),
        ArgTakes::Many if positional => arg.action(ArgAction::Append).num_args(1..),
        ArgTakes::Many => arg.action(ArgAction::Append),
    };
    if let Some(long) = &spec.long {
        arg = arg.long(long.clone());
    }
    if let Some(short) = spec.short {
        arg = arg.short(short);
    }
    if let Some(help) = &spec.help {
        arg = arg.help(help.clone());
    }
    if matches!(spec.takes, ArgTakes::One | ArgTakes::Many) {
        if let Some(name) = &spec.value_name {
            arg = arg.value_name(name.clone());
        }
        if !spec.possible_values.is_empty() {
            arg = arg.value_parser(PossibleValuesParser::new(spec.possible_values.clone()));
        }
        if !spec.default.is_empty() {
            arg = arg.default_values(spec.default.clone());
        }
    }
    arg
}

/// Value that was given for an argument, or its default.
fn value(spec: &ArgSpec, matches: &ArgMatches) -> Value {
    let id = spec.id.as_str();
    match spec.takes {
        ArgTakes::Flag => matches.get_flag(id).into(),
        ArgTakes::Count => matches.get_count(id).into(),
        ArgTakes::One => matches.get_one::<String>(id).cloned().into(),
        ArgTakes::Many => {
            let given: Vec<String> = matches.get_many(id).into_iter().flatten().cloned().collect();
            given.into()
        }
    }
}

/// `[A-Za-z0-9][A-Za-z0-9_.-]{0,63}`: a word in every shell, and no option.
fn is_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    name.len() <= MAX_NAME && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.bytes().all(inner)
}

/// True for letters that move the cursor or turn the direction of writing.
fn is_invisible(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text of the plugin for the help: on one line, and not endless.
fn plain(text: &str) -> String {
    text.chars().take(MAX_TEXT).map(|c| if is_invisible(c) { ' ' } else { c }).collect()
}

/// The beginning of a name that may be anything, for an error.
fn shown(name: &str) -> String {
    name.chars().take(MAX_NAME).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests;
