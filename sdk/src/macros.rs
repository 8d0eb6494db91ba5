//! `register_plugin!`: from a manifest and up to four types to the exports that the host calls.
//! The body of an export is in `export`.

/// Makes the exports of a plugin: `hm_manifest`, and those of each capability.
///
/// Takes `manifest = EXPRESSION` and any of `executor`, `hook`, `output` and `subcommand` with a type each, in
/// any order. The types implement [`StepExecutor`](crate::StepExecutor), [`LifecycleHook`](crate::LifecycleHook),
/// [`OutputFormatter`](crate::OutputFormatter) and [`SubcommandPlugin`](crate::SubcommandPlugin), and [`Default`]:
/// every call gets a new value.
///
/// Functions are exported on wasm32 only; elsewhere the arguments are type-checked and nothing else, so that a
/// plugin's unit tests link.
///
/// ```
/// use hm_plugin_sdk::*;
///
/// #[derive(Default)]
/// struct Quiet;
///
/// impl OutputFormatter for Quiet {
///     fn on_event(&self, _: BuildEvent) -> Result<(), PluginError> {
///         Ok(())
///     }
/// }
///
/// register_plugin!(output = Quiet, manifest = manifest! { name: "quiet", description: "Shows nothing." });
/// ```
///
/// A plugin without a manifest does not compile:
///
/// ```compile_fail
/// # use hm_plugin_sdk::*;
/// # #[derive(Default)]
/// # struct Quiet;
/// # impl OutputFormatter for Quiet {
/// #     fn on_event(&self, _: BuildEvent) -> Result<(), PluginError> { Ok(()) }
/// # }
/// register_plugin!(output = Quiet);
/// ```
#[macro_export]
macro_rules! register_plugin {
    ($($registration:tt)*) => { $crate::__register_plugin!([] $($registration)*); };
}

/// Takes one `key = value` at a time off the registration; `[manifest]` in front says that it was among them.
#[doc(hidden)]
#[macro_export]
macro_rules! __register_plugin {
    ([] $(,)?) => { compile_error!("register_plugin! needs `manifest = …`"); };
    ([manifest] $(,)?) => {};
    ([] manifest = $manifest:expr $(, $($rest:tt)*)?) => {
        $crate::__register_plugin!(@export hm_manifest, |()| Ok($crate::extism_pdk::Json::<$crate::PluginManifest>($manifest)));
        $crate::__register_plugin!([manifest] $($($rest)*)?);
    };
    ([$($seen:ident)?] executor = $type:ty $(, $($rest:tt)*)?) => {
        $crate::__register_plugin!(@export hm_executor_run, |$crate::extism_pdk::Json(input)| {
            $crate::StepExecutor::run(&<$type as ::core::default::Default>::default(), input)
                .map($crate::extism_pdk::Json)
        });
        $crate::__register_plugin!([$($seen)?] $($($rest)*)?);
    };
    ([$($seen:ident)?] hook = $type:ty $(, $($rest:tt)*)?) => {
        $crate::__register_plugin!(@export hm_hook_on_event, |$crate::extism_pdk::Json(event)| {
            $crate::LifecycleHook::on_event(&<$type as ::core::default::Default>::default(), event)
                .map($crate::extism_pdk::Json)
        });
        $crate::__register_plugin!([$($seen)?] $($($rest)*)?);
    };
    ([$($seen:ident)?] output = $type:ty $(, $($rest:tt)*)?) => {
        $crate::__register_plugin!(@export hm_output_on_event, |$crate::extism_pdk::Json(event)| {
            $crate::OutputFormatter::on_event(&<$type as ::core::default::Default>::default(), event)
        });
        $crate::__register_plugin!(@export hm_output_finalize, |()| {
            $crate::OutputFormatter::finalize(&<$type as ::core::default::Default>::default())
        });
        $crate::__register_plugin!([$($seen)?] $($($rest)*)?);
    };
    ([$($seen:ident)?] subcommand = $type:ty $(, $($rest:tt)*)?) => {
        $crate::__register_plugin!(@export hm_subcommand_run, |$crate::extism_pdk::Json(input)| {
            $crate::SubcommandPlugin::run(&<$type as ::core::default::Default>::default(), input)
                .map($crate::extism_pdk::Json)
        });
        $crate::__register_plugin!([$($seen)?] $($($rest)*)?);
    };
    (@export $name:ident, $capability:expr) => {
        #[cfg(target_arch = "wasm32")]
        #[unsafe(no_mangle)]
        #[doc(hidden)]
        pub extern "C" fn $name() -> i32 {
            $crate::export::call($capability)
        }
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() -> i32 = || $crate::export::call($capability);
    };
}
