//! Scripts of host calls: what they are, how any bytes are read as one, and the guest that plays them.
//! Their results are the model's affair. Nothing here depends on the host, so that others can play them too.

/// Most operations of a script. The guest has room for so many results.
pub const MAX_OPS: usize = 256;

/// Wasm type of an operand or a result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    I32,
    I64,
}

/// Something a guest can do in one step.
struct Call {
    name: &'static str,
    module: &'static str,
    params: &'static [Type],
    result: Option<Type>,
}

const fn env(name: &'static str, params: &'static [Type], result: Option<Type>) -> Call {
    Call { name, module: "extism:host/env", params, result }
}

/// An instruction of wasm, not an import.
const fn instruction(name: &'static str) -> Call {
    Call { name, module: "", params: &[Type::I32], result: Some(Type::I32) }
}

const ONE: &[Type] = &[Type::I64];
const TWO: &[Type] = &[Type::I64, Type::I64];
const OFFSET: Option<Type> = Some(Type::I64);

/// All of it. An operation names its call by the place in this list.
const CALLS: &[Call] = &[
    env("alloc", ONE, OFFSET),
    env("free", ONE, None),
    env("length", ONE, OFFSET),
    env("length_unsafe", ONE, OFFSET),
    env("load_u8", ONE, Some(Type::I32)),
    env("load_u64", ONE, OFFSET),
    env("store_u8", &[Type::I64, Type::I32], None),
    env("store_u64", TWO, None),
    env("input_offset", &[], OFFSET),
    env("input_length", &[], OFFSET),
    env("input_load_u8", ONE, Some(Type::I32)),
    env("input_load_u64", ONE, OFFSET),
    env("output_set", TWO, None),
    env("error_set", ONE, None),
    env("config_get", ONE, OFFSET),
    env("var_get", ONE, OFFSET),
    env("var_set", TWO, None),
    env("log_trace", ONE, None),
    env("log_debug", ONE, None),
    env("log_info", ONE, None),
    env("log_warn", ONE, None),
    env("log_error", ONE, None),
    env("get_log_level", &[], Some(Type::I32)),
    env("http_status_code", &[], Some(Type::I32)),
    env("http_headers", &[], OFFSET),
    // The one user function: its argument, backwards.
    Call { name: "reverse", module: "extism:host/user", params: ONE, result: OFFSET },
    Call { name: "proc_exit", module: "wasi_snapshot_preview1", params: &[Type::I32], result: None },
    instruction("memory.grow"),
    instruction("return"),
    instruction("unreachable"),
];

/// One step of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    call: u8,
    pub a: Operand,
    pub b: Operand,
}

/// A number that a script computes: an earlier result, or 0, plus something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Operand {
    /// 0 for 0, else one more than the index of the operation whose result it is.
    pub result: u16,
    /// Added to the result; wraps around.
    pub plus: u64,
}

impl Operand {
    /// The result of the operation with this index.
    pub fn result_of(index: usize) -> Self {
        Self { result: u16::try_from(index + 1).expect("a short script"), plus: 0 }
    }

    pub fn number(plus: u64) -> Self {
        Self { result: 0, plus }
    }

    /// Its value, when these are the results so far.
    pub fn value(self, results: &[u64]) -> u64 {
        let base = usize::from(self.result).checked_sub(1).map_or(0, |index| results[index]);
        base.wrapping_add(self.plus)
    }
}

impl Op {
    /// An operation by the name of its call.
    pub fn new(name: &str, a: Operand, b: Operand) -> Self {
        let call = CALLS.iter().position(|call| call.name == name).expect("a call in the list");
        Self { call: call.try_into().expect("a short list"), a, b }
    }

    fn bare(name: &str) -> Self {
        Self::new(name, Operand::default(), Operand::default())
    }

    /// True if its result is the offset of a block, or 0 for none.
    pub fn makes_block(&self) -> bool {
        ["alloc", "input_offset", "config_get", "var_get", "reverse"].contains(&self.name())
    }

    pub fn name(&self) -> &'static str {
        CALLS[usize::from(self.call)].name
    }
}

/// Texts that blocks are filled with: keys and values, some of them traps for the host.
const TEXTS: [&[u8]; 10] = [
    b"k",
    b"key",
    b"empty",
    b"gr\xc3\xb6\xc3\x9fer",
    b"\xff\xfe",
    b"line\r\n",
    b"\x1b[31m",
    b"\xed\xa0\x80",
    &[b'x'; 70],
    &[0; 9],
];

/// Bytes read one after the other; 0 past the end.
pub struct Source<'a>(pub &'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes([(); 8].map(|()| self.byte()))
    }

    /// A number of a size that matters somewhere.
    fn number(&mut self) -> u64 {
        let choice = self.byte();
        match choice % 8 {
            0..=4 => u64::from(choice / 8),
            5 => u64::from(self.byte()) << (choice / 8 % 16),
            6 => u64::MAX - u64::from(self.byte()),
            _ => self.u64(),
        }
    }

    /// The offset of one of the last blocks, most often just as it is.
    fn near(&mut self, ops: &[Op]) -> Operand {
        let choice = self.byte();
        let blocks = (0..ops.len()).rev().filter(|index| ops[*index].makes_block());
        let back = usize::from(choice / 8) % blocks.clone().count().clamp(1, 32);
        let block = blocks.clone().nth(back).map_or(Operand::default(), Operand::result_of);
        match choice % 8 {
            0..=4 => block,
            5 | 6 => Operand { plus: u64::from(self.byte()).wrapping_sub(16), ..block },
            _ => Operand::number(self.number()),
        }
    }

    /// The input of the calls of a script.
    pub fn input(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte() % 40);
        (0..length).map(|_| self.byte()).collect()
    }

    /// The next step after these: one operation, or the few that fill a block with a text. Nothing at the end.
    fn step(&mut self, ops: &[Op]) -> Vec<Op> {
        let choice = usize::from(self.byte());
        if self.0.is_empty() {
            return Vec::new();
        }
        let none = Operand::default();
        let call = CALLS.get(choice % (CALLS.len() + 10)).map(|call| call.name);
        let (a, b) = match call {
            None => return self.text(ops.len()),
            // Few scripts should end early.
            Some("proc_exit" | "unreachable") if self.byte() > 20 => return self.text(ops.len()),
            Some("alloc" | "input_load_u8" | "input_load_u64" | "memory.grow" | "return" | "proc_exit") => {
                (Operand::number(self.number()), none)
            }
            Some("store_u8" | "store_u64") => (self.near(ops), Operand::number(self.u64())),
            Some("output_set") => (self.near(ops), Operand::number(self.number())),
            Some("var_set") => (self.near(ops), self.near(ops)),
            Some(_) => (self.near(ops), none),
        };
        let mut made: Vec<Op> = call.map(|name| Op::new(name, a, b)).into_iter().collect();
        // What is stored after they were set is in output and error too.
        if matches!(call, Some("output_set" | "error_set")) {
            made.push(Op::new("store_u8", a, Operand::number(u64::from(b'!'))));
        }
        made
    }

    fn text(&mut self, made: usize) -> Vec<Op> {
        text_block(TEXTS[usize::from(self.byte()) % TEXTS.len()], made)
    }
}

/// Reads a script. Steps that `keep` does not want are left out; the first operation of each call asks where the
/// input is.
pub fn read(source: &mut Source<'_>, mut keep: impl FnMut(&[Op]) -> bool) -> Vec<Op> {
    let mut ops: Vec<Op> = Vec::new();
    loop {
        let begins = ops.last().is_none_or(|last| last.name() == "return");
        let step = if begins { vec![Op::bare("input_offset")] } else { source.step(&ops) };
        if step.is_empty() || ops.len() + step.len() > MAX_OPS {
            return ops;
        }
        if keep(&step) {
            ops.extend(step);
        }
    }
}

/// Number of calls that play a script to its end, which is an exit where there is one.
#[allow(dead_code, reason = "who writes scripts for others knows how many calls there are")]
pub fn calls(ops: &[Op]) -> usize {
    let exit = ops.iter().position(|op| op.name() == "proc_exit");
    let ops = exit.map_or(ops, |exit| &ops[..=exit]);
    let ends_open = ops.last().is_none_or(|last| last.name() != "return");
    ops.iter().filter(|op| op.name() == "return").count() + usize::from(ends_open)
}

/// A block with this text: what each PDK does for a string.
pub fn text_block(text: &[u8], made: usize) -> Vec<Op> {
    let length = text.len().try_into().expect("a short text");
    let block = Operand::result_of(made);
    let mut ops = vec![Op::new("alloc", Operand::number(length), Operand::default())];
    for (index, chunk) in (0_u64..).step_by(8).zip(text.chunks(8)) {
        if let Ok(word) = chunk.try_into() {
            let at = Operand { plus: index, ..block };
            ops.push(Op::new("store_u64", at, Operand::number(u64::from_le_bytes(word))));
            continue;
        }
        for (index, byte) in (index..).zip(chunk) {
            let at = Operand { plus: index, ..block };
            ops.push(Op::new("store_u8", at, Operand::number((*byte).into())));
        }
    }
    ops
}

/// A script as the guest's `load` takes it.
pub fn encode(ops: &[Op]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for op in ops {
        for (head, operand) in [(op.call.into(), op.a), (0, op.b)] {
            bytes.extend(u32::to_le_bytes(head));
            bytes.extend(u32::from(operand.result).to_le_bytes());
            bytes.extend(operand.plus.to_le_bytes());
        }
    }
    bytes
}

/// The numbers in the output of the guest's `results`.
pub fn decode(results: &[u8]) -> Vec<u64> {
    let (words, _) = results.as_chunks();
    words.iter().map(|word| u64::from_le_bytes(*word)).collect()
}

/// The guest that plays scripts, as module text.
///
/// `load` takes a script. `run` plays it up to a `return`, or its end; the next `run` goes on from there. `results`
/// gives the results of all operations played, eight bytes each.
pub fn guest() -> String {
    let mut imports = String::new();
    let mut arms = String::new();
    for (number, call) in CALLS.iter().enumerate() {
        let name = call.name;
        let operands: Vec<String> = call
            .params
            .iter()
            .zip(["(local.get $a)", "(local.get $b)"])
            .map(|(ty, operand)| match ty {
                Type::I32 => format!("(i32.wrap_i64 {operand})"),
                Type::I64 => operand.to_owned(),
            })
            .collect();
        let operands = operands.join(" ");
        let action = match (call.module, name) {
            ("", "return") => format!("(return {operands})"),
            ("", "unreachable") => "(unreachable)".to_owned(),
            ("", _) => format!("(local.set $result (i64.extend_i32_u ({name} {operands})))"),
            (module, _) => {
                let word = |ty: &Type| if *ty == Type::I32 { "i32 " } else { "i64 " };
                let params: String = call.params.iter().map(word).collect();
                let result = call.result.as_ref().map_or("", word);
                imports += &format!(
                    "(import \"{module}\" \"{name}\" (func ${name} (param {params}) (result {result})))\n"
                );
                match call.result {
                    None => format!("(call ${name} {operands})"),
                    Some(Type::I32) => {
                        format!("(local.set $result (i64.extend_i32_u (call ${name} {operands})))")
                    }
                    Some(Type::I64) => format!("(local.set $result (call ${name} {operands}))"),
                }
            }
        };
        arms += &format!("(if (i32.eq (local.get $call) (i32.const {number})) (then {action}))\n");
    }
    include_str!("player.wat").replace(";; imports", &imports).replace(";; arms", &arms)
}
