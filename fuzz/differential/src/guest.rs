//! Calls of a guest that was built with the Rust PDK, with what people write in it. (A reactor in C cannot be
//! compared: where an initialiser calls a function of the host, 1.41 follows a null pointer.)

use anyhow::{Context, Result, bail};

use crate::{compare_answer, ours, theirs};

/// Exports and inputs. The trap is the last: ours goes on in a fresh instance then.
const CALLS: &[(&str, &str)] = &[
    ("count_vowels", "Hello, World"),
    ("count_vowels", ""),
    ("echo", "a text of more than eight bytes, ü"),
    ("echo", ""),
    ("nothing", ""),
    ("greet", r#"{"name":"Ada","times":3}"#),
    ("greet", "no JSON"),
    ("greet", r#"{"name":"Ada","times":0}"#),
    ("counter", ""),
    ("counter", ""),
    ("forget", ""),
    ("counter", ""),
    ("fail", "x"),
    ("fail", "5"),
    ("counter", ""),
    ("host_functions", "text"),
    ("host_functions", "texts"),
    ("host_functions", ""),
    ("print", ""),
    ("panic", "now"),
];

/// Compares outputs, errors, and the functions of the host that were called; the number of calls.
pub fn compare(wasm: &[u8]) -> Result<usize> {
    let (ours, our_calls) = ours::Guest::new(wasm)?.call_all(CALLS);
    let (theirs, their_calls) = theirs::Guest::new(wasm)?.call_all(CALLS)?;
    for ((our, their), (export, input)) in ours.iter().zip(&theirs).zip(CALLS) {
        compare_answer(our, their, None).with_context(|| format!("`{export}` of {input:?}"))?;
    }
    // Theirs has made all calls twice.
    if [our_calls.clone(), our_calls.clone()].concat() != their_calls {
        bail!("functions of the host were called differently: {our_calls:?}, {their_calls:?}");
    }
    Ok(CALLS.len())
}
