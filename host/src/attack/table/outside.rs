//! Attacks on what is outside: the system through WASI, the network, the terminal.

use super::builder::{MIB, attack, one};
use crate::attack::definition::Attack;
use crate::attack::generated;
use crate::attack::guests::file;

const WASI: &str = "wasi";
const HTTP: &str = "http";
const LOG: &str = "log";

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = wasi();
    attacks.extend(http());
    attacks.extend(log());
    attacks
}

fn wasi() -> Vec<Attack> {
    let mut exit = one(WASI, "wasi", "exit").call("exit", 0_u64.to_le_bytes(), "ok", "");
    for (code, says) in [
        (1, "code 1"),
        (126, "code 126"),
        (256, "code 256"),
        (-1, "code -1"),
        (i64::from(i32::MIN), "code -2147483648"),
    ] {
        exit = exit.call("exit", code.to_le_bytes(), "exit", says);
    }
    let mut attacks = vec![
        one(WASI, "wasi", "sleep").until_deadline("sleep"),
        one(WASI, "wasi", "subscriptions").until_deadline("subscriptions").within(160 * MIB),
        one(WASI, "wasi", "subscriptions_outside").call("subscriptions_outside", "", "ok", ""),
        exit,
        one(WASI, "wasi", "reach").call("reach", "", "ok", ""),
        one(WASI, "wasi", "descriptors").call("descriptors", "", "ok", ""),
        one(WASI, "wasi", "random_4_gib").call("random_4_gib", "", "out-of-fuel", ""),
        one(WASI, "wasi", "random").until_deadline("random"),
        attack(WASI, "wasi/random-without-a-loop", Box::new(|| generated::random_row(20_000)))
            .until_deadline("run"),
    ];
    for export in ["write", "write_large", "write_empty", "read", "clock", "yield"] {
        attacks.push(one(WASI, "wasi", export).until_deadline(export));
    }
    attacks
}

fn http() -> Vec<Attack> {
    let request = |url: &str| format!(r#"{{"url": "{url}"}}"#);
    let mut no_grant = attack(HTTP, "http/no-grant", file("http"));
    let mut granted = attack(HTTP, "http/everything-granted", file("http")).reaching(&["*"]);
    let mut other =
        attack(HTTP, "http/another-granted", file("http")).reaching(&["127.0.0.1:1", "*.localhost"]);
    for url in [
        "http://127.0.0.1:{port}/",
        "https://127.0.0.1:{port}/",
        "https://localhost:{port}/",
        "https://LOCALHOST.:{port}/",
        "https://2130706433:{port}/",
        "https://0x7f.1:{port}/",
        "https://0177.0.0.1:{port}/",
        "https://127.1:{port}/",
        "https://0.0.0.0:{port}/",
        "https://[::1]:{port}/",
        "https://[::ffff:127.0.0.1]:{port}/",
        "https://[::127.0.0.1]:{port}/",
        "https://[64:ff9b::7f00:1]:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[fd00:ec2::254]/latest/meta-data/",
        "https://[::ffff:169.254.169.254]/",
        "https://10.0.0.1/",
        "https://192.168.0.1/",
        "http://example.com/",
    ] {
        no_grant = no_grant.call("request", request(url), "denied", "http_request");
        granted = granted.call("request", request(url), "denied", "http_request to ");
        other = other.call("body", request(url), "denied", "http_request to ");
    }
    let mut malformed = attack(HTTP, "http/malformed", file("http")).reaching(&["*"]);
    for text in [
        "",
        "{}",
        "[1]",
        "{\"url\": 7}",
        "\u{1b}[2J",
        r#"{"url": "file:///etc/passwd"}"#,
        r#"{"url": "unix:/run/docker.sock"}"#,
        r#"{"url": "https://user:password@example.com/"}"#,
        r#"{"url": "https://example.com/", "method": "CONNECT"}"#,
        r#"{"url": "https://example.com/", "method": "GET / HTTP/1.1\r\nHost: a"}"#,
        r#"{"url": "https://example.com/", "headers": {"Host": "127.0.0.1"}}"#,
        r#"{"url": "https://example.com/", "headers": {"a": "b\r\nHost: c"}}"#,
        r#"{"url": "https://example.com/", "headers": {"a\r\nHost": "c"}}"#,
    ] {
        malformed = malformed.call("request", text, "trap", "http_request");
    }
    let nested = format!(r#"{{"url": "https://example.com/", "headers": {}"#, "[".repeat(100_000));
    malformed = malformed.call("request", nested, "trap", "http_request");
    vec![no_grant, granted, other, malformed]
}

fn log() -> Vec<Attack> {
    let mut lines = attack(LOG, "log/lines", file("log"));
    for line in [
        &b"\x1b[2J\x1b[1;1Herror: not hm's own words"[..],
        b"\x1b]0;title\x07\x1b]8;;http://example.com\x1b\\link",
        b"\x1b]52;c;cm0gLXJmIH4=\x07",
        b"\x1bP1$r\x1b\\\x90\x9b31m",
        b"harmless\rdangerous",
        b"one\nerror: two\r\nhint: three",
        b"\0\x01\x02\x7f\x08\x08\x08",
        b"\xff\xfe\xc0\xaf\xe2\x82",
        "\u{9b}2J \u{202e}txt.exe \u{2066} \u{2028} \u{85}".as_bytes(),
    ] {
        lines = lines.call("line", line, "ok", "");
    }
    vec![
        lines,
        one(LOG, "log", "flood").until_out_of(100_000_000, "flood"),
        one(LOG, "log", "long").call("long", "", "ok", "").within(320 * MIB),
        one(LOG, "log", "longer").call("longer", "", "limit", "bytes"),
    ]
}
