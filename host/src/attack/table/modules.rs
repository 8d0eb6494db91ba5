//! Attacks by the bytes of a module: before any of it runs, what is in it must not hurt who reads, compiles or links
//! it.

use std::time::Duration;

use super::builder::{MIB, attack};
use crate::attack::definition::Attack;
use crate::attack::generated;
use crate::attack::guests::{Guest, file, half};

const MODULE: &str = "module bytes";
const NAMES: &str = "function names";
const LINKS: &str = "links";

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = bytes();
    attacks.extend(imports());
    attacks.extend(names());
    attacks.extend(links());
    attacks
}

fn bytes() -> Vec<Attack> {
    let of = |name: &str, module: Guest| attack(MODULE, format!("bytes/{name}"), module);
    vec![
        of("empty", Box::new(Vec::new)).refused("not a binary"),
        of("text", Box::new(|| b"(module (func (export \"run\")))".to_vec())).refused("not a binary"),
        of("manifest", Box::new(|| b"{\"wasm\": [{\"path\": \"/etc/passwd\"}]}".to_vec()))
            .refused("not a binary"),
        of("component", Box::new(|| b"\0asm\x0d\0\x01\0".to_vec())).refused("component"),
        of("truncated", half("handles")).refused("not a valid module"),
        of("memory64", file("memory64")).refused("not a valid module"),
        of("shared-memory", file("shared_memory")).refused("not a valid module"),
        of("too-large", Box::new(|| vec![0; 33 << 20])).refused("more than"),
        of("locals", Box::new(generated::locals)).refused("not a valid module"),
        of("nested", Box::new(|| generated::nested(30_000))).call("run", "", "ok", ""),
        of("globals", Box::new(|| generated::globals(1_000_001))).refused("not a valid module"),
        of("exports", Box::new(|| generated::exports(100_000))).call("7", "", "ok", "").within(160 * MIB),
        of("more-exports", Box::new(|| generated::exports(1_000_000)))
            .refused("not a valid module")
            .within(160 * MIB),
        of("bomb", Box::new(|| generated::bomb(1000, 1000)))
            .refused("could not be compiled")
            .compiled_in(Duration::from_secs(3)),
    ]
}

/// Imports that only hosts may call, or that do not exist.
fn imports() -> Vec<Attack> {
    let forbidden = ["reset", "input_set", "error_get", "output_offset", "output_length", "memory_bytes"];
    let unknown = [
        ("extism:host/env", "no_such_function"),
        ("extism:host/user", "hm_sandbox_exec"),
        ("wasi_unstable", "fd_write"),
        ("wasi_snapshot_preview1", "sock_connect"),
        ("main", "run"),
    ];
    let of = |module: &'static str, name: &'static str| {
        let guest = Box::new(move || generated::importing(module, name));
        attack(MODULE, format!("import/{name}").replace('_', "-"), guest)
    };
    let forbidden = forbidden.map(|name| of("extism:host/env", name).refused("the host's alone"));
    let unknown = unknown.map(|(module, name)| of(module, name).refused("does not exist"));
    forbidden.into_iter().chain(unknown).collect()
}

fn names() -> Vec<Attack> {
    let of = |name: &str, function: fn() -> Vec<u8>, shown| {
        let attack = attack(NAMES, format!("name/{name}"), Box::new(move || generated::trap_in(&function())));
        attack.call("run", "", "trap", shown)
    };
    vec![
        of("long", || b"n".repeat(8 << 20), "nnn…"),
        of("doubling", || generated::doubling_name(60), "<(u8, (u8, u8), ((u8, u8)"),
        of("deep", || [b"_RMC0", &b"R".repeat(1 << 20)[..], b"h"].concat(), "unreachable"),
        of("terminal", || b"\x1b[2J\r\nerror: forged".to_vec(), "error: forged"),
    ]
}

fn links() -> Vec<Attack> {
    let mut chain = attack(LINKS, "links/doubling", Box::new(|| generated::doubling("c0")))
        .linked("c15", file("command"));
    let names: [&'static str; 16] = [
        "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10", "c11", "c12", "c13", "c14", "c15",
    ];
    for pair in names.windows(2) {
        if let [name, next] = *pair {
            chain = chain.linked(name, Box::new(move || generated::doubling(next)));
        }
    }
    vec![
        attack(LINKS, "links/circle", file("circle_a"))
            .linked("a", file("circle_a"))
            .linked("b", file("circle_b"))
            .refused("in a circle"),
        attack(LINKS, "links/itself", file("circle_b")).linked("a", file("circle_b")).refused("in a circle"),
        attack(LINKS, "links/commands", file("commands")).linked("command", file("command")).call(
            "run",
            "",
            "limit",
            "wasm instances",
        ),
        chain.call("run", "", "limit", "wasm instances"),
    ]
}
