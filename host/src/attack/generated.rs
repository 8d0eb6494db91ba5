//! Guests too large or too broken for a text file: made byte by byte, when they are wanted.

/// A module under construction.
struct Binary(Vec<u8>);

// Numbers of sections, in the order in which they must come; the custom one may be anywhere.
const TYPES: u8 = 1;
const IMPORTS: u8 = 2;
const FUNCTIONS: u8 = 3;
const MEMORIES: u8 = 5;
const GLOBALS: u8 = 6;
const EXPORTS: u8 = 7;
const CODE: u8 = 10;
const CUSTOM: u8 = 0;

/// One type: nothing in, nothing out.
const NOTHING: &[u8] = &[0x60, 0, 0];
const I32: u8 = 0x7f;
const V128: u8 = 0x7b;
/// No result of a block or loop.
const NO_RESULT: u8 = 0x40;

impl Binary {
    fn new() -> Self {
        Self(b"\0asm\x01\0\0\0".to_vec())
    }

    /// Adds a section of as many entries.
    fn entries(self, id: u8, count: usize, entries: &[u8]) -> Self {
        self.section(id, &[&number(count)[..], entries].concat())
    }

    fn section(mut self, id: u8, body: &[u8]) -> Self {
        self.0.push(id);
        self.0.extend(number(body.len()));
        self.0.extend(body);
        self
    }

    /// Adds the code of one function: its declarations of locals, its instructions.
    fn code(self, locals: &[(usize, u8)], instructions: &[u8]) -> Self {
        let mut body = number(locals.len());
        for (count, ty) in locals {
            body.extend(number(*count));
            body.push(*ty);
        }
        body.extend(instructions);
        body.push(0x0b);
        self.entries(CODE, 1, &[number(body.len()), body].concat())
    }

    /// Begins a module with one function, exported as `run`.
    fn run() -> Self {
        Self::new().entries(TYPES, 1, NOTHING).entries(FUNCTIONS, 1, &[0])
    }

    fn exporting_run(self) -> Self {
        self.entries(EXPORTS, 1, &[&name(b"run")[..], &[0, 0]].concat())
    }
}

/// Number in LEB128, unsigned.
fn number(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn name(bytes: &[u8]) -> Vec<u8> {
    [&number(bytes.len())[..], bytes].concat()
}

/// A module that imports one function that takes and gives nothing.
pub(super) fn importing(module: &str, function: &str) -> Vec<u8> {
    let import = [name(module.as_bytes()), name(function.as_bytes()), vec![0, 0]].concat();
    Binary::new().entries(TYPES, 1, NOTHING).entries(IMPORTS, 1, &import).0
}

/// A function that asks for 64 KiB of random bytes over and over, without a loop: it passes none of the engine's ticks.
pub(super) fn random_row(calls: usize) -> Vec<u8> {
    let types = [NOTHING, &[0x60, 2, I32, I32, 1, I32]].concat();
    let import = [&name(b"wasi_snapshot_preview1")[..], &name(b"random_get"), &[0, 1]].concat();
    let exports = [&name(b"run")[..], &[0, 1], &name(b"memory"), &[2, 0]].concat();
    // i32.const 0, i32.const 65536, call 0, drop
    let call = [0x41, 0, 0x41, 0x80, 0x80, 0x04, 0x10, 0, 0x1a];
    Binary::new()
        .entries(TYPES, 2, &types)
        .entries(IMPORTS, 1, &import)
        .entries(FUNCTIONS, 1, &[0])
        .entries(MEMORIES, 1, &[0, 2])
        .entries(EXPORTS, 2, &exports)
        .code(&[], &call.repeat(calls))
        .0
}

/// A command that calls the `go` of another module twice in its own `go`, and exports that as `run` as well.
pub(super) fn doubling(next: &str) -> Vec<u8> {
    let import = [name(next.as_bytes()), name(b"go"), vec![0, 0]].concat();
    let exports: Vec<u8> = [&b"go"[..], b"run", b"_start"]
        .iter()
        .flat_map(|export| [name(export), vec![0, 1]].concat())
        .collect();
    Binary::new()
        .entries(TYPES, 1, NOTHING)
        .entries(IMPORTS, 1, &import)
        .entries(FUNCTIONS, 1, &[0])
        .entries(EXPORTS, 3, &exports)
        .code(&[], &[0x10, 0, 0x10, 0])
        .0
}

/// A function that declares four billion variables in a dozen bytes.
pub(super) fn locals() -> Vec<u8> {
    Binary::run().exporting_run().code(&[(0xffff_ffff, I32)], &[]).0
}

/// A function with blocks in blocks.
pub(super) fn nested(depth: usize) -> Vec<u8> {
    let instructions = [[0x02, NO_RESULT].repeat(depth), vec![0x0b; depth]].concat();
    Binary::run().exporting_run().code(&[], &instructions).0
}

/// A small function that is too much for a compiler: loops in loops, and variables that all change in the innermost.
pub(super) fn bomb(loops: usize, variables: usize) -> Vec<u8> {
    let mut instructions = [0x03, NO_RESULT].repeat(loops);
    for variable in 0..variables {
        let variable = number(variable);
        // Add one.
        instructions.extend([&[0x20][..], &variable, &[0x41, 1, 0x6a, 0x21], &variable].concat());
    }
    // Back to the loop's start, unless variable 0 is 0.
    instructions.extend([0x20, 0, 0x0d, 0, 0x0b].repeat(loops));
    Binary::run().exporting_run().code(&[(variables, I32)], &instructions).0
}

/// A function that calls itself with this many vectors in hand.
pub(super) fn wide_frame(vectors: usize) -> Vec<u8> {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for vector in 0..vectors {
        let vector = number(vector);
        // From memory, and back.
        before.extend([&[0x41, 0, 0xfd, 0, 4, 0, 0x21][..], &vector].concat());
        after.extend([&[0x41, 0, 0x20][..], &vector, &[0xfd, 11, 4, 0]].concat());
    }
    Binary::run()
        .entries(MEMORIES, 1, &[0, 1])
        .exporting_run()
        .code(&[(vectors, V128)], &[before, vec![0x10, 0], after].concat())
        .0
}

/// One function under very many names.
pub(super) fn exports(count: usize) -> Vec<u8> {
    let exports: Vec<u8> =
        (0..count).flat_map(|number| [name(format!("{number}").as_bytes()), vec![0, 0]].concat()).collect();
    Binary::run().entries(EXPORTS, count, &exports).code(&[], &[]).0
}

/// Very many global variables.
pub(super) fn globals(count: usize) -> Vec<u8> {
    Binary::run()
        .entries(GLOBALS, count, &[I32, 1, 0x41, 0, 0x0b].repeat(count))
        .exporting_run()
        .code(&[], &[])
        .0
}

/// A trap in a function with this name.
pub(super) fn trap_in(function: &[u8]) -> Vec<u8> {
    // Subsection 1: names of functions; of one, the first.
    let names = [vec![1, 0], name(function)].concat();
    let names = [vec![1], number(names.len()), names].concat();
    Binary::run().exporting_run().code(&[], &[0x00]).section(CUSTOM, &[name(b"name"), names].concat()).0
}

/// A Rust name in which each part is twice the one before it.
pub(super) fn doubling_name(times: usize) -> Vec<u8> {
    // A tuple of tuples; `B` and a number in base 62 is what is written at that place.
    let mut symbol = b"MC0T".to_vec();
    let mut before = symbol.len();
    symbol.push(b'h');
    for _ in 0..times {
        let again = [&b"B"[..], &base_62(before), b"_"].concat();
        before = symbol.len();
        symbol.extend([&b"T"[..], &again, &again, b"E"].concat());
    }
    [&b"_R"[..], &symbol, b"E"].concat()
}

/// A number as Rust names have it: nothing for 0, else one less in base 62.
fn base_62(number: usize) -> Vec<u8> {
    const DIGITS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let Some(mut rest) = number.checked_sub(1) else { return Vec::new() };
    let mut digits = Vec::new();
    loop {
        digits.insert(0, DIGITS[rest % 62]);
        rest /= 62;
        if rest == 0 {
            return digits;
        }
    }
}
