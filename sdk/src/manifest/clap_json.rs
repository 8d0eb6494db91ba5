//! From a clap command to the JSON that a manifest declares arguments with.
//! The host builds its own parser of it; clap stays out of the wire format.

use clap::{Arg, ArgAction, Command};
use hm_plugin_protocol::ClapJson;
use serde_json::{Map, Value, json};

/// The arguments of this command, as [`SubcommandSpec::args_schema`](crate::SubcommandSpec) wants them.
///
/// Its subcommands are not part of it: each is a `SubcommandSpec` of its own. The form is
///
/// ```json
/// {"args": [
///   {"id": "files", "takes": "many", "required": true, "help": "What to send."},
///   {"id": "to", "takes": "one", "long": "to", "short": "t", "value_name": "HOST",
///    "default": ["here"], "possible_values": ["here", "there"]},
///   {"id": "quiet", "takes": "flag", "short": "q"}
/// ]}
/// ```
///
/// | key | is |
/// |---|---|
/// | `id` | the key of the value in [`SubcommandInput::args`](crate::SubcommandInput) |
/// | `takes` | `flag` gives true or false, `count` a number, `one` a string, `many` a list of strings |
/// | `long`, `short` | the option's names without dashes; an argument with neither is positional, in the order of the list |
/// | `required` | left out for false |
/// | `default` | the values of an argument that is not given; left out for none |
/// | `possible_values` | all that is allowed; left out for anything |
/// | `help`, `value_name` | for the help; left out for none |
///
/// What clap knows beyond that (conflicts, groups, aliases, parsers of values) is not carried over: it is the
/// plugin that checks it. Help and version options are the host's.
///
/// # Panics
/// In debug builds, when clap finds that the command contradicts itself.
#[must_use]
pub fn clap_json_from(command: &Command) -> ClapJson {
    let mut command = command.clone();
    command.build();
    let is_ours = |arg: &&Arg| {
        use ArgAction::{Help, HelpLong, HelpShort, Version};
        !matches!(arg.get_action(), Help | HelpLong | HelpShort | Version)
    };
    // Positional arguments by their index, whatever the order in which they were added.
    let mut args: Vec<&Arg> = command.get_arguments().filter(is_ours).collect();
    args.sort_by_key(|arg| arg.get_index());
    json!({"args": args.into_iter().map(arg_json).collect::<Vec<_>>()})
}

fn arg_json(arg: &Arg) -> Value {
    let takes_many = arg.get_num_args().is_some_and(|range| range.max_values() > 1);
    let takes = match arg.get_action() {
        ArgAction::SetTrue | ArgAction::SetFalse => "flag",
        ArgAction::Count => "count",
        ArgAction::Append => "many",
        _ if takes_many => "many",
        _ => "one",
    };
    let mut json = Map::new();
    json.insert("id".into(), arg.get_id().as_str().into());
    json.insert("takes".into(), takes.into());
    let mut insert = |key: &str, value: Value| json.insert(key.to_owned(), value);
    if let Some(long) = arg.get_long() {
        insert("long", long.into());
    }
    if let Some(short) = arg.get_short() {
        insert("short", short.to_string().into());
    }
    if arg.is_required_set() {
        insert("required", true.into());
    }
    if let Some(help) = arg.get_help() {
        insert("help", help.to_string().into());
    }
    if takes == "one" || takes == "many" {
        if let Some([name, ..]) = arg.get_value_names() {
            insert("value_name", name.as_str().into());
        }
        let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        if !defaults.is_empty() {
            insert("default", json!(defaults));
        }
        let possible = arg.get_possible_values();
        if !possible.is_empty() {
            let names: Vec<_> = possible.iter().map(|value| value.get_name()).collect();
            insert("possible_values", json!(names));
        }
    }
    Value::Object(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_every_kind() {
        let command = Command::new("send")
            .version("1.0.0")
            .arg(Arg::new("quiet").short('q').action(ArgAction::SetTrue))
            .arg(Arg::new("verbose").short('v').long("verbose").action(ArgAction::Count))
            .arg(
                Arg::new("to")
                    .long("to")
                    .value_name("HOST")
                    .help("Where to.")
                    .default_value("here")
                    .value_parser(["here", "there"]),
            )
            .arg(Arg::new("tag").long("tag").action(ArgAction::Append))
            .arg(Arg::new("files").index(2).num_args(1..))
            .arg(Arg::new("what").index(1).required(true))
            .subcommand(Command::new("below").arg(Arg::new("not-here")));
        let expected = json!({"args": [
            {"id": "quiet", "takes": "flag", "short": "q"},
            {"id": "verbose", "takes": "count", "long": "verbose", "short": "v"},
            {"id": "to", "takes": "one", "long": "to", "value_name": "HOST", "help": "Where to.",
             "default": ["here"], "possible_values": ["here", "there"]},
            {"id": "tag", "takes": "many", "long": "tag"},
            {"id": "what", "takes": "one", "required": true},
            {"id": "files", "takes": "many"},
        ]});
        assert_eq!(clap_json_from(&command), expected);
    }

    #[test]
    fn a_command_without_arguments_has_none() {
        assert_eq!(clap_json_from(&Command::new("x")), json!({"args": []}));
    }
}
