//! `register_plugin!` takes all of its arguments, in an order of the author's choice.
//! The work of the exports is tested where there is a host to call them.

use hm_plugin_sdk::*;

#[derive(Default)]
struct All;

impl LifecycleHook for All {
    fn on_event(&self, _: HookEvent) -> Result<HookOutcome, PluginError> {
        Ok(HookOutcome::Continue)
    }
}

impl OutputFormatter for All {
    fn on_event(&self, _: BuildEvent) -> Result<(), PluginError> {
        Ok(())
    }
}

impl SubcommandPlugin for All {
    fn run(&self, _: SubcommandInput) -> Result<ExitInfo, PluginError> {
        Ok(ExitInfo { exit_code: 0, message: None })
    }
}

impl StepExecutor for All {
    fn run(&self, _: ExecutorInput) -> Result<StepResult, PluginError> {
        Err(PluginError::new("never", "this runner runs nothing"))
    }
}

mod in_this_order {
    use super::*;
    register_plugin!(subcommand = All, output = All, manifest = manifest! {}, hook = All, executor = All);
}

mod in_that_order {
    use super::*;
    register_plugin! {
        manifest = manifest! { name: "all" },
        executor = All,
        hook = All,
        output = All,
        subcommand = All,
    }
}

mod no_capability {
    use super::*;
    register_plugin!(manifest = manifest! {});
}
