//! How full the memory is that this process may use: cgroup v2, then v1, else nothing is known and nothing is refused.
//!
//! `gate` looks, and `publish` asks how much may be held for resends.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Of the memory that this process may use, the part that may be held for resends: it fills faster than anybody looks.
const HELD: u64 = 4;

/// `wanted` bytes held for resends, or as many as there is memory for, which is said.
#[must_use]
pub fn affordable(wanted: u64) -> u64 {
    let limit = MemoryGauge::of_this_process().map(|gauge| gauge.limit);
    let most = most(limit);
    if most < wanted {
        tracing::warn!(
            limits.replay_total = wanted,
            memory = limit,
            used = most,
            "more held for resends than this process has memory for: raise the limit on its memory"
        );
    }
    wanted.min(most)
}

fn most(limit: Option<u64>) -> u64 {
    limit.map_or(u64::MAX, |limit| limit / HELD)
}

/// Where a cgroup says what it uses and may use.
#[derive(Debug)]
pub struct MemoryGauge {
    used: PathBuf,
    limit: u64,
    /// Page cache that the kernel takes back by itself: field of `memory.stat`.
    stat: PathBuf,
    reclaimable: &'static str,
}

impl MemoryGauge {
    /// The gauge of this process' cgroup, if it has a limit.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        Self::find(&fs::read_to_string("/proc/self/cgroup").ok()?, Path::new("/sys/fs/cgroup"))
    }

    fn find(memberships: &str, root: &Path) -> Option<Self> {
        memberships.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
            let (folder, used, max, reclaimable) = match controllers {
                "" => (root.to_owned(), "memory.current", "memory.max", "inactive_file"),
                _ if controllers.split(',').any(|c| c == "memory") => {
                    (root.join("memory"), "memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file")
                }
                _ => return None,
            };
            // Inside a container the group's own folder is the root of the mount.
            [folder.join(path), folder].into_iter().find_map(|folder| {
                let limit = fs::read_to_string(folder.join(max)).ok()?.trim().parse::<u64>().ok()?;
                // cgroup v1 writes "no limit" as a number near 2^63.
                (limit < 1 << 60).then(|| Self {
                    used: folder.join(used),
                    limit,
                    stat: folder.join("memory.stat"),
                    reclaimable,
                })
            })
        })
    }

    /// The share of the limit in use, without reclaimable page cache; 0.0 to 1.0.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        let used = fs::read_to_string(&self.used).ok()?.trim().parse::<u64>().ok()?;
        let stat = fs::read_to_string(&self.stat).unwrap_or_default();
        let cache = stat.lines().find_map(|line| line.strip_prefix(self.reclaimable)?.trim().parse::<u64>().ok());
        let held = used.saturating_sub(cache.unwrap_or(0));
        #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
        Some(held as f64 / self.limit.max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn both_generations_of_cgroups_are_read() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                ("app/memory.max", "1000\n"),
                ("app/memory.current", "700\n"),
                ("app/memory.stat", "anon 5\ninactive_file 200\n"),
                ("memory/memory.limit_in_bytes", "2000\n"),
                ("memory/memory.usage_in_bytes", "500\n"),
            ],
        );
        let v2 = MemoryGauge::find("0::/app\n", root.path()).expect("limit");
        assert_eq!(v2.share(), Some(0.5));
        let v1 = MemoryGauge::find("5:cpu:/x\n4:hugetlb,memory:/gone\n", root.path()).expect("limit");
        assert_eq!(v1.share(), Some(0.25));
    }

    #[test]
    fn no_more_is_held_than_a_part_of_the_limit() {
        assert_eq!(most(None), u64::MAX);
        assert_eq!(most(Some(256 << 20)), 64 << 20);
        assert_eq!(affordable(1), 1);
    }

    #[test]
    fn no_limit_is_no_gauge() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), &[("memory.max", "max\n"), ("memory/memory.limit_in_bytes", "9223372036854771712\n")]);
        assert!(MemoryGauge::find("0::/\n", root.path()).is_none());
        assert!(MemoryGauge::find("4:memory:/\n", root.path()).is_none());
    }
}
