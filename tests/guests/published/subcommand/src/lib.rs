//! A subcommand on the SDK 0.0.1: reads its arguments itself, as all of that time did, and shows what it was given. It imports
//! `hm_fs_read_config` and does not ask for it, as some of that time did.

use hm_plugin_sdk::*;

#[derive(Default)]
struct Show;

impl SubcommandPlugin for Show {
    fn run(&self, input: SubcommandInput) -> Result<ExitInfo, PluginError> {
        let words: Vec<&str> = input.verb_path.iter().map(String::as_str).collect();
        let exit =
            |exit_code, message: Option<&str>| Ok(ExitInfo { exit_code, message: message.map(String::from) });
        match words[1..] {
            ["config", name] => {
                let found = host::fs_read_config(name);
                host::write_stdout(&found.unwrap_or_else(|| b"none\n".to_vec()));
                exit(0, None)
            }
            ["exit", code] => exit(code.parse().unwrap_or(2), Some("as you say")),
            ["fail"] => {
                Err(PluginError::new("show_failed", "it was told to").with_doc("https://example.com/fail"))
            }
            _ => {
                host::write_stdout(format!("{words:?} {} {:?}\n", input.args, input.env).as_bytes());
                host::write_stderr(b"that was all\n");
                exit(0, None)
            }
        }
    }
}

register_plugin!(
    manifest = PluginManifest {
        api_version: HM_PLUGIN_API_VERSION,
        name: "published-subcommand".into(),
        version: semver::Version::new(0, 1, 0),
        description: "Shows what a command is given.".into(),
        capabilities: vec![Capability::Subcommand(SubcommandSpec {
            verb: "show".into(),
            about: "Show what a command is given".into(),
            args_schema: serde_json::json!({}),
            subcommands: vec![],
        })],
        required_host_fns: vec!["hm_write_stdout".into(), "hm_write_stderr".into()],
        config_schema: None,
        allowed_hosts: vec![],
    },
    subcommand = Show,
);
