//! A guest that uses the Rust PDK as it is meant to be used: typed input and output, config, variables, logs, errors
//! with and without a code, imported functions.

use anyhow::{anyhow, Context};
use extism_pdk::{
    config, error, host_fn, info, plugin_fn, trace, var, FnResult, FromBytes, HttpRequest, Json, ToBytes,
    WithReturnCode,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, ToBytes, FromBytes)]
#[encoding(Json)]
struct Greeting {
    name: String,
    times: u32,
}

#[host_fn]
extern "ExtismHost" {
    fn join(left: String, right: Vec<u8>) -> String;
    fn is_even(number: u64) -> bool;
    fn double(number: i32) -> i32;
    fn find(key: String) -> Json<Option<Greeting>>;
    fn note(text: String);
}

#[host_fn("other")]
extern "ExtismHost" {
    fn half(number: f64) -> f64;
}

#[plugin_fn]
pub fn count_vowels(text: String) -> FnResult<Json<Vec<usize>>> {
    Ok(Json("aeiou".chars().map(|vowel| text.matches(vowel).count()).collect()))
}

#[plugin_fn]
pub fn echo(bytes: Vec<u8>) -> FnResult<Vec<u8>> {
    Ok(bytes)
}

#[plugin_fn]
pub fn nothing(_: ()) -> FnResult<()> {
    Ok(())
}

#[plugin_fn]
pub fn greet(Json(greeting): Json<Greeting>) -> FnResult<String> {
    let with = config::get("greeting")?.unwrap_or_else(|| "no greeting".to_owned());
    Ok(format!("{with}, {}! ", greeting.name).repeat(greeting.times.try_into()?))
}

#[plugin_fn]
pub fn counter() -> FnResult<u32> {
    let count = var::get::<u32>("count")?.unwrap_or(0) + 1;
    var::set("count", count)?;
    Ok(count)
}

#[plugin_fn]
pub fn forget() -> FnResult<()> {
    var::remove("count")?;
    Ok(())
}

#[plugin_fn]
pub fn log(text: String) -> FnResult<()> {
    trace!("not wanted: {text}");
    info!("{text}");
    error!("{text} again");
    Ok(())
}

#[plugin_fn]
pub fn fail(text: String) -> FnResult<()> {
    let number: Result<u32, _> = text.parse();
    number.with_context(|| format!("reading {text:?}"))?;
    Err(WithReturnCode::new(anyhow!("that was a number"), 42))
}

#[plugin_fn]
pub fn panic(text: String) -> FnResult<()> {
    panic!("{text}")
}

#[plugin_fn]
pub fn host_functions(text: String) -> FnResult<String> {
    // Arguments are freed after the call, and before its result is read.
    let joined = unsafe { join(text.clone(), text.into_bytes())? };
    let length = joined.len();
    let (even, doubled) = unsafe { (is_even(length.try_into()?)?, double(-(i32::try_from(length)?))?) };
    let half = unsafe { half(doubled.into())? };
    unsafe { note(format!("joined {length}"))? };
    let found = unsafe { find(joined.clone())? };
    let found =
        found.0.map_or_else(|| "nothing".to_owned(), |found| format!("{} {}", found.name, found.times));
    Ok(format!("{joined} {even} {doubled} {half} {found}"))
}

#[plugin_fn]
pub fn fetch(url: String) -> FnResult<Vec<u8>> {
    Ok(extism_pdk::http::request::<()>(&HttpRequest::new(url), None)?.body())
}

#[plugin_fn]
pub fn print(_: ()) -> FnResult<String> {
    println!("to standard output");
    eprintln!("to standard error");
    let variables = std::env::vars().count();
    let arguments = std::env::args().count();
    let file = std::fs::read("/etc/passwd").is_ok();
    Ok(format!("{variables} variables, {arguments} arguments, file {file}"))
}
