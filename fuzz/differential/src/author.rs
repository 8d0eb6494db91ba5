//! Writes scripts of well-behaved guests: those for which both hosts must do the same. What is left out here,
//! operation by operation, is where ours is stricter on purpose.

use crate::model::{Model, Stop};
use crate::script::{self, Op, Operand, Source};

/// Blocks are so small that 1.41 never comes to the end of its memory in a call, where it uses freed blocks again.
const MAX_BLOCK: u64 = 200;

/// The largest exit code that 1.41 takes.
const MAX_EXIT_CODE: i32 = 125;

/// Variables that are asked for in the end.
const VARIABLES: [&[u8]; 4] = [b"k", b"key", b"empty", "größer".as_bytes()];

/// A script and what it will do, as far as its author knows.
#[derive(Clone)]
pub struct Script {
    pub input: Vec<u8>,
    pub ops: Vec<Op>,
    /// End of each of its calls.
    pub stops: Vec<Stop>,
}

/// Reads bytes as a script, leaving out what is not well-behaved.
pub fn script(bytes: &[u8]) -> Script {
    let mut source = Source(bytes);
    let input = source.input();
    let mut author = Author {
        model: Model::new(input.clone()),
        script: Script { input, ops: Vec::new(), stops: Vec::new() },
        results: Vec::new(),
        call_began: 0,
        output: 0,
        error: 0,
    };
    script::read(&mut source, |step| author.write(step));
    author.ask_for_variables();
    if !author.is_between_calls() && !author.is_over() {
        author.script.stops.push(Stop::Return(0));
    }
    author.script
}

#[derive(Clone)]
struct Author {
    model: Model,
    script: Script,
    results: Vec<u64>,
    /// The first operation of this call: offsets of earlier ones mean nothing.
    call_began: usize,
    /// The blocks that were declared output and error: 1.41 reads them when the call is over, ours when they are
    /// declared.
    output: u64,
    error: u64,
}

impl Author {
    /// Takes a step, unless it is not well-behaved.
    fn write(&mut self, step: &[Op]) -> bool {
        let mut next = self.clone();
        let taken = step.iter().all(|op| next.take(op));
        if taken {
            *self = next;
        }
        taken
    }

    fn take(&mut self, op: &Op) -> bool {
        if self.is_over() {
            return false;
        }
        if self.is_between_calls() {
            self.model.begin(None);
            (self.call_began, self.output, self.error) = (self.results.len(), 0, 0);
        }
        let (a, b) = (op.a.value(&self.results), op.b.value(&self.results));
        if !self.is_well_behaved(op, a, b) {
            return false;
        }
        match self.model.step(op, a, b, None) {
            Ok(result) => self.results.push(result),
            Err(Stop::Limit) => return false,
            Err(Stop::Trap) if op.name() != "unreachable" => return false,
            Err(Stop::Exit(code)) if !(0..=MAX_EXIT_CODE).contains(&code) => return false,
            Err(stop) => {
                self.model.end(stop);
                self.script.stops.push(stop);
                self.results.push(0);
            }
        }
        match op.name() {
            "output_set" if b > 0 => self.output = self.base(op.a).unwrap_or(0),
            "output_set" => self.output = 0,
            "error_set" => self.error = a,
            _ => {}
        }
        self.script.ops.push(*op);
        true
    }

    fn is_between_calls(&self) -> bool {
        self.script.ops.last().is_none_or(|last| last.name() == "return")
    }

    /// Nothing comes after an exit or a trap: ours goes on in a fresh instance, 1.41 in the old one.
    fn is_over(&self) -> bool {
        matches!(self.script.stops.last(), Some(Stop::Exit(_) | Stop::Trap))
    }

    fn is_well_behaved(&self, op: &Op, a: u64, b: u64) -> bool {
        match op.name() {
            "alloc" => a <= MAX_BLOCK,
            // Only ours has a ceiling unless told otherwise.
            "memory.grow" => a <= 2,
            // Late and second frees are known from PDKs.
            "free" => a == 0 || self.is_block(op.a) && !self.is_promised(a),
            "length" => a == 0 || self.is_block(op.a) || self.is_inside(op.a, 1),
            "length_unsafe" | "reverse" => self.is_argument(op.a),
            "load_u8" => self.is_readable(op.a, 1),
            "load_u64" => self.is_readable(op.a, 8),
            "store_u8" => self.is_inside(op.a, 1) && !self.is_promised(self.base(op.a).unwrap_or(0)),
            "store_u64" => self.is_inside(op.a, 8) && !self.is_promised(self.base(op.a).unwrap_or(0)),
            // In 1.41, the end of such a range wraps, and the bytes before the input are read.
            "input_load_u64" => a.checked_add(8).is_some(),
            // Without length and offset, 1.41 keeps the output it has.
            "output_set" if b == 0 => self.is_inside(op.a, 1),
            "output_set" => self.is_inside(op.a, b),
            // Text that is not UTF-8 is lost with its call in 1.41.
            "error_set" => self.is_argument(op.a) && self.model.is_text(a),
            "config_get" | "var_get" | "log_trace" | "log_debug" | "log_info" | "log_warn" | "log_error" => {
                self.is_argument(op.a) && !self.is_promised(a)
            }
            "var_set" => {
                let argument = |operand, value| self.is_argument(operand) && !self.is_promised(value);
                argument(op.a, a) && argument(op.b, b)
            }
            _ => true,
        }
    }

    /// The offset that the operand starts from, if it was answered with one in this call.
    fn base(&self, operand: Operand) -> Option<u64> {
        let index = usize::from(operand.result).checked_sub(1)?;
        let made = index >= self.call_began && self.script.ops.get(index)?.makes_block();
        made.then(|| self.results[index]).filter(|offset| *offset != 0)
    }

    /// The start of a block, live or freed.
    fn is_block(&self, operand: Operand) -> bool {
        operand.plus == 0 && self.base(operand).is_some()
    }

    /// Nothing, or the start of a live block.
    fn is_argument(&self, operand: Operand) -> bool {
        let nothing = operand.plus == 0 && operand.value(&self.results) == 0;
        nothing && self.is_zero_for_both(operand) || operand.plus == 0 && self.is_inside(operand, 1)
    }

    /// Results that are 0 here are 0 there, if they are compared at all.
    fn is_zero_for_both(&self, operand: Operand) -> bool {
        operand.result == 0 || usize::from(operand.result) > self.call_began
    }

    /// So many bytes of a live block.
    fn is_inside(&self, operand: Operand, bytes: u64) -> bool {
        let end = operand.plus.checked_add(bytes);
        self.base(operand).zip(end).is_some_and(|(base, end)| self.model.holds(base, end))
    }

    /// So many bytes of a block, live or freed.
    fn is_readable(&self, operand: Operand, bytes: u64) -> bool {
        let end = operand.plus.checked_add(bytes);
        self.base(operand).zip(end).is_some_and(|(base, end)| self.model.can_read(base, end))
    }

    fn is_promised(&self, offset: u64) -> bool {
        offset != 0 && (offset == self.output || offset == self.error)
    }

    /// More calls, each of which outputs a variable.
    fn ask_for_variables(&mut self) {
        if !self.is_between_calls() {
            self.write(&[Op::new("return", Operand::default(), Operand::default())]);
        }
        for name in VARIABLES {
            self.write(&[Op::new("input_offset", Operand::default(), Operand::default())]);
            let key = Operand::result_of(self.results.len());
            self.write(&script::text_block(name, self.results.len()));
            let value = Operand::result_of(self.results.len());
            self.write(&[Op::new("var_get", key, Operand::default())]);
            let length = self.model.length_of(self.results.last().copied().unwrap_or(0));
            self.write(&[Op::new("output_set", value, Operand::number(length))]);
            self.write(&[Op::new("return", Operand::default(), Operand::default())]);
        }
    }
}
