//! Attacks on memory: forged offsets, and taking more than there is.

use super::builder::{MIB, attack, one};
use crate::attack::definition::Attack;
use crate::attack::guests::file;

const OFFSETS: &str = "offsets and lengths";
const GROWTH: &str = "growth";

/// Offsets at which no block ever starts.
const FORGED: [u64; 13] = [
    1,
    15,
    4095,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_1000,
    1 << 53,
    1 << 63,
    u64::MAX / 2,
    u64::MAX - 4095,
    u64::MAX - 7,
    u64::MAX,
];

/// Offsets that `handles.wat` takes for blocks: freed, inside a block, past its end, of an earlier call.
const ONCE: [u64; 4] = [1, 2, 3, 4];

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = forged();
    attacks.extend(growth());
    attacks
}

fn forged() -> Vec<Attack> {
    let mut attacks = Vec::new();
    for export in ["length", "load", "store", "free", "input"] {
        attacks.push(every_offset(one(OFFSETS, "handles", export), export, "ok", ""));
    }
    for export in
        ["error", "config", "var_get", "var_key", "var_value", "log", "log_below", "http", "http_body"]
    {
        let attack = one(OFFSETS, "handles", export).reaching(&["*"]);
        attacks.push(every_offset(attack, export, "trap", "block"));
    }
    // Output may begin inside a block; where it may not, is tried with the ranges below.
    let output = FORGED.iter().fold(one(OFFSETS, "handles", "output"), |attack, offset| {
        attack.call("output", numbers(*offset, 0), "trap", "which no block holds")
    });
    attacks.push(output);

    let mut ranges = one(OFFSETS, "handles", "output_range");
    for (from, length) in [
        (0, 17),
        (1, 16),
        (15, 2),
        (16, 1),
        (0, 32),
        (0, u64::MAX),
        (0, u64::MAX - 4095),
        (0, 1 << 63),
        (0, 1 << 32),
        (8, u64::MAX - 7),
        (u64::MAX, 8),
        (u64::MAX - 4095, u64::MAX),
    ] {
        ranges = ranges.call("output_range", numbers(from, length), "trap", "which no block holds");
    }
    attacks.push(ranges.call("output_range", numbers(4, 12), "ok", ""));

    let mut lengths = one(OFFSETS, "handles", "alloc");
    for length in [
        u64::MAX,
        u64::MAX - 1,
        u64::MAX - 11,
        u64::MAX - 4095,
        1 << 63,
        (1 << 63) - 1,
        1 << 53,
        1 << 40,
        (1 << 32) + 10,
        1 << 30,
    ] {
        lengths = lengths.call("alloc", numbers(length, 0), "limit", "bytes");
    }
    attacks.push(lengths);
    attacks
}

fn every_offset(mut attack: Attack, export: &'static str, kind: &'static str, says: &'static str) -> Attack {
    for offset in FORGED {
        attack = attack.call(export, numbers(offset, 0), kind, says);
    }
    for how in ONCE {
        // The one of an earlier call needs one.
        attack = attack.call("keep", "", "ok", "").call(export, numbers(0, how), kind, says);
    }
    attack
}

fn numbers(one: u64, two: u64) -> Vec<u8> {
    [one.to_le_bytes(), two.to_le_bytes()].concat()
}

fn growth() -> Vec<Attack> {
    vec![
        one(GROWTH, "blocks", "large").call("large", "", "limit", "bytes").within(320 * MIB),
        one(GROWTH, "blocks", "small").call("small", "", "limit", "blocks"),
        one(GROWTH, "blocks", "churn").until_out_of(500_000_000, "churn"),
        one(GROWTH, "blocks", "output").until_out_of(200_000_000, "output").within(320 * MIB),
        one(GROWTH, "blocks", "error").call("error", "", "trap", "unreachable"),
        one(GROWTH, "blocks", "error_huge").call("error_huge", "", "trap", "unreachable").within(480 * MIB),
        attack(GROWTH, "memory/outside-with-fuel", file("memory"))
            .call("outside", "", "trap", "out of bounds")
            .fuel(u64::MAX),
        one(GROWTH, "memory", "ceiling").call("ceiling", "", "ok", "").within(416 * MIB),
        one(GROWTH, "memory", "beyond").call("beyond", "", "ok", ""),
        one(GROWTH, "memory", "fill").until_deadline("fill").within(416 * MIB),
        one(GROWTH, "memory", "copy").until_deadline("copy").within(416 * MIB),
        one(GROWTH, "memory", "outside").call("outside", "", "out-of-fuel", ""),
        one(GROWTH, "memory", "table").call("table", "", "ok", "").fuel(u64::MAX),
        one(GROWTH, "memory", "table_fill").until_deadline("table_fill"),
        attack(GROWTH, "huge-memory", file("huge_memory")).refused("65536 pages"),
        attack(GROWTH, "huge-table", file("huge_table")).refused("10000000 elements"),
        one(GROWTH, "vars", "count").call("count", "", "limit", "variables: 1025"),
        one(GROWTH, "vars", "bytes").call("bytes", "", "limit", "bytes of variables"),
        one(GROWTH, "vars", "large").call("large", "", "limit", "bytes of variables"),
        one(GROWTH, "vars", "long_key").call("long_key", "", "limit", "bytes of variables"),
        one(GROWTH, "vars", "over_and_over").until_out_of(50_000_000, "over_and_over"),
    ]
}
