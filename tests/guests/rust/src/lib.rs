//! A guest that uses the Rust PDK as it is meant to be used: typed input and output, config, variables, logs, errors
//! with and without a code, HTTP. Functions of the host are imported in `imports`.

mod imports;

use anyhow::{anyhow, Context};
use extism_pdk::{
    config, error, info, plugin_fn, trace, var, FnResult, FromBytes, HttpRequest, Json, ToBytes,
    WithReturnCode,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, ToBytes, FromBytes)]
#[encoding(Json)]
struct Greeting {
    name: String,
    times: u32,
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
