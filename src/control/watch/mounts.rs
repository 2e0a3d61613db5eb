//! Files that a change outside cannot reach, because they are mounted one by one: said at the start, since nothing else ever would.
//!
//! Called by `run`. A `subPath` of a Kubernetes volume is the file, or folder, that the volume had when the container started; the
//! kubelet's swap of the volume does not reach it. A container engine's mount of a single file has the same trouble with whoever
//! replaces the file by rename. Pure: `/proc/self/mountinfo` (proc_pid_mountinfo(5)) comes as text.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Component, Path, PathBuf},
};

/// A file that does not follow its source.
#[derive(Debug, PartialEq, Eq)]
pub struct Pinned<'f> {
    /// The file, free of links.
    pub file: &'f Path,
    /// Where the mount is.
    pub mount: PathBuf,
}

/// Which of these files lie in a mount that pins them. The files' paths are absolute and free of links.
pub fn pinned<'f>(files: impl IntoIterator<Item = &'f Path>, mountinfo: &str) -> Vec<Pinned<'f>> {
    let mounts: Vec<Mount> = mountinfo.lines().filter_map(Mount::parse).collect();
    let judge = |file: &'f Path| {
        // Of two mounts at one place the later one is seen.
        let of = mounts
            .iter()
            .filter(|mount| file.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.components().count())?;
        (of.point == file || of.is_part_of_a_volume()).then(|| Pinned { file, mount: of.point.clone() })
    };
    files.into_iter().filter_map(judge).collect()
}

struct Mount {
    /// What of its file system is mounted.
    root: PathBuf,
    point: PathBuf,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(' ').skip(3);
        Some(Self { root: unescaped(fields.next()?), point: unescaped(fields.next()?) })
    }

    /// The kubelet keeps each version of a volume's files in a folder `..2026_11_25_…`, and `subPath` mounts lead into it.
    fn is_part_of_a_volume(&self) -> bool {
        self.root.components().any(|component| match component {
            Component::Normal(name) => name.len() > 2 && name.to_string_lossy().starts_with(".."),
            _ => false,
        })
    }
}

/// Space, tab, newline and backslash are written as `\040` and so on.
fn unescaped(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code =
            (*first == b'\\').then(|| tail.get(..3)).flatten().and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:40 / /etc/keys ro,relatime - tmpfs tmpfs rw,size=64k
31 22 8:1 /var/lib/kubelet/pods/u/volumes/kubernetes.io~configmap/config/..2026_11_25_10_00_00.1/gate.yaml /etc/gate/gate.yaml ro - ext4 /dev/sda1 rw
32 22 0:41 /..2026_11_25_10_00_00.2/tls /etc/tls ro - tmpfs tmpfs rw
33 22 8:1 /var/lib/kubelet/pods/u/volumes/kubernetes.io~configmap/all /etc/all ro - ext4 /dev/sda1 rw
34 22 8:1 /home/a\\040b/key /run/a\\040key rw - ext4 /dev/sda1 rw
nonsense
";

    fn mounts_of(file: &str) -> Vec<PathBuf> {
        pinned([Path::new(file)], MOUNTS).into_iter().map(|pinned| pinned.mount).collect()
    }

    #[test]
    fn single_files_and_parts_of_volumes_are_pinned() {
        assert_eq!(mounts_of("/etc/gate/gate.yaml"), [Path::new("/etc/gate/gate.yaml")]);
        assert_eq!(mounts_of("/etc/tls/tls.crt"), [Path::new("/etc/tls")]);
        assert_eq!(mounts_of("/run/a key"), [Path::new("/run/a key")]);
    }

    #[test]
    fn whole_volumes_and_plain_folders_are_not() {
        for file in ["/etc/keys/..2026_11/primary", "/etc/all/..2026_11/x", "/etc/gate/other.yaml", "/home/file"] {
            assert_eq!(mounts_of(file), [] as [PathBuf; 0], "{file}");
        }
    }
}
