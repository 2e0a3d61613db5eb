//! Where to look so that no change of a file goes unseen: the directory of every link on the way to it.
//!
//! Called by `watch` after each load. Pure but for what it asks a [`Tree`]; it opens nothing and remembers nothing. A Kubernetes
//! volume swaps the link `..data`, an editor renames a new file over the old one, a deployment switches a link several levels up,
//! and a file that is not there yet appears in a directory that may not be there either: each is an entry of one of these
//! directories that changes.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    ffi::{OsStr, OsString},
    path::{Component, Path, PathBuf},
};

/// Links that one path may go through before it is taken for a circle; the kernel's own number (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// The file system, as far as paths are concerned.
pub(super) trait Tree {
    /// What is at this path, whose directory is free of links.
    fn entry(&self, path: &Path) -> Entry;
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// A symbolic link to this.
    Link(PathBuf),
    /// A directory.
    Directory,
    /// Anything else.
    Other,
    /// Nothing that can be seen.
    Missing,
}

/// The file system of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RealTree;

impl Tree for RealTree {
    fn entry(&self, path: &Path) -> Entry {
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.is_symlink() => std::fs::read_link(path).map_or(Entry::Missing, Entry::Link),
            Ok(found) if found.is_dir() => Entry::Directory,
            Ok(_) => Entry::Other,
            Err(_) => Entry::Missing,
        }
    }
}

/// Directories to watch, free of links, each with the names in it that matter. No names: only whether it is moved or removed itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places(BTreeMap<PathBuf, BTreeSet<OsString>>);

impl Places {
    /// The places of these files. Paths are absolute.
    pub(super) fn of<'p>(files: impl IntoIterator<Item = &'p Path>, tree: &impl Tree) -> Self {
        let mut places = Self::default();
        // Many files share a directory: each of its ancestors is looked at once.
        let mut known = HashSet::new();
        for file in files {
            places.follow(file, tree, &mut known);
        }
        places
    }

    /// Directories with the names that matter.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Path, &BTreeSet<OsString>)> {
        self.0.iter().map(|(path, names)| (path.as_path(), names))
    }

    /// Whether a change of this entry matters.
    #[must_use]
    pub(super) fn names(&self, directory: &Path, name: &OsStr) -> bool {
        self.0.get(directory).is_some_and(|names| names.contains(name))
    }

    fn follow(&mut self, file: &Path, tree: &impl Tree, known: &mut HashSet<PathBuf>) {
        let mut here = PathBuf::from("/");
        let mut ahead: VecDeque<OsString> = steps(file).collect();
        let mut links = 0;
        while let Some(step) = ahead.pop_front() {
            if step == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&step);
            if !ahead.is_empty() && known.contains(&next) {
                here = next;
                continue;
            }
            match tree.entry(&next) {
                Entry::Link(target) => {
                    self.note(&here, Some(step));
                    links += 1;
                    if links > MAX_LINKS {
                        return;
                    }
                    for step in steps(&target).collect::<Vec<_>>().into_iter().rev() {
                        ahead.push_front(step);
                    }
                    if target.is_absolute() {
                        here = PathBuf::from("/");
                    }
                }
                Entry::Directory if !ahead.is_empty() => {
                    self.note(&here, None);
                    self.note(&next, None);
                    known.insert(next.clone());
                    here = next;
                }
                // The file itself; or the way ends here, and what is awaited appears here.
                Entry::Directory | Entry::Other | Entry::Missing => {
                    self.note(&here, Some(step));
                    return;
                }
            }
        }
    }

    fn note(&mut self, directory: &Path, name: Option<OsString>) {
        self.0.entry(directory.to_owned()).or_default().extend(name);
    }
}

fn steps(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths with what is there: `Some` is where a link leads.
    struct Fake(Vec<(&'static str, Option<&'static str>)>);

    impl Tree for Fake {
        fn entry(&self, path: &Path) -> Entry {
            match self.0.iter().find(|(known, _)| Path::new(known) == path) {
                Some((_, Some(target))) => Entry::Link(PathBuf::from(target)),
                Some((known, None)) if known.ends_with(".yaml") || known.ends_with("primary") => Entry::Other,
                Some(_) => Entry::Directory,
                None => Entry::Missing,
            }
        }
    }

    fn places(file: &str, tree: &Fake) -> Vec<(String, Vec<String>)> {
        let shown = |names: &BTreeSet<OsString>| names.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        Places::of([Path::new(file)], tree)
            .iter()
            .map(|(dir, names)| (dir.display().to_string(), shown(names)))
            .collect()
    }

    fn expected(places: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        places.iter().map(|(dir, names)| ((*dir).to_owned(), owned(names))).collect()
    }

    #[test]
    fn a_plain_file_is_an_entry_of_its_directory() {
        let tree = Fake(vec![("/etc", None), ("/etc/gate", None), ("/etc/gate/a.yaml", None)]);
        assert_eq!(
            places("/etc/gate/a.yaml", &tree),
            expected(&[("/", &[]), ("/etc", &[]), ("/etc/gate", &["a.yaml"])])
        );
    }

    #[test]
    fn a_kubernetes_volume_is_watched_where_its_links_are_and_where_they_lead() {
        let tree = Fake(vec![
            ("/keys", None),
            ("/keys/primary", Some("..data/primary")),
            ("/keys/..data", Some("..2026_11")),
            ("/keys/..2026_11", None),
            ("/keys/..2026_11/primary", None),
        ]);
        assert_eq!(
            places("/keys/primary", &tree),
            expected(&[("/", &[]), ("/keys", &["..data", "primary"]), ("/keys/..2026_11", &["primary"])])
        );
    }

    #[test]
    fn links_of_directories_count_wherever_they_stand_and_lead() {
        let tree = Fake(vec![
            ("/etc", None),
            ("/etc/gate", Some("../srv/current")),
            ("/srv", None),
            ("/srv/current", Some("/releases/7")),
            ("/releases", None),
            ("/releases/7", None),
            ("/releases/7/a.yaml", None),
        ]);
        assert_eq!(
            places("/etc/gate/a.yaml", &tree),
            expected(&[
                ("/", &[]),
                ("/etc", &["gate"]),
                ("/releases", &[]),
                ("/releases/7", &["a.yaml"]),
                ("/srv", &["current"])
            ])
        );
    }

    #[test]
    fn what_is_not_there_yet_is_awaited_where_it_would_appear() {
        let tree = || Fake(vec![("/run", None)]);
        assert_eq!(places("/run/keys/primary", &tree()), expected(&[("/", &[]), ("/run", &["keys"])]));
        assert_eq!(places("/nowhere", &tree()), expected(&[("/", &["nowhere"])]));
    }

    #[test]
    fn a_circle_of_links_ends() {
        let tree = Fake(vec![("/a", Some("b")), ("/b", Some("/a"))]);
        assert_eq!(places("/a/file", &tree), expected(&[("/", &["a", "b"])]));
    }
}
