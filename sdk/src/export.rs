//! The body of an exported function: it reads the input, and writes the output or the error.
//! Used by the expansion of `register_plugin!`, not by authors.

use extism_pdk::{FromBytesOwned, ToMemory};
use hm_plugin_protocol::PluginError;

/// Extism's return code of a call that went well.
#[cfg(target_arch = "wasm32")]
const OK: i32 = 0;
/// Extism's return code of a call that ended in a [`PluginError`].
#[cfg(target_arch = "wasm32")]
const FAILED: i32 = 1;

/// Reads the call's input, calls, and sets the call's output or error; the result is the export's.
#[cfg(target_arch = "wasm32")]
pub fn call<I, O, F>(capability: F) -> i32
where
    I: FromBytesOwned,
    O: ToMemory,
    F: FnOnce(I) -> Result<O, PluginError>,
{
    let outcome = extism_pdk::input::<I>()
        .map_err(|error| {
            PluginError::new("invalid_input", format!("the host's input cannot be read: {error}"))
        })
        .and_then(capability)
        .and_then(|output| {
            extism_pdk::output(output).map_err(|error| {
                PluginError::new("invalid_output", format!("the plugin's output cannot be written: {error}"))
            })
        });
    match outcome {
        Ok(()) => OK,
        Err(error) => {
            crate::imports::set_error(&error_text(&error));
            FAILED
        }
    }
}

/// Off wasm32 there is no caller: this only checks that the capability has the right type.
#[cfg(not(target_arch = "wasm32"))]
pub fn call<I, O, F>(_capability: F) -> i32
where
    I: FromBytesOwned,
    O: ToMemory,
    F: FnOnce(I) -> Result<O, PluginError>,
{
    0
}

/// The text of the Extism error that stands for this error.
#[must_use]
pub fn error_text(error: &PluginError) -> String {
    serde_json::to_string(error).unwrap_or_else(|_| error.message.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_error_carries_all_of_it() {
        let error =
            PluginError::new("no_image", "image \"x\" is not there").with_doc("https://example.com/x");
        assert_eq!(
            error_text(&error),
            r#"{"code":"no_image","message":"image \"x\" is not there","doc_url":"https://example.com/x"}"#
        );
        assert_eq!(serde_json::from_str::<PluginError>(&error_text(&error)).unwrap(), error);
    }
}
