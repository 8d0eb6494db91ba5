//! Output and error of a call, as the guest has named them: parts of blocks, whose bytes are read when the call ends.
//! The blocks themselves are `blocks`'.

/// A part of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockPart {
    /// Offset at which the block starts.
    pub(crate) block: u64,
    /// Position of the part in the block.
    pub(crate) start: usize,
    pub(crate) length: usize,
}

/// Bytes that are wanted at the end of the call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Pending {
    #[default]
    Unset,
    /// Bytes of a live block: whatever they will be then.
    Part(BlockPart),
    /// Bytes that a block had when it was freed.
    Kept(Vec<u8>),
}

impl BlockPart {
    /// The part, of the bytes of its block.
    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start..self.start.saturating_add(self.length)).unwrap_or_default()
    }
}

impl Pending {
    /// Keeps what is wanted of the block at `offset`, which is about to be freed and has these bytes.
    pub(crate) fn keep(&mut self, offset: u64, bytes: &[u8]) {
        if let Self::Part(part) = self
            && part.block == offset
        {
            *self = Self::Kept(part.of(bytes).to_vec());
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        *self != Self::Unset
    }
}
