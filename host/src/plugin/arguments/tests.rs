//! Forms that parse as they say, and forms that no parser can be made of.

use serde_json::json;

use super::*;

fn verb(args_schema: Value, subcommands: &[SubcommandSpec]) -> SubcommandSpec {
    named("verb", args_schema, subcommands)
}

fn named(verb: &str, args_schema: Value, subcommands: &[SubcommandSpec]) -> SubcommandSpec {
    SubcommandSpec {
        verb: verb.into(),
        about: "Does it.".into(),
        args_schema,
        subcommands: subcommands.to_vec(),
    }
}

fn refused(args: &Value) -> String {
    CommandParser::read(&verb(json!({"args": args}), &[])).expect_err("refused").reason
}

fn parse(form: &CommandParser, words: &[&str]) -> Result<ParsedCommand, String> {
    let matches = form.command().try_get_matches_from(words).map_err(|e| e.to_string())?;
    Ok(form.typed(&matches))
}

fn send() -> Value {
    json!({"args": [
        {"id": "what", "takes": "one", "required": true},
        {"id": "files", "takes": "many"},
        {"id": "quiet", "takes": "flag", "short": "q"},
        {"id": "verbose", "takes": "count", "short": "v", "long": "verbose"},
        {"id": "to", "takes": "one", "long": "to", "default": ["here"], "possible_values": ["here", "there"]},
        {"id": "by", "takes": "one", "long": "by"},
        {"id": "tag", "takes": "many", "long": "tag"},
    ]})
}

#[test]
fn every_kind_of_argument_has_its_kind_of_value() {
    let form = CommandParser::read(&verb(send(), &[])).expect("a form");
    let typed = parse(&form, &["verb", "x"]).expect("parsed");
    let unloaded =
        json!({"what": "x", "files": [], "quiet": false, "verbose": 0, "to": "here", "by": null, "tag": []});
    assert_eq!(typed, ParsedCommand { verb_path: vec!["verb".into()], args: unloaded });
    let words =
        ["verb", "-qvv", "x", "a", "b", "--to=there", "--tag", "1", "--by", "me", "--tag", "2", "--", "-c"];
    let given = json!({"what": "x", "files": ["a", "b", "-c"], "quiet": true, "verbose": 2, "to": "there",
        "by": "me", "tag": ["1", "2"]});
    assert_eq!(parse(&form, &words).expect("parsed").args, given);
    for wrong in [&["verb"][..], &["verb", "x", "--to", "nowhere"], &["verb", "x", "--else"]] {
        assert!(parse(&form, wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn commands_below_commands_share_one_object() {
    let many = json!([{"id": "from", "takes": "many", "required": true},
        {"id": "into", "takes": "one", "required": true}]);
    let copy = named("copy", json!({"args": many}), &[]);
    let form = verb(json!({"args": [{"id": "all", "takes": "flag", "long": "all"}]}), &[copy]);
    let form = CommandParser::read(&form).expect("a form");
    let typed = parse(&form, &["verb", "--all", "copy", "a", "b", "c"]).expect("parsed");
    assert_eq!(typed.verb_path, ["verb", "copy"]);
    assert_eq!(typed.args, json!({"all": true, "from": ["a", "b"], "into": "c"}));
    assert_eq!(parse(&form, &["verb"]).expect("parsed").args, json!({"all": false}));
    assert!(!form.is_unparsed(&["verb".into(), "copy".into()]));
}

#[test]
fn what_declares_no_arguments_gets_the_words() {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for schema in [Value::Null, json!({}), json!("args"), json!([{"args": []}]), json!({"type": "object"})] {
        let form = CommandParser::read(&verb(schema.clone(), &[named("sub", send(), &[])])).expect("a form");
        assert!(form.is_unparsed(&words("verb sub --help")), "{schema}");
    }
    let form = verb(json!({"args": []}), &[named("raw", Value::Null, &[]), named("not", send(), &[])]);
    let form = CommandParser::read(&form).expect("a form");
    assert!(form.is_unparsed(&words("verb raw -- --x")));
    assert!(!form.is_unparsed(&words("verb not raw")) && !form.is_unparsed(&words("verb")));
    let below = verb(json!({"args": [{"id": "x", "takes": "one"}]}), &[named("raw", Value::Null, &[])]);
    let error = CommandParser::read(&below).expect_err("refused").to_string();
    assert_eq!(error, "its command `verb raw` declares no arguments, but a command above it does");
}

#[test]
fn arguments_that_contradict_each_other_are_refused() {
    let flag = |id: &str| json!({"id": id, "takes": "flag", "long": id});
    let cases = [
        (json!({"args": 1}), "of another form"),
        (json!([{"id": "x"}]), "missing field `takes`"),
        (json!([{"id": "x", "takes": "three", "long": "x"}]), "unknown variant `three`"),
        (json!([flag("a"), flag("a")]), "two arguments of the id `a`"),
        (json!([flag("a"), {"id": "b", "takes": "flag", "long": "a"}]), "cannot call `b` `--a`"),
        (
            json!([{"id": "a", "takes": "one", "short": "x"}, {"id": "b", "takes": "one", "short": "x"}]),
            "`-x`",
        ),
        (json!([{"id": "a", "takes": "one", "short": "h"}]), "`-h`"),
        (json!([{"id": "a", "takes": "one", "short": "-"}]), "`--`"),
        (json!([{"id": "a", "takes": "one", "long": "help"}]), "`--help`"),
        (json!([{"id": "help", "takes": "flag", "short": "x"}]), "the id `help`"),
        (json!([{"id": "a", "takes": "one", "long": "--a"}]), "`----a`"),
        (json!([{"id": "a", "takes": "one", "long": ""}]), "`--`"),
        (json!([{"id": "\u{1b}[2J", "takes": "one"}]), "the id `\\u{1b}[2J`"),
        (json!([{"id": "a", "takes": "flag"}]), "takes nothing and has no name"),
        (
            json!([{"id": "a", "takes": "count", "long": "a", "default": ["1"]}]),
            "takes nothing and has values",
        ),
        (json!([{"id": "a", "takes": "one", "default": ["1", "2"]}]), "several by default"),
        (
            json!([{"id": "a", "takes": "one", "default": ["1"], "possible_values": ["2"]}]),
            "does not allow it",
        ),
        (json!([{"id": "a", "takes": "one", "possible_values": ["2", "2"]}]), "`2` twice"),
        (json!([{"id": "a", "takes": "one", "default": ["\u{1b}]0;x\u{7}"]}]), "cannot be shown"),
        (json!([{"id": "a", "takes": "one"}, {"id": "b", "takes": "one", "required": true}]), "behind `a`"),
        (
            json!([{"id": "a", "takes": "many"}, {"id": "b", "takes": "one"}]),
            "which takes many, before others",
        ),
        (
            json!([{"id": "a", "takes": "many", "required": true}, {"id": "b", "takes": "many", "required": true}]),
            "before others",
        ),
        (Value::Array((0..101).map(|i| flag(&format!("a{i}"))).collect()), "has 101 arguments"),
    ];
    for (args, expected) in cases {
        let args = if args.is_object() { args["args"].clone() } else { args };
        let reason = refused(&args);
        assert!(reason.contains(expected), "{args}: {reason}");
    }
}

#[test]
fn trees_of_commands_are_bounded_and_have_names() {
    let plain = json!({"args": []});
    let deep = (0..8).fold(named("x", plain.clone(), &[]), |below, _| named("x", plain.clone(), &[below]));
    assert!(CommandParser::read(&deep).is_err());
    let wide: Vec<_> = (0..200).map(|i| named(&format!("x{i}"), plain.clone(), &[])).collect();
    assert!(CommandParser::read(&verb(plain.clone(), &wide)).is_err());
    assert!(CommandParser::read(&verb(plain.clone(), &wide[1..])).is_ok());
    for name in ["help", "-x", "", "a b", "a/b", "é"] {
        let error = CommandParser::read(&verb(plain.clone(), &[named(name, plain.clone(), &[])]));
        assert!(error.is_err(), "{name:?}");
    }
    let twice = [named("x", plain.clone(), &[]), named("x", plain.clone(), &[])];
    let error = CommandParser::read(&verb(plain, &twice)).expect_err("refused").to_string();
    assert_eq!(error, "its command `verb` has two commands `x`");
}

#[test]
fn the_help_shows_texts_and_nothing_that_moves_the_cursor() {
    let args = json!({"args": [{"id": "a", "takes": "one", "long": "aa", "help": "First\n\u{1b}[2Jsecond\u{202e}",
        "value_name": "\u{7}"}]});
    let mut spec = verb(args, &[]);
    spec.about = format!("About\r{}", "x".repeat(2000));
    let form = CommandParser::read(&spec).expect("a form");
    let help = form.command().render_long_help().to_string();
    assert!(["First", "[2Jsecond", "About"].iter().all(|part| help.contains(part)), "{help}");
    assert!(!help.contains(|c| is_invisible(c) && c != '\n') && help.len() < 1500, "{help}");
}

#[test]
fn completions_hold_nothing_that_a_shell_would_run() {
    let args = json!({"args": [
        {"id": "a", "takes": "one", "long": "aa", "help": "it's `id` $(id) ; \"x\" [y]", "value_name": "$(id)",
         "possible_values": ["$(id)", "fine"]},
        {"id": "b", "takes": "one", "long": "bb", "possible_values": ["one", "two"]},
    ]});
    let mut spec = verb(args, &[]);
    spec.about = "`id`$(id)'".into();
    let form = CommandParser::read(&spec).expect("a form").for_shells();
    for shell in [
        clap_complete::Shell::Bash,
        clap_complete::Shell::Zsh,
        clap_complete::Shell::Fish,
        clap_complete::Shell::Elvish,
        clap_complete::Shell::PowerShell,
    ] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Command::new("hm").subcommand(form.command()), "hm", &mut script);
        let script = String::from_utf8(script).expect("text");
        assert!(
            script.contains("bb")
                && (script.contains("one")
                    || shell == clap_complete::Shell::Elvish
                    || shell == clap_complete::Shell::PowerShell),
            "{script}"
        );
        for bad in ["$(id)", "`id`", "it's"] {
            assert!(!script.contains(bad), "{shell}: {bad}");
        }
    }
}

/// A small generator (xorshift64*): good enough to choose with, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        &choices[usize::try_from(high).expect("31 bits") % choices.len()]
    }

    fn one_in(&mut self, chances: u8) -> bool {
        *self.of(&(0..chances).collect::<Vec<_>>()) == 0
    }

    /// A command of few words, so that they often collide.
    fn spec(&mut self, depth: usize) -> SubcommandSpec {
        let names = ["a", "b", "c", "d", "e", "version"];
        let mut args = Vec::new();
        for _ in 0..*self.of(&[0, 1, 1, 2, 3, 4]) {
            let mut arg = json!({"id": self.of(&names), "takes": self.of(&["flag", "count", "one", "many"])});
            if self.one_in(2) {
                arg["long"] = (*self.of(&["a", "b", "c", "version", "help", "d.e"])).into();
            }
            if self.one_in(3) {
                arg["short"] = (*self.of(&["a", "b", "V", "h", "1"])).into();
            }
            arg["required"] = self.one_in(2).into();
            if self.one_in(4) {
                arg["default"] = json!([self.of(&["x", "y", "", "-x"])]);
            }
            if self.one_in(4) {
                arg["possible_values"] = json!([self.of(&["x", ""]), self.of(&["y", "-x"])]);
            }
            if self.one_in(4) {
                arg["value_name"] = (*self.of(&["X", "", "<>", "a b", "{usage}"])).into();
                arg["help"] = (*self.of(&["", "help", "{about}\n"])).into();
            }
            args.push(arg);
        }
        let schema = if self.one_in(8) { Value::Null } else { json!({"args": args}) };
        let below = if depth == 0 { 0 } else { *self.of(&[0, 0, 1, 2]) };
        let below: Vec<_> = (0..below).map(|_| self.spec(depth - 1)).collect();
        let name: &str = self.of::<&str>(&["a", "b", "c", "help", "x"]);
        named(name, schema, &below)
    }
}

#[test]
fn whatever_is_accepted_makes_a_parser_that_parses() {
    let words = [
        "a",
        "b",
        "c",
        "x",
        "y",
        "--a",
        "--b=x",
        "-a",
        "-ab",
        "--",
        "-1",
        "--version",
        "--d.e",
        "-V",
        "",
        "--help",
    ];
    let (mut accepted, mut parsed) = (0, 0);
    for seed in 1..20_000_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let spec = dice.spec(2);
        let Ok(form) = CommandParser::read(&spec) else { continue };
        accepted += 1;
        // With debug assertions clap panics here, if it is given what contradicts itself.
        form.command().debug_assert();
        form.for_shells().command().debug_assert();
        let typed: Vec<String> = std::iter::once(spec.verb.as_str())
            .chain((0..*dice.of(&[0, 1, 2, 3, 5])).map(|_| *dice.of(&words)))
            .map(str::to_owned)
            .collect();
        if form.is_unparsed(&typed) {
            continue;
        }
        if let Ok(matches) = form.command().try_get_matches_from(&typed) {
            parsed += 1;
            let ParsedCommand { verb_path, args } = form.typed(&matches);
            assert!(args.is_object() && typed[0] == verb_path[0], "seed {seed}: {typed:?}");
        }
    }
    assert!(accepted > 2_000 && parsed > 500, "{accepted} {parsed}");
}
