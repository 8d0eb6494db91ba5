//! Attacks on time and stack: loops anywhere, recursion, work that costs the guest little; and what an abnormal end
//! leaves behind.

use std::time::Duration;

use super::builder::{attack, one};
use crate::attack::definition::Attack;
use crate::attack::generated;
use crate::attack::guests::file;

const LOOPS: &str = "loops";
const STACK: &str = "stack";
const HOST_CALLS: &str = "host calls";
const ENDS: &str = "ends";

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = loops();
    attacks.extend(stack());
    attacks.extend(host_calls());
    attacks.extend(ends());
    attacks
}

fn loops() -> Vec<Attack> {
    let mut attacks = Vec::new();
    for export in ["spin", "calls", "tail", "indirect", "divide", "grow"] {
        attacks.push(one(LOOPS, "loops", export).until_deadline(export));
    }
    attacks.push(attack(LOOPS, "loops/fuel", file("loops")).until_out_of(100_000_000, "spin"));
    for guest in ["start_spin", "initialize_spin", "ctors_spin", "hs_init_spin"] {
        attacks.push(attack(LOOPS, guest.replace('_', "-"), file(guest)).until_deadline("run"));
    }
    attacks.push(attack(LOOPS, "start-spin/fuel", file("start_spin")).until_out_of(100_000_000, "run"));
    attacks
}

fn stack() -> Vec<Attack> {
    let overflow = "stack exhausted";
    let mut attacks = Vec::new();
    for export in ["recursion", "mutual", "indirect", "host", "wasi"] {
        attacks.push(one(STACK, "stack", export).call(export, "", "trap", overflow));
    }
    attacks.push(attack(STACK, "start-recursion", file("start_recursion")).call("run", "", "trap", overflow));
    let wide = attack(STACK, "wide-frame", Box::new(|| generated::wide_frame(5000)));
    attacks.push(wide.call("run", "", "trap", overflow));
    attacks
}

fn host_calls() -> Vec<Attack> {
    let mut attacks = Vec::new();
    for export in ["log", "log_below", "alloc", "config", "var_get", "error", "output"] {
        attacks.push(one(HOST_CALLS, "host_calls", export).until_out_of(50_000_000, export));
    }
    attacks.push(one(HOST_CALLS, "host_calls", "http").call("http", "", "denied", "http_request"));
    // Too cheap for fuel to end them soon.
    attacks.push(one(HOST_CALLS, "host_calls", "headers").until_deadline("headers"));
    attacks.push(one(HOST_CALLS, "blocks", "look").until_deadline("look"));
    attacks
}

fn ends() -> Vec<Attack> {
    let after = |export: &'static str, kind, says| {
        one(ENDS, "state", export)
            .call("leave", "", "guest", "")
            .call(export, "", kind, says)
            .call("look", "", "ok", "")
    };
    let mut spin = after("spin", "timed-out", "");
    (spin.fuel, spin.deadline) = (u64::MAX, Duration::from_millis(200));
    let mut cancelled = attack(ENDS, "cancelled", file("state"))
        .call("spin", "", "cancelled", "")
        .call("spin", "", "cancelled", "")
        .cancelled_after(Duration::from_millis(200));
    cancelled.fuel = u64::MAX;
    let message = "the plug-in's own message: its own words";
    let mut late = one(ENDS, "errors", "spin").call("spin", "its own words", "timed-out", message);
    (late.fuel, late.deadline) = (u64::MAX, Duration::from_millis(200));
    vec![
        after("trap", "trap", "unreachable"),
        after("exit", "exit", "3"),
        spin,
        cancelled,
        one(ENDS, "errors", "trap").call("trap", "its own words", "trap", message),
        one(ENDS, "errors", "exit").call("exit", "its own words", "guest", "its own words").call(
            "exit_start",
            "its own words",
            "exit",
            "-2147483648",
        ),
        late,
    ]
}
