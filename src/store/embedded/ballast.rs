//! Disk space reserved for finishing accepted work: a file that is deleted when the disk is full, and created again
//! when there is space.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::disk::private;
use rustix::fs::{FallocateFlags, StatVfs, fallocate, statvfs};

/// Size of the file on a disk of at least four times as much; smaller on a smaller disk.
const MAX_SIZE: u64 = 8 << 20;
/// Delay before trying again when the disk was full although it reports free space.
const RETRY_DELAY: Duration = Duration::from_secs(5);

pub(super) struct Ballast {
    file: PathBuf,
    size: u64,
    /// Whether new work is refused.
    full: Arc<AtomicBool>,
    /// When a write last failed for lack of space.
    last_failure: Option<Instant>,
}

impl Ballast {
    /// Takes no space yet: see [`Self::reserve_at_start`].
    pub(super) fn open(directory: &Path) -> Self {
        let file = directory.join("ballast");
        let size =
            statvfs(directory).map_or(MAX_SIZE, |disk| MAX_SIZE.min(disk.f_blocks.saturating_mul(disk.f_frsize) / 4));
        let held = fs::metadata(&file).is_ok_and(|file| file.len() == size);
        Self { file, size, full: Arc::new(AtomicBool::new(!held)), last_failure: None }
    }

    /// If the file cannot be created, new work is refused until it can.
    pub(super) fn reserve_at_start(&mut self) {
        self.check_space();
        if self.full.load(Ordering::Relaxed) {
            tracing::warn!("the disk has no space to reserve for accepted work; new work is refused until it has");
        }
    }

    pub(super) fn full_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.full)
    }

    /// Called before each group of writes.
    pub(super) fn check_space(&mut self) {
        let free = self.free_bytes();
        if !self.full.load(Ordering::Relaxed) {
            if free < self.min_free() {
                self.release();
            }
        } else if free >= self.size + 2 * self.min_free()
            && self.last_failure.is_none_or(|failed| failed.elapsed() >= RETRY_DELAY)
        {
            match self.reserve() {
                Ok(()) => {
                    self.full.store(false, Ordering::Relaxed);
                    if self.last_failure.take().is_some() {
                        tracing::info!("the disk has space again; new work is accepted");
                    }
                }
                Err(error) => {
                    self.last_failure = Some(Instant::now());
                    tracing::warn!(%error, "disk space for accepted work could not be reserved; new work is refused until it can");
                }
            }
        }
    }

    /// Called when a write found the disk full.
    pub(super) fn release(&mut self) {
        self.last_failure = Some(Instant::now());
        if !self.full.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "the disk is full; new work is refused, and accepted work uses the reserved space; free disk space"
            );
        }
        // If it cannot be deleted, the writes fail as they would without it.
        let _ = fs::remove_file(&self.file);
    }

    fn min_free(&self) -> u64 {
        self.size / 4
    }

    fn free_bytes(&self) -> u64 {
        let free = |disk: StatVfs| disk.f_bavail.saturating_mul(disk.f_frsize);
        self.file.parent().and_then(|directory| statvfs(directory).ok()).map_or(u64::MAX, free)
    }

    fn reserve(&self) -> io::Result<()> {
        let taken = private(&self.file).and_then(|mut file| {
            file.set_len(self.size)?;
            match fallocate(&file, FallocateFlags::empty(), 0, self.size) {
                // Some file systems cannot reserve space; there, write the file.
                Err(rustix::io::Errno::OPNOTSUPP) => {
                    let block = [0xa5; 8 * 1024];
                    (0..self.size.div_ceil(block.len() as u64)).try_for_each(|_| file.write_all(&block))?;
                    file.set_len(self.size)
                }
                done => Ok(done?),
            }
        });
        taken.inspect_err(|_| {
            let _ = fs::remove_file(&self.file);
        })
    }
}
