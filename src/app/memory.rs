//! The memory limit of this process.

use std::{fs, path::Path};

/// Bytes, if no limit can be read.
const DEFAULT_LIMIT: u64 = 1 << 30;

/// The smallest of the limits of this process's cgroup, of its parents, and of the physical memory, in bytes.
pub(super) fn limit() -> usize {
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = cgroup_limit(Path::new("/sys/fs/cgroup"), &cgroups).into_iter().chain([physical_memory()]).min();
    usize::try_from(limit.unwrap_or(DEFAULT_LIMIT)).unwrap_or(usize::MAX)
}

/// Bytes, by sysinfo(2): a service manager may hide /proc/meminfo.
fn physical_memory() -> u64 {
    let info = rustix::system::sysinfo();
    let total = u128::from(info.totalram) * u128::from(info.mem_unit.max(1));
    u64::try_from(total).unwrap_or(u64::MAX)
}

/// `cgroups` is the content of /proc/self/cgroup: `0::/path` for version 2, `4:memory:/path` for version 1. In a
/// container the path may be the host's while the container's group is mounted at the root, so the limits of all
/// parents of the path count.
fn cgroup_limit(root: &Path, cgroups: &str) -> Option<u64> {
    let limits = cgroups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next(), fields.next().unwrap_or_default(), fields.next().unwrap_or("/"));
        let (base, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            list if list.split(',').any(|one| one == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => return Vec::new(),
        };
        let above = Path::new(path.trim_start_matches('/')).ancestors().map(|group| base.join(group).join(file));
        // Without a limit the file contains "max".
        above.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).collect()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_applies() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let limit = |cgroups: &str| cgroup_limit(root.path(), cgroups);
        assert_eq!(limit("0::/a/b\n"), None);
        write("a/b/memory.max", "max\n");
        assert_eq!(limit("0::/a/b\n"), None);
        write("a/memory.max", "268435456\n");
        assert_eq!(limit("0::/a/b\n"), Some(268_435_456), "of the group above");
        write("memory.max", "1000\n");
        assert_eq!(limit("0::/the/hosts/path\n"), Some(1000), "in a container");
        write("memory/c/memory.limit_in_bytes", "2000\n");
        assert_eq!(limit("4:memory:/c\n3:cpu,cpuacct:/a\n"), Some(2000));
        assert_eq!(limit("4:memory:/c\n0::/\n"), Some(1000));
        assert!(super::limit() > 0);
    }
}
