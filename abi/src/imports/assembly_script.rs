//! The one import that AssemblyScript adds of its own accord: `env.abort`, a trap that says where and why.

use wasmtime::{Caller, Linker};

use crate::fault::Fault;
use crate::state::InstanceState;

/// Most bytes of a text that are read from the guest.
const MAX_TEXT_BYTES: usize = 8 * 1024;

/// Links `abort` of the module `env`.
pub(super) fn link<T: Send + 'static>(linker: &mut Linker<InstanceState<T>>) -> wasmtime::Result<()> {
    linker.func_wrap("env", "abort", abort::<T>)?;
    Ok(())
}

fn abort<T: Send + 'static>(
    mut caller: Caller<'_, InstanceState<T>>,
    message: u32,
    file: u32,
    line: u32,
    column: u32,
) -> wasmtime::Result<()> {
    let memory = caller.get_export("memory").and_then(wasmtime::Extern::into_memory);
    let bytes = memory.as_ref().map_or(&[][..], |memory| memory.data(&caller));
    let message = text_at(bytes, message).unwrap_or_else(|| "abort".to_owned());
    let file = text_at(bytes, file).unwrap_or_else(|| "unknown file".to_owned());
    Err(Fault::Misuse(format!("abort: {message} at {file}:{line}:{column}")).into())
}

/// The string at `pointer`: UTF-16, its length in bytes in the four bytes before. Nothing if any of it is
/// outside `memory`.
fn text_at(memory: &[u8], pointer: u32) -> Option<String> {
    let start = usize::try_from(pointer).ok()?;
    let header = memory.get(start.checked_sub(4)?..)?.first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*header)).ok()?.min(MAX_TEXT_BYTES);
    let text = memory.get(start..start.checked_add(length)?)?;
    let units = text.chunks_exact(2).filter_map(|pair| Some(u16::from_le_bytes(*pair.first_chunk()?)));
    Some(char::decode_utf16(units).map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_read_only_where_memory_is() {
        let mut memory = vec![4, 0, 0, 0, b'h', 0, b'i', 0];
        assert_eq!(text_at(&memory, 4).as_deref(), Some("hi"));
        for pointer in [0, 3, 5, 8, 100, u32::MAX] {
            assert_eq!(text_at(&memory, pointer), None, "{pointer}");
        }
        memory[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(text_at(&memory, 4), None);
        let lone_surrogate = [2, 0, 0, 0, 0x00, 0xd8];
        assert_eq!(text_at(&lone_surrogate, 4).as_deref(), Some("\u{fffd}"));
    }
}
