//! A pool of blocks for request bodies, shared by all workers. The allocator keeps freed memory for each thread for a
//! while, where other threads cannot use it, so that bodies which arrive at one worker and then at another would take up
//! their memory twice.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bodies are collected in blocks of this size and joined at the end. Growing buffers of many sizes fragment the heap,
/// and the allocator then holds several times what is in use.
pub(super) const BLOCK_SIZE: usize = 16 * 1024;

/// Free blocks: a new one is allocated only where there is none.
pub(super) struct Blocks {
    free: Mutex<Vec<Vec<u8>>>,
    /// How many are kept; more are freed.
    most: usize,
}

/// Given back when it is dropped.
pub(super) struct Block {
    bytes: Vec<u8>,
    from: Option<Arc<Blocks>>,
}

impl Blocks {
    /// Keeps at most so many bytes.
    pub(super) fn keeping(bytes: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::default(), most: bytes / BLOCK_SIZE })
    }

    fn free(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Block {
    /// For a whole block.
    pub(super) fn of(blocks: Option<&Arc<Blocks>>) -> Self {
        let used = blocks.and_then(|blocks| blocks.free().pop());
        Self { bytes: used.unwrap_or_else(|| Vec::with_capacity(BLOCK_SIZE)), from: blocks.cloned() }
    }

    /// For so many bytes, when no more are expected.
    pub(super) fn small(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes.min(BLOCK_SIZE)), from: None }
    }

    /// Appends what fits, and returns how much that was.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> usize {
        let fits = bytes.len().min(BLOCK_SIZE - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..fits]);
        fits
    }

    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let Some(blocks) = self.from.as_ref().filter(|_| self.bytes.capacity() == BLOCK_SIZE) else { return };
        let mut free = blocks.free();
        if free.len() < blocks.most {
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.clear();
            free.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_is_given_back_is_used_again_and_few_are_kept() {
        let blocks = Blocks::keeping(2 * BLOCK_SIZE);
        let mut first = Block::of(Some(&blocks));
        assert_eq!(first.fill(&vec![7; BLOCK_SIZE + 1]), BLOCK_SIZE);
        assert_eq!(first.fill(&[7]), 0);
        let place = first.as_ref().as_ptr();
        drop(first);
        let again = Block::of(Some(&blocks));
        assert_eq!((again.as_ref().len(), again.bytes.as_ptr()), (0, place), "empty, and the same memory");
        drop((again, Block::of(Some(&blocks)), Block::of(Some(&blocks)), Block::of(Some(&blocks))));
        assert_eq!(blocks.free().len(), 2);
        drop(Block::small(100));
        assert_eq!(blocks.free().len(), 2, "another size is none of them");
        assert_eq!(Block::of(Some(&blocks)).into_bytes().capacity(), BLOCK_SIZE);
        assert_eq!(blocks.free().len(), 1, "what is taken out does not come back");
    }
}
