//! Speed of the disk, to which the embedded store is compared.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
    time::{Duration, Instant},
};

use crate::client::per_second;

/// As much as SQLite writes for the smallest transaction.
const PAGE: [u8; 4096] = [b'x'; 4096];
/// Written over and over like SQLite's log, so that the file does not grow and nothing else is written.
const PAGES: u64 = 1024;

/// Writes of one page made durable, one after the other, in a second.
pub(crate) fn syncs_per_second(directory: &Path, limit: Duration) -> std::io::Result<f64> {
    let file = yardstick(directory)?;
    let start = Instant::now();
    let mut count = 0;
    for page in (0..PAGES).cycle() {
        if start.elapsed() >= limit {
            break;
        }
        file.write_all_at(&PAGE, page * 4096)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(per_second(count, start.elapsed()))
}

/// How long each of `count` such writes takes, in milliseconds, one every `interval`.
pub(crate) async fn sync_times(directory: &Path, count: usize, interval: Duration) -> std::io::Result<Vec<f64>> {
    let file = yardstick(directory)?;
    let mut times = Vec::with_capacity(count);
    let mut due = tokio::time::interval(interval);
    for page in (0..PAGES).cycle().take(count) {
        due.tick().await;
        let start = Instant::now();
        file.write_all_at(&PAGE, page * 4096)?;
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

fn yardstick(directory: &Path) -> std::io::Result<File> {
    let file = OpenOptions::new().create(true).write(true).truncate(false).open(directory.join("yardstick"))?;
    if file.metadata()?.len() == 0 {
        (0..PAGES).try_for_each(|page| file.write_all_at(&PAGE, page * 4096))?;
        file.sync_all()?;
    }
    Ok(file)
}

/// The kind of file system that holds `directory`; a `tmpfs` would measure memory.
pub(crate) fn file_system(directory: &Path) -> std::io::Result<String> {
    let (directory, mounts) = (directory.canonicalize()?, std::fs::read_to_string("/proc/self/mounts")?);
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let here = mounts.filter(|(point, _)| directory.starts_with(point)).max_by_key(|(point, _)| point.len());
    Ok(here.map_or("unknown", |(_, kind)| kind).to_owned())
}
