//! A pool of blocks for request bodies, shared by all workers. The allocator caches freed memory per thread, where
//! other threads cannot use it: without the pool, bodies that arrive first at one worker and then at another would use
//! their memory twice.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bodies are collected in blocks of this size and joined at the end. Growing buffers of many sizes fragment the heap,
/// and the allocator then holds several times what is in use.
pub(super) const BLOCK_SIZE: usize = 16 * 1024;

/// The free blocks. A new block is allocated only if there is none.
pub(super) struct BlockPool {
    free: Mutex<Vec<Vec<u8>>>,
    /// Blocks that are kept; further ones are freed.
    max_free: usize,
}

/// A block of at most [`BLOCK_SIZE`] bytes, returned to its pool on drop.
pub(super) struct Block {
    bytes: Vec<u8>,
    pool: Option<Arc<BlockPool>>,
}

impl BlockPool {
    /// A pool that keeps at most `bytes` of free blocks.
    pub(super) fn with_capacity(bytes: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::default(), max_free: bytes / BLOCK_SIZE })
    }

    fn free_blocks(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Block {
    /// A free block of the pool, or a new one.
    pub(super) fn take_from(blocks: Option<&Arc<BlockPool>>) -> Self {
        let used = blocks.and_then(|blocks| blocks.free_blocks().pop());
        Self { bytes: used.unwrap_or_else(|| Vec::with_capacity(BLOCK_SIZE)), pool: blocks.cloned() }
    }

    /// A block of its own for a body of `bytes`; it belongs to no pool.
    pub(super) fn unpooled(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes.min(BLOCK_SIZE)), pool: None }
    }

    /// Appends as much of `bytes` as fits, and returns its length.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> usize {
        let len = bytes.len().min(BLOCK_SIZE - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..len]);
        len
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
        let Some(blocks) = self.pool.as_ref().filter(|_| self.bytes.capacity() == BLOCK_SIZE) else { return };
        let mut free = blocks.free_blocks();
        if free.len() < blocks.max_free {
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
        let blocks = BlockPool::with_capacity(2 * BLOCK_SIZE);
        let mut first = Block::take_from(Some(&blocks));
        assert_eq!(first.fill(&vec![7; BLOCK_SIZE + 1]), BLOCK_SIZE);
        assert_eq!(first.fill(&[7]), 0);
        let place = first.as_ref().as_ptr();
        drop(first);
        let again = Block::take_from(Some(&blocks));
        assert_eq!((again.as_ref().len(), again.bytes.as_ptr()), (0, place), "empty, and the same memory");
        drop((
            again,
            Block::take_from(Some(&blocks)),
            Block::take_from(Some(&blocks)),
            Block::take_from(Some(&blocks)),
        ));
        assert_eq!(blocks.free_blocks().len(), 2);
        drop(Block::unpooled(100));
        assert_eq!(blocks.free_blocks().len(), 2, "another size is none of them");
        assert_eq!(Block::take_from(Some(&blocks)).into_bytes().capacity(), BLOCK_SIZE);
        assert_eq!(blocks.free_blocks().len(), 1, "what is taken out does not come back");
    }
}
