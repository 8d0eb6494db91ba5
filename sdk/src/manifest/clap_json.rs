//! From a clap command to the JSON that a manifest declares arguments with.
//! The host builds its own parser of it; clap stays out of the wire format.

use clap::{Arg, ArgAction, Command};
use hm_plugin_protocol::{ArgSpec, ArgTakes, ArgsSchema, ClapJson};
use serde_json::json;

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
/// | `id` | the key of the value in [`SubcommandInput::args`](crate::SubcommandInput): letters, digits, `_`, `.`, `-` |
/// | `takes` | `flag` gives true or false, `count` a number, `one` a string or null, `many` a list of strings; an option that takes many is given again for each |
/// | `long`, `short` | the option's names without dashes; an argument with neither is positional, in the order of the list |
/// | `required` | whether it must be given; left out for false |
/// | `default` | the values of an argument that is not given; left out for none |
/// | `possible_values` | all that is allowed; left out for anything |
/// | `help`, `value_name` | for the help; left out for none |
///
/// All else that clap knows (conflicts, groups, aliases, parsers of values) is not carried over: it is the
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
    json!(ArgsSchema { args: args.into_iter().map(spec).collect() })
}

fn spec(arg: &Arg) -> ArgSpec {
    let takes_many = arg.get_num_args().is_some_and(|range| range.max_values() > 1);
    let takes = match arg.get_action() {
        ArgAction::SetTrue | ArgAction::SetFalse => ArgTakes::Flag,
        ArgAction::Count => ArgTakes::Count,
        ArgAction::Append => ArgTakes::Many,
        _ if takes_many => ArgTakes::Many,
        _ => ArgTakes::One,
    };
    let mut spec = ArgSpec {
        id: arg.get_id().to_string(),
        takes,
        long: arg.get_long().map(str::to_owned),
        short: arg.get_short(),
        required: arg.is_required_set(),
        default: Vec::new(),
        possible_values: Vec::new(),
        help: arg.get_help().map(ToString::to_string),
        value_name: None,
    };
    if matches!(takes, ArgTakes::One | ArgTakes::Many) {
        let names = arg.get_value_names().unwrap_or_default();
        spec.value_name = names.first().map(ToString::to_string);
        spec.default = arg.get_default_values().iter().map(|v| v.to_string_lossy().into_owned()).collect();
        spec.possible_values = arg.get_possible_values().iter().map(|v| v.get_name().to_owned()).collect();
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> Command {
        Command::new("send")
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
            .subcommand(Command::new("below").arg(Arg::new("not-here")))
    }

    #[test]
    fn arguments_of_every_kind() {
        let expected = json!({"args": [
            {"id": "quiet", "takes": "flag", "short": "q"},
            {"id": "verbose", "takes": "count", "long": "verbose", "short": "v"},
            {"id": "to", "takes": "one", "long": "to", "value_name": "HOST", "help": "Where to.",
             "default": ["here"], "possible_values": ["here", "there"]},
            {"id": "tag", "takes": "many", "long": "tag"},
            {"id": "what", "takes": "one", "required": true},
            {"id": "files", "takes": "many"},
        ]});
        assert_eq!(clap_json_from(&everything()), expected);
    }

    #[test]
    fn what_is_written_is_of_the_published_schema() {
        let schema = include_str!("../../../protocol/schemas/args_schema.json");
        let schema = serde_json::from_str(schema).expect("JSON");
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        for written in [clap_json_from(&everything()), clap_json_from(&Command::new("x"))] {
            let errors: Vec<String> = validator.iter_errors(&written).map(|e| e.to_string()).collect();
            assert_eq!(errors, Vec::<String>::new(), "{written}");
        }
        let mut wrong = clap_json_from(&everything());
        wrong["args"][0]["takes"] = "three".into();
        assert!(!validator.is_valid(&wrong));
    }

    #[test]
    fn a_command_without_arguments_has_none() {
        assert_eq!(clap_json_from(&Command::new("x")), json!({"args": []}));
    }
}
