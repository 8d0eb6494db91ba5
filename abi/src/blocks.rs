//! Extism memory: the table of blocks of one call. It is host data that a guest can neither see nor reach
//! round: every access names an offset and is checked against one block. Prices and errors are the caller's.

use std::collections::{HashMap, VecDeque};

use crate::fault::Fault;
use crate::results::{BlockPart, Pending};

/// Offset of the first block of a call. Low offsets are never blocks, so that small numbers a guest
/// mistakes for handles are caught.
const FIRST: u64 = 4096;

/// Offsets are multiples of this, and at least one unused offset follows each block.
const ALIGNMENT: u64 = 16;

/// Offsets stay below this, where every language represents them exactly.
const END: u64 = 1 << 53;

/// Freed blocks stay readable until more than this many bytes or blocks were freed after them: guests free
/// a block and then still read it.
const KEPT_BYTES: usize = 1024 * 1024;
const KEPT_BLOCKS: usize = 1024;

/// The blocks of one call.
///
/// Offsets only grow: none is used twice in a call, so that a late or second `free` cannot hit another block.
pub(crate) struct Blocks {
    /// In the order of their offsets.
    table: Vec<Block>,
    /// Index in `table` of the block that starts at an offset, so that finding one takes the same time whatever their
    /// number.
    starts: HashMap<u64, usize>,
    /// Index in `table` of the last access, the likeliest place of the next.
    recent: usize,
    /// Offset of the next block.
    next: u64,
    live: usize,
    live_bytes: usize,
    most_bytes: usize,
    /// Offsets of freed blocks whose bytes are still there, oldest first.
    freed: VecDeque<u64>,
    freed_bytes: usize,
    /// Entries of `table` whose bytes are gone.
    gone: usize,
    output: Pending,
    error: Pending,
    max_blocks: usize,
    max_bytes: usize,
}

struct Block {
    offset: u64,
    /// Empty once the bytes of a freed block are gone.
    bytes: Box<[u8]>,
    live: bool,
}

impl Block {
    /// Position of `offset` in this block, if it is inside.
    fn index(&self, offset: u64) -> Option<usize> {
        let index = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        (index < self.bytes.len()).then_some(index)
    }
}

impl Blocks {
    /// No blocks; never more than `max_blocks` live ones, and `max_bytes` bytes in all.
    pub(crate) fn new(max_blocks: usize, max_bytes: usize) -> Self {
        Self {
            table: Vec::new(),
            starts: HashMap::new(),
            recent: 0,
            next: FIRST,
            live: 0,
            live_bytes: 0,
            most_bytes: 0,
            freed: VecDeque::new(),
            freed_bytes: 0,
            gone: 0,
            output: Pending::Unset,
            error: Pending::Unset,
            max_blocks,
            max_bytes,
        }
    }

    /// Gives all memory back: the end of a call.
    pub(crate) fn clear(&mut self) {
        let most_bytes = self.most_bytes;
        *self = Self { most_bytes, ..Self::new(self.max_blocks, self.max_bytes) };
    }

    /// The most bytes that were live at one time since this was last asked.
    pub(crate) fn take_most_bytes(&mut self) -> usize {
        std::mem::take(&mut self.most_bytes)
    }

    /// Ceiling on the bytes that are live at one time.
    pub(crate) fn max_bytes(&self) -> u64 {
        self.max_bytes.try_into().unwrap_or(u64::MAX)
    }

    /// A new block of `length` zero bytes; 0 for a length of 0.
    ///
    /// # Errors
    /// [`Fault::Limit`] over the ceiling on blocks, bytes or offsets.
    pub(crate) fn alloc(&mut self, length: u64) -> Result<u64, Fault> {
        if length == 0 {
            return Ok(0);
        }
        let size = self.make_room(length)?;
        self.push(vec![0; size].into_boxed_slice())
    }

    /// A new block holding `bytes`; 0 if they are empty.
    ///
    /// # Errors
    /// [`Fault::Limit`] over the ceiling on blocks, bytes or offsets.
    pub(crate) fn insert(&mut self, bytes: impl Into<Box<[u8]>> + AsRef<[u8]>) -> Result<u64, Fault> {
        if bytes.as_ref().is_empty() {
            return Ok(0);
        }
        self.make_room(bytes.as_ref().len().try_into().unwrap_or(u64::MAX))?;
        self.push(bytes.into())
    }

    /// Checks that `length` more bytes fit, dropping kept ones of freed blocks if they are in the way.
    fn make_room(&mut self, length: u64) -> Result<usize, Fault> {
        let room = self.max_bytes.saturating_sub(self.live_bytes);
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        if size > room {
            let asked = self.live_bytes.saturating_add(size);
            return Err(Fault::limit("bytes of Extism memory", asked, self.max_bytes));
        }
        if self.live >= self.max_blocks {
            return Err(Fault::limit("blocks of Extism memory", self.live + 1, self.max_blocks));
        }
        self.trim_freed(KEPT_BLOCKS, (room - size).min(KEPT_BYTES));
        Ok(size)
    }

    fn push(&mut self, bytes: Box<[u8]>) -> Result<u64, Fault> {
        let offset = self.next;
        let next = u64::try_from(bytes.len())
            .ok()
            .and_then(|length| {
                offset.checked_add(length)?.checked_add(1)?.checked_next_multiple_of(ALIGNMENT)
            })
            .filter(|next| *next < END)
            .ok_or(Fault::Limit { which: "offsets of Extism memory", asked: END, allowed: END - 1 })?;
        self.next = next;
        self.live += 1;
        self.live_bytes += bytes.len();
        self.most_bytes = self.most_bytes.max(self.live_bytes);
        self.recent = self.table.len();
        self.starts.insert(offset, self.recent);
        self.table.push(Block { offset, bytes, live: true });
        Ok(offset)
    }

    /// Frees the live block that starts at `offset`; anything else is left alone.
    pub(crate) fn free(&mut self, offset: u64) {
        let Some(block) = self.starting_at(offset) else { return };
        block.live = false;
        let length = block.bytes.len();
        if let Some(block) = self.table.get(self.recent) {
            self.output.keep(offset, &block.bytes);
            self.error.keep(offset, &block.bytes);
        }
        self.live -= 1;
        self.live_bytes -= length;
        self.freed.push_back(offset);
        self.freed_bytes += length;
        self.trim_freed(KEPT_BLOCKS, KEPT_BYTES);
    }

    /// Drops the bytes of the longest freed blocks until at most these numbers of blocks and bytes are kept.
    fn trim_freed(&mut self, blocks: usize, bytes: usize) {
        while self.freed.len() > blocks || self.freed_bytes > bytes {
            let Some(offset) = self.freed.pop_front() else { break };
            if let Some(block) = self.containing(offset) {
                let dropped = std::mem::take(&mut block.bytes);
                self.freed_bytes -= dropped.len();
                self.gone += 1;
                self.starts.remove(&offset);
            }
        }
        // Each entry is removed once, in a sweep over at most twice as many.
        if self.gone > KEPT_BLOCKS && self.gone > self.table.len() / 2 {
            self.table.retain(|block| !block.bytes.is_empty());
            self.gone = 0;
            self.starts = self.table.iter().enumerate().map(|(at, block)| (block.offset, at)).collect();
        }
    }

    /// The length of the live block that starts exactly at `offset`, else 0.
    pub(crate) fn length(&mut self, offset: u64) -> u64 {
        self.starting_at(offset).and_then(|block| block.bytes.len().try_into().ok()).unwrap_or(0)
    }

    /// The bytes of the live block that starts exactly at `offset`.
    pub(crate) fn get(&mut self, offset: u64) -> Option<&[u8]> {
        self.starting_at(offset).map(|block| &*block.bytes)
    }

    /// The `length` bytes from `offset` on, if they are all inside one live block.
    pub(crate) fn part(&mut self, offset: u64, length: u64) -> Option<BlockPart> {
        let length = usize::try_from(length).ok()?;
        let block = self.containing(offset).filter(|block| block.live)?;
        let start = block.index(offset)?;
        let part = BlockPart { block: block.offset, start, length };
        (start.checked_add(length)? <= block.bytes.len()).then_some(part)
    }

    /// The output of the call will be this part of a block, or nothing.
    pub(crate) fn set_output(&mut self, part: Option<BlockPart>) {
        self.output = part.map_or(Pending::Unset, Pending::Part);
    }

    /// The error of the call will be this part of a block, or there is none.
    pub(crate) fn set_error(&mut self, part: Option<BlockPart>) {
        self.error = part.map_or(Pending::Unset, Pending::Part);
    }

    /// The error that was set, if one was.
    pub(crate) fn take_error(&mut self) -> Option<Vec<u8>> {
        let error = std::mem::take(&mut self.error);
        error.is_set().then(|| self.read(error, false))
    }

    /// The output that was set; empty without one. Its block may be gone then.
    pub(crate) fn take_output(&mut self) -> Vec<u8> {
        let output = std::mem::take(&mut self.output);
        self.read(output, true)
    }

    /// The bytes that are wanted. A block that is all of them can be had without a copy, if nobody needs it any more.
    fn read(&mut self, wanted: Pending, last: bool) -> Vec<u8> {
        match wanted {
            Pending::Unset => Vec::new(),
            Pending::Kept(bytes) => bytes,
            Pending::Part(part) => match self.starting_at(part.block) {
                Some(block) if last && part.length == block.bytes.len() => {
                    std::mem::take(&mut block.bytes).into_vec()
                }
                Some(block) => part.of(&block.bytes).to_vec(),
                None => Vec::new(),
            },
        }
    }

    /// The byte at `offset`; 0 outside any block.
    pub(crate) fn load_u8(&mut self, offset: u64) -> u8 {
        self.slice::<1>(offset).map_or(0, |[byte]| *byte)
    }

    /// The 8 bytes at `offset`, little endian; 0 unless all are in one block.
    pub(crate) fn load_u64(&mut self, offset: u64) -> u64 {
        self.slice(offset).map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// Writes one byte; nothing outside any block.
    pub(crate) fn store_u8(&mut self, offset: u64, value: u8) {
        if let Some(bytes) = self.slice(offset) {
            *bytes = [value];
        }
    }

    /// Writes 8 bytes, little endian; nothing unless all are in one block.
    pub(crate) fn store_u64(&mut self, offset: u64, value: u64) {
        if let Some(bytes) = self.slice(offset) {
            *bytes = value.to_le_bytes();
        }
    }

    /// `N` bytes from `offset` on, if they are all inside one block, live or freed.
    fn slice<const N: usize>(&mut self, offset: u64) -> Option<&mut [u8; N]> {
        let block = self.containing(offset)?;
        let start = block.index(offset)?;
        block.bytes.get_mut(start..)?.first_chunk_mut()
    }

    /// The live block that starts exactly at `offset`.
    fn starting_at(&mut self, offset: u64) -> Option<&mut Block> {
        self.recent = *self.starts.get(&offset)?;
        self.table.get_mut(self.recent).filter(|block| block.live)
    }

    /// The block that `offset` is in, if its bytes are still there.
    fn containing(&mut self, offset: u64) -> Option<&mut Block> {
        let here = self.table.get(self.recent).is_some_and(|block| block.index(offset).is_some());
        if !here {
            self.recent = self.table.partition_point(|block| block.offset <= offset).checked_sub(1)?;
        }
        self.table.get_mut(self.recent).filter(|block| block.index(offset).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn blocks() -> Blocks {
        Blocks::new(1000, 1 << 20)
    }

    /// Numbers that look random and are the same in every run (xorshift).
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, end: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % end
        }
    }

    #[test]
    fn offsets_grow_and_blocks_do_not_touch() {
        let mut blocks = blocks();
        let mut end = 0;
        for length in [1, 15, 16, 17, 100, 8] {
            let offset = blocks.alloc(length).unwrap();
            assert!(offset > end && offset.is_multiple_of(ALIGNMENT), "{offset} after {end}");
            end = offset + length;
            assert_eq!(blocks.load_u8(end), 0);
            assert!(blocks.part(offset, length + 1).is_none());
        }
    }

    #[test]
    fn no_offset_comes_twice_in_a_call_and_freed_memory_is_reused() {
        let mut blocks = Blocks::new(10, 1 << 20);
        let mut last = 0;
        for _ in 0..100_000 {
            let offset = blocks.alloc(1 << 19).unwrap();
            assert!(offset > last);
            blocks.free(last);
            last = offset;
        }
        assert!(blocks.table.len() < 3 * KEPT_BLOCKS, "{} entries", blocks.table.len());
    }

    #[test]
    fn bytes_of_freed_blocks_stay_for_a_while() {
        let mut blocks = blocks();
        let early = blocks.insert(b"early".as_slice()).unwrap();
        blocks.free(early);
        assert_eq!(blocks.load_u8(early), b'e');
        assert_eq!(blocks.length(early), 0);
        assert_eq!(blocks.get(early), None);
        assert_eq!(blocks.part(early, 1), None);
        blocks.store_u8(early, b'E');
        assert_eq!(blocks.load_u8(early), b'E');
        // The whole ceiling is there for live blocks: kept bytes give way.
        let all = blocks.alloc(1 << 20).unwrap();
        assert_eq!(blocks.load_u8(early), 0);
        assert_eq!(blocks.length(all), 1 << 20);
        assert!(blocks.alloc(1).is_err());
    }

    #[test]
    fn offsets_end_before_they_are_inexact() {
        let mut blocks = blocks();
        blocks.next = END - 32;
        assert!(blocks.alloc(8).is_ok());
        assert!(matches!(blocks.alloc(8), Err(Fault::Limit { which: "offsets of Extism memory", .. })));
    }

    #[test]
    fn an_empty_block_needs_no_room() {
        let mut blocks = Blocks::new(0, 0);
        assert_eq!(blocks.alloc(0).unwrap(), 0);
        assert_eq!(blocks.insert(b"".as_slice()).unwrap(), 0);
        assert!(blocks.alloc(1).is_err());
    }

    /// The table as simply as can be: every block whose bytes are there, and in which order the freed ones go.
    struct Model {
        blocks: BTreeMap<u64, (Vec<u8>, bool)>,
        freed: Vec<u64>,
        /// The end of the last block: no later one begins before it.
        end: u64,
        /// Freed blocks whose bytes are gone.
        forgotten: usize,
        max_blocks: usize,
        max_bytes: usize,
    }

    impl Model {
        fn new(max_blocks: usize, max_bytes: usize) -> Self {
            Self {
                blocks: BTreeMap::new(),
                freed: Vec::new(),
                end: FIRST,
                forgotten: 0,
                max_blocks,
                max_bytes,
            }
        }

        /// Number and bytes of all blocks that are live, or of all that are not.
        fn count(&self, live: bool) -> (usize, usize) {
            let counted = self.blocks.values().filter(|block| block.1 == live);
            counted.fold((0, 0), |(number, sum), (bytes, _)| (number + 1, sum + bytes.len()))
        }

        /// Checks the result of making a block of these bytes.
        fn made(&mut self, bytes: Vec<u8>, result: Result<u64, Fault>) -> Option<u64> {
            let (live, live_bytes) = self.count(true);
            let fits = live < self.max_blocks && live_bytes + bytes.len() <= self.max_bytes;
            match result {
                Ok(0) => assert_eq!(bytes.len(), 0),
                Ok(offset) => {
                    assert!(fits && offset >= self.end && offset.is_multiple_of(ALIGNMENT), "{offset}");
                    self.forget(KEPT_BLOCKS, KEPT_BYTES.min(self.max_bytes - live_bytes - bytes.len()));
                    self.end = offset + u64::try_from(bytes.len()).unwrap() + 1;
                    self.blocks.insert(offset, (bytes, true));
                    return Some(offset);
                }
                Err(Fault::Limit { .. }) => assert!(!fits && !bytes.is_empty()),
                Err(other) => panic!("{other}"),
            }
            None
        }

        fn free(&mut self, offset: u64) {
            if let Some((_, live @ true)) = self.blocks.get_mut(&offset) {
                *live = false;
                self.freed.push(offset);
                self.forget(KEPT_BLOCKS, KEPT_BYTES);
            }
        }

        fn forget(&mut self, blocks: usize, bytes: usize) {
            while self.freed.len() > blocks || self.count(false).1 > bytes {
                self.blocks.remove(&self.freed.remove(0));
                self.forgotten += 1;
            }
        }

        /// So many bytes of one block, and whether it is live.
        fn at(&mut self, offset: u64, length: u64) -> Option<(&mut [u8], bool)> {
            let (start, (bytes, live)) = self.blocks.range_mut(..=offset).next_back()?;
            let index = usize::try_from(offset - start).ok().filter(|index| *index < bytes.len())?;
            Some((bytes.get_mut(index..index + usize::try_from(length).unwrap())?, *live))
        }
    }

    /// Many random steps, each with an offset that is or was one, a little beside, or forged.
    fn compare_with_model(max_blocks: usize, max_bytes: usize, longest: u64, steps: usize) {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        let mut blocks = Blocks::new(max_blocks, max_bytes);
        let mut model = Model::new(max_blocks, max_bytes);
        let mut seen = vec![0, 1, FIRST - 1, FIRST, END, u64::MAX];
        for step in 0..steps {
            let recent = seen.len().min(usize::try_from(numbers.below(2000)).unwrap() + 6);
            let back = usize::try_from(numbers.below(recent.try_into().unwrap())).unwrap();
            let somewhere = seen[seen.len() - 1 - back];
            let offset = match numbers.below(3) {
                0 => somewhere.wrapping_add(numbers.below(40)).wrapping_sub(numbers.below(10)),
                1 => somewhere.wrapping_add(numbers.below(longest + 20)),
                _ => somewhere,
            };
            match numbers.below(8) {
                0 => {
                    let length = numbers.below(longest);
                    let result = blocks.alloc(length);
                    seen.extend(model.made(vec![0; length.try_into().unwrap()], result));
                }
                1 => {
                    let bytes = vec![0xaa; numbers.below(longest).try_into().unwrap()];
                    let result = blocks.insert(bytes.as_slice());
                    seen.extend(model.made(bytes, result));
                }
                2 => {
                    blocks.free(offset);
                    model.free(offset);
                }
                3 => {
                    let live = model.blocks.range(somewhere..).find(|(_, (_, live))| *live);
                    let offset = live.map_or(somewhere, |(offset, _)| *offset);
                    blocks.free(offset);
                    model.free(offset);
                }
                4 => {
                    blocks.store_u8(offset, 7);
                    if let Some((bytes, _)) = model.at(offset, 1) {
                        bytes[0] = 7;
                    }
                }
                5 => {
                    blocks.store_u64(offset, 0x0102_0304_0506_0708);
                    if let Some((bytes, _)) = model.at(offset, 8) {
                        bytes.copy_from_slice(&[8, 7, 6, 5, 4, 3, 2, 1]);
                    }
                }
                6 => {
                    let length = numbers.below(longest);
                    let expected = model.at(offset, length).filter(|(_, live)| *live);
                    let part = blocks.part(offset, length);
                    let found = part.map(|part| part.of(blocks.get(part.block).unwrap()));
                    assert_eq!(found, expected.map(|(bytes, _)| &*bytes));
                }
                _ => {
                    let expected = model.blocks.get(&offset).filter(|block| block.1);
                    let expected = expected.map(|(bytes, _)| bytes.as_slice());
                    let length = expected.map_or(0, |bytes| bytes.len().try_into().unwrap());
                    assert_eq!((blocks.length(offset), blocks.get(offset)), (length, expected));
                }
            }
            let byte = model.at(offset, 1).map_or(0, |(bytes, _)| bytes[0]);
            assert_eq!(blocks.load_u8(offset), byte, "step {step}: {offset}");
            let word =
                model.at(offset, 8).map_or(0, |(bytes, _)| u64::from_le_bytes(bytes.try_into().unwrap()));
            assert_eq!(blocks.load_u64(offset), word, "step {step}: {offset}");

            assert_eq!((blocks.live, blocks.live_bytes), model.count(true), "step {step}");
            assert_eq!((blocks.freed.len(), blocks.freed_bytes), model.count(false), "step {step}");
            assert_eq!(blocks.table.len() - blocks.gone, model.blocks.len(), "step {step}");
            assert!(blocks.live_bytes + blocks.freed_bytes <= max_bytes, "step {step}");
            assert!(blocks.gone <= KEPT_BLOCKS.max(blocks.table.len() / 2) + 1, "step {step}");
        }
        assert!(model.forgotten > 100, "the steps reach little");
        blocks.clear();
        assert_eq!((blocks.live, blocks.live_bytes, blocks.freed_bytes, blocks.table.len()), (0, 0, 0, 0));
        assert!(seen.iter().all(|offset| blocks.length(*offset) == 0 && blocks.load_u8(*offset) == 0));
    }

    #[test]
    fn the_table_does_what_a_simple_one_does_under_a_ceiling_on_bytes() {
        compare_with_model(64, 100_000, 3000, 20_000);
    }

    #[test]
    fn the_table_does_what_a_simple_one_does_with_many_freed_blocks() {
        compare_with_model(300, 1 << 20, 40, 12_000);
    }

    #[test]
    fn the_table_does_what_a_simple_one_does_with_many_freed_bytes() {
        compare_with_model(64, 1 << 24, 20_000, 10_000);
    }
}
