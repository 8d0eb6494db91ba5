//! The `runner_args` of a step, for the runners that are built into `hm`: the same for all of them, so that a step
//! moves from one to another unchanged. What a runner does with it is the runner's.

use hm_plugin_sdk::*;
use serde::Deserialize;

/// Exit code of a step that did what was asked and could not hand over what it produced.
pub const NO_ARTIFACTS: i32 = 73;

/// Most patterns of artifacts that a step may have.
const ARTIFACTS_MAX: usize = 100;

/// Arguments that these runners know. All others are left alone: pipelines carry arguments for several runners.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct RunnerArgs {
    /// The shell that gets the command after `-c`.
    pub shell: String,
    /// True if the command may use the network.
    pub network: bool,
    /// Artifacts of the step: patterns of paths in its workspace.
    pub artifacts: Vec<String>,
}

impl Default for RunnerArgs {
    fn default() -> Self {
        Self { shell: "sh".into(), network: true, artifacts: Vec::new() }
    }
}

impl RunnerArgs {
    /// The same, as the schema that the host checks steps against.
    #[must_use]
    pub fn schema() -> JsonSchema {
        let defaults = Self::default();
        serde_json::json!({
            "type": "object",
            "properties": {
                "shell": {
                    "type": "string",
                    "minLength": 1,
                    "default": defaults.shell,
                    "description": "The shell that gets the command after -c.",
                },
                "network": {
                    "type": "boolean",
                    "default": defaults.network,
                    "description": "Whether the command may use the network.",
                },
                "artifacts": {
                    "type": "array",
                    "items": { "type": "string", "minLength": 1 },
                    "maxItems": ARTIFACTS_MAX,
                    "default": defaults.artifacts,
                    "description": "What the step produces: patterns of paths in its workspace, such as dist/*.whl.",
                },
            },
            "additionalProperties": true,
        })
    }

    /// Reads a step's arguments for this runner; a step without any gets the defaults. What means nothing here is said.
    ///
    /// # Errors
    /// `invalid_runner_args`: an argument of another type, or artifacts that are not in the workspace.
    pub fn of(step: &CommandStep, runner: &str) -> Result<Self, PluginError> {
        let invalid = |reason: String| {
            PluginError::new("invalid_runner_args", format!("runner_args of step `{}`: {reason}", step.key))
        };
        let args = match &step.runner_args {
            None | Some(serde_json::Value::Null) => Self::default(),
            Some(args) => Self::deserialize(args).map_err(|error| invalid(error.to_string()))?,
        };
        // Now, and not when the command has run for an hour.
        if let Some(path) = args
            .artifacts
            .iter()
            .find(|path| path.starts_with('/') || path.split('/').any(|part| part == ".."))
        {
            return Err(invalid(format!(
                "artifacts: `{path}` leads out of the workspace; paths are relative to it and have no `..`"
            )));
        }
        // A typo in `network` should not go unnoticed.
        let names = step.runner_args.iter().filter_map(|args| args.as_object()).flat_map(|args| args.keys());
        for name in names.filter(|name| !["shell", "network", "artifacts"].contains(&name.as_str())) {
            let message = format!("step `{}`: runner `{runner}` knows no argument `{name}`", step.key);
            host::log(Level::Warn, &message);
        }
        Ok(args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mock::Host;

    fn read(runner_args: serde_json::Value) -> (Result<RunnerArgs, PluginError>, Host) {
        let step =
            CommandStep { key: "test".into(), runner_args: Some(runner_args), ..CommandStep::default() };
        mock::with(Host::default(), || RunnerArgs::of(&step, "local"))
    }

    #[test]
    fn arguments_are_chosen() {
        let (args, host) =
            read(serde_json::json!({"shell": "bash", "network": false, "artifacts": ["a..b/..c", "."]}));
        let args = args.unwrap();
        assert_eq!((args.shell.as_str(), args.network, args.artifacts.len()), ("bash", false, 2));
        assert!(host.logs.is_empty(), "{:?}", host.logs);
        for nothing in [serde_json::Value::Null, serde_json::json!({})] {
            let args = read(nothing).0.unwrap();
            assert_eq!((args.shell.as_str(), args.network, args.artifacts.len()), ("sh", true, 0));
        }
    }

    #[test]
    fn arguments_that_mean_nothing_here_are_said_and_do_no_harm() {
        let (args, host) = read(serde_json::json!({"netwrk": {"a": [1, 2]}, "network": true}));
        assert!(args.unwrap().network);
        let message = "step `test`: runner `local` knows no argument `netwrk`".to_owned();
        assert_eq!(host.logs, [(Level::Warn, message)]);
    }

    #[test]
    fn arguments_of_a_wrong_type_are_an_error() {
        let error = read(serde_json::json!({"network": "no"})).0.unwrap_err();
        assert_eq!(error.code, "invalid_runner_args");
        assert!(error.message.starts_with("runner_args of step `test`: invalid type"), "{}", error.message);
    }

    #[test]
    fn artifacts_outside_of_the_workspace_are_refused() {
        for path in ["/etc/passwd", "../x", "a/../../x", "a/.."] {
            let error = read(serde_json::json!({ "artifacts": [path] })).0.unwrap_err();
            assert_eq!(error.code, "invalid_runner_args");
            let expected =
                format!("runner_args of step `test`: artifacts: `{path}` leads out of the workspace");
            assert!(error.message.starts_with(&expected), "{}", error.message);
        }
    }
}
