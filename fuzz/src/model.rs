//! A model of host calls: the ABI as `abi/src/spec.md` states it, written as simply as can be and without a
//! look at how the host does it. It knows one instance and its calls, one operation after the other.

use std::collections::{BTreeMap, VecDeque};

use super::script::Op;

/// Ceilings, small enough to be reached, and the rest of what an instance is given.
pub const MEMORY_BYTES: usize = 16 * 1024;
pub const BLOCKS: usize = 24;
pub const VARS: usize = 4;
pub const VAR_BYTES: usize = 400;
pub const LOG_LINES: usize = 4;
pub const LOG_BYTES: usize = 100;
pub const MEMORY_PAGES: u32 = 3;
/// The threshold is `info`.
pub const LOG_LEVEL: u64 = 2;
pub const CONFIG: [(&str, &str); 3] = [("k", "value"), ("empty", ""), ("größer", "\u{0}")];

/// Offsets stay below this.
const END: u64 = 1 << 53;

/// An end of a call before it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    Return(i32),
    Exit(i32),
    Trap,
    Limit,
}

/// Outcome of a call, for whoever made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Output(Vec<u8>),
    Guest { code: i32, message: Option<String> },
    Exit { code: i32, message: Option<String> },
    Trap { message: Option<String> },
    Limit { message: Option<String> },
}

/// A line of log: its level from 0 (trace) to 4 (error), and what was given; nothing for the line that tells of
/// dropped ones.
pub type Line = (u64, Option<Vec<u8>>);

/// Bytes that are read when the call is over.
#[derive(Clone)]
enum Pending {
    Unset,
    /// Offset and length, in a live block.
    Range(u64, u64),
    /// Those of a block that was freed, as it was then.
    Bytes(Vec<u8>),
}

#[derive(Clone)]
struct Block {
    bytes: Vec<u8>,
    live: bool,
}

/// Model of one instance.
#[derive(Clone)]
pub struct Model {
    input: Vec<u8>,
    vars: BTreeMap<String, Vec<u8>>,
    pages: u32,
    pub log: Vec<Line>,

    // Of one call.
    blocks: BTreeMap<u64, Block>,
    /// Freed blocks that can still be read, oldest first.
    freed: VecDeque<u64>,
    /// The lowest offset that a new block may have.
    next: u64,
    input_offset: u64,
    output: Pending,
    error: Pending,
    lines: usize,
    logged: usize,
    dropped: bool,
}

impl Model {
    pub fn new(input: Vec<u8>) -> Self {
        Self {
            input,
            vars: BTreeMap::new(),
            pages: 1,
            log: Vec::new(),
            blocks: BTreeMap::new(),
            freed: VecDeque::new(),
            next: 1,
            input_offset: 0,
            output: Pending::Unset,
            error: Pending::Unset,
            lines: 0,
            logged: 0,
            dropped: false,
        }
    }

    /// A call begins. `input_offset` is where the host says that the input is, if it has been asked.
    pub fn begin(&mut self, input_offset: Option<u64>) {
        self.blocks.clear();
        self.freed.clear();
        self.next = 1;
        (self.output, self.error) = (Pending::Unset, Pending::Unset);
        (self.lines, self.logged, self.dropped) = (0, 0, false);
        self.input_offset = 0;
        self.input_offset = self.new_block(self.input.clone(), input_offset).expect("room for the input");
    }

    /// One operation with these operands: its result, or the end of the call. Offsets of new blocks are the host's
    /// choice, and `answer` is what it chose; without one, some are made up.
    pub fn step(&mut self, op: &Op, a: u64, b: u64, answer: Option<u64>) -> Result<u64, Stop> {
        match op.name() {
            "alloc" => {
                let size = usize::try_from(a).unwrap_or(usize::MAX);
                self.check_room(size)?;
                return self.new_block(vec![0; size], answer);
            }
            "free" => self.free(a),
            "length" | "length_unsafe" => return Ok(self.live(a).map_or(0, length)),
            "load_u8" => return Ok(self.bytes(a, 1).map_or(0, |bytes| bytes[0].into())),
            "load_u64" => return Ok(self.bytes(a, 8).map_or(0, |bytes| word(bytes))),
            "store_u8" => {
                let [low, ..] = b.to_le_bytes();
                if let Some(bytes) = self.bytes(a, 1) {
                    bytes[0] = low;
                }
            }
            "store_u64" => {
                if let Some(bytes) = self.bytes(a, 8) {
                    bytes.copy_from_slice(&b.to_le_bytes());
                }
            }
            "input_offset" => return Ok(self.input_offset),
            "input_length" => return Ok(self.input_bytes().map_or(0, length)),
            "input_load_u8" => return Ok(self.input_range(a, 1).map_or(0, |bytes| bytes[0].into())),
            "input_load_u64" => return Ok(self.input_range(a, 8).map_or(0, word)),
            "output_set" => {
                self.output = match b {
                    0 => Pending::Unset,
                    _ => self.live_range(a, b).map(|_| Pending::Range(a, b)).ok_or(Stop::Trap)?,
                }
            }
            "error_set" => {
                let whole = Pending::Range(a, length(self.argument(a)?));
                self.error = if a == 0 { Pending::Unset } else { whole };
            }
            "config_get" => {
                let key = self.key(a)?;
                let value = CONFIG.iter().find(|(name, _)| *name == key).map_or("", |(_, value)| *value);
                return self.new_block(value.as_bytes().to_vec(), answer);
            }
            "var_get" => {
                let key = self.key(a)?;
                let value = self.vars.get(&key).cloned().unwrap_or_default();
                return self.new_block(value, answer);
            }
            "var_set" => {
                let value = self.argument(b)?.to_vec();
                let key = self.key(a)?;
                self.free(b);
                self.set_var(key, value)?;
            }
            "log_trace" => self.log(0, a)?,
            "log_debug" => self.log(1, a)?,
            "log_info" => self.log(2, a)?,
            "log_warn" => self.log(3, a)?,
            "log_error" => self.log(4, a)?,
            "get_log_level" => return Ok(LOG_LEVEL),
            "http_status_code" | "http_headers" => {}
            "reverse" => {
                let reversed = self.argument(a)?.iter().rev().copied().collect();
                return self.new_block(reversed, answer);
            }
            "memory.grow" => return Ok(self.grow(low_half(a))),
            "return" => return Err(Stop::Return(low_half(a).cast_signed())),
            "proc_exit" => return Err(Stop::Exit(low_half(a).cast_signed())),
            "unreachable" => return Err(Stop::Trap),
            other => unreachable!("{other} is not modelled"),
        }
        Ok(0)
    }

    /// The call has ended so.
    pub fn end(&mut self, stop: Stop) -> Outcome {
        if self.dropped {
            self.log.push((3, None));
        }
        let message = self.wanted(&self.error).map(|text| String::from_utf8_lossy(&text).into_owned());
        let output = self.wanted(&self.output).unwrap_or_default();
        match (stop, message) {
            (Stop::Return(0) | Stop::Exit(0), None) => Outcome::Output(output),
            (Stop::Return(0) | Stop::Exit(0), message) => Outcome::Guest { code: -1, message },
            (Stop::Return(code), message) => Outcome::Guest { code, message },
            (Stop::Exit(code), message) => Outcome::Exit { code, message },
            (Stop::Trap, message) => Outcome::Trap { message },
            (Stop::Limit, message) => Outcome::Limit { message },
        }
    }

    fn live_bytes(&self) -> usize {
        self.blocks.values().filter(|block| block.live).map(|block| block.bytes.len()).sum()
    }

    fn check_room(&self, size: usize) -> Result<(), Stop> {
        let live = self.blocks.values().filter(|block| block.live).count();
        let fits = self.live_bytes().saturating_add(size) <= MEMORY_BYTES && live < BLOCKS;
        if fits || size == 0 { Ok(()) } else { Err(Stop::Limit) }
    }

    fn new_block(&mut self, bytes: Vec<u8>, answer: Option<u64>) -> Result<u64, Stop> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.check_room(bytes.len())?;
        let room = MEMORY_BYTES - self.live_bytes() - bytes.len();
        while self.freed.iter().map(|offset| self.blocks[offset].bytes.len()).sum::<usize>() > room {
            let oldest = self.freed.pop_front().expect("bytes of freed blocks");
            self.blocks.remove(&oldest);
        }
        let made_up = self.next.max(4096).next_multiple_of(16);
        let offset = answer.unwrap_or(made_up);
        assert!(offset >= self.next && (4096..END).contains(&offset), "a block at {offset}");
        assert!(offset.is_multiple_of(16), "a block at {offset}");
        self.next = offset + length(&bytes) + 1;
        self.blocks.insert(offset, Block { bytes, live: true });
        Ok(offset)
    }

    fn wanted(&self, pending: &Pending) -> Option<Vec<u8>> {
        match pending {
            Pending::Unset => None,
            Pending::Range(offset, length) => self.live_range(*offset, *length).map(<[u8]>::to_vec),
            Pending::Bytes(bytes) => Some(bytes.clone()),
        }
    }

    /// Keeps the wanted bytes of a block that is about to be freed, as they are now.
    fn kept(&self, pending: &Pending, freed: u64) -> Pending {
        match pending {
            Pending::Range(offset, _)
                if self.blocks.range(..=*offset).next_back().is_some_and(|(start, _)| *start == freed) =>
            {
                self.wanted(pending).map_or(Pending::Unset, Pending::Bytes)
            }
            other => other.clone(),
        }
    }

    fn free(&mut self, offset: u64) {
        if self.live(offset).is_some() {
            self.output = self.kept(&self.output, offset);
            self.error = self.kept(&self.error, offset);
        }
        if let Some(block) = self.blocks.get_mut(&offset).filter(|block| block.live) {
            block.live = false;
            self.freed.push_back(offset);
        }
    }

    /// The live block that starts there.
    fn live(&self, offset: u64) -> Option<&[u8]> {
        self.blocks.get(&offset).filter(|block| block.live).map(|block| &*block.bytes)
    }

    fn live_range(&self, offset: u64, length: u64) -> Option<&[u8]> {
        let (_, block) = self.blocks.range(..=offset).next_back()?;
        self.range(offset, length).filter(|_| block.live)
    }

    fn range(&self, offset: u64, length: u64) -> Option<&[u8]> {
        let (start, block) = self.blocks.range(..=offset).next_back()?;
        let from = usize::try_from(offset - start).ok()?;
        let to = from.checked_add(usize::try_from(length).ok()?)?;
        block.bytes.get(from..to).filter(|_| from < block.bytes.len())
    }

    /// So many bytes in one block, live or freed.
    fn bytes(&mut self, offset: u64, count: usize) -> Option<&mut [u8]> {
        let (start, block) = self.blocks.range_mut(..=offset).next_back()?;
        let from = usize::try_from(offset - start).ok()?;
        block.bytes.get_mut(from..from.checked_add(count)?)
    }

    fn input_bytes(&self) -> Option<&[u8]> {
        self.live(self.input_offset)
    }

    fn input_range(&self, index: u64, count: usize) -> Option<&[u8]> {
        let from = usize::try_from(index).ok()?;
        self.input_bytes()?.get(from..from.checked_add(count)?)
    }

    /// Bytes that an argument stands for.
    fn argument(&self, offset: u64) -> Result<&[u8], Stop> {
        if offset == 0 { Ok(&[]) } else { self.live(offset).ok_or(Stop::Trap) }
    }

    fn key(&mut self, offset: u64) -> Result<String, Stop> {
        let key = String::from_utf8(self.argument(offset)?.to_vec()).map_err(|_| Stop::Trap)?;
        self.free(offset);
        Ok(key)
    }

    fn set_var(&mut self, key: String, value: Vec<u8>) -> Result<(), Stop> {
        self.vars.remove(&key);
        if !value.is_empty() {
            self.vars.insert(key, value);
        }
        let bytes: usize = self.vars.iter().map(|(key, value)| key.len() + value.len() + 48).sum();
        if self.vars.len() > VARS || bytes > VAR_BYTES { Err(Stop::Limit) } else { Ok(()) }
    }

    fn log(&mut self, level: u64, offset: u64) -> Result<(), Stop> {
        let text = self.argument(offset)?.to_vec();
        self.free(offset);
        if level < LOG_LEVEL {
            return Ok(());
        }
        if self.lines == LOG_LINES || self.logged + text.len() > LOG_BYTES {
            self.dropped = true;
            return Ok(());
        }
        self.lines += 1;
        self.logged += text.len();
        self.log.push((level, Some(text)));
        Ok(())
    }

    fn grow(&mut self, more: u32) -> u64 {
        let before = self.pages;
        match before.checked_add(more).filter(|pages| *pages <= MEMORY_PAGES) {
            Some(pages) => {
                self.pages = pages;
                before.into()
            }
            None => u32::MAX.into(),
        }
    }
}

/// Questions of those who write scripts and want to know the answers beforehand.
#[allow(dead_code, reason = "the fuzz targets do not, and they share this file with those who do")]
impl Model {
    /// True if all of this range is in one live block.
    pub fn holds(&self, offset: u64, length: u64) -> bool {
        self.live_range(offset, length).is_some()
    }

    /// True if all of this range is in one block, live or freed.
    pub fn can_read(&self, offset: u64, length: u64) -> bool {
        self.range(offset, length).is_some()
    }

    /// The length of the live block that starts there, or 0.
    pub fn length_of(&self, offset: u64) -> u64 {
        self.live(offset).map_or(0, length)
    }

    /// True if the live block that starts there is UTF-8.
    pub fn is_text(&self, offset: u64) -> bool {
        std::str::from_utf8(self.live(offset).unwrap_or_default()).is_ok()
    }
}

fn length(bytes: &[u8]) -> u64 {
    bytes.len().try_into().expect("a length")
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

/// The low 32 bits.
fn low_half(number: u64) -> u32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
