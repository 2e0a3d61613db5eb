//! What every section needs while it is resolved: where to report, what to read from.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use crate::config::{
    fault::{Fault, Report, alternatives, nearest, quote},
    marked::Node,
    model::StateDir,
    path::KeyPath,
    raw::List,
    sources::{Env, Files, SecretFile},
};

/// Names that a message lists; more are no help.
const MOST_LISTED: usize = 8;

/// The file being resolved and its surroundings.
pub(super) struct Context<'a> {
    tree: &'a Node,
    report: Report,
    /// Where relative paths start.
    folder: PathBuf,
    pub(super) env: &'a dyn Env,
    files: &'a dyn Files,
    /// Every file that was asked for, in order, and once more to be found.
    read: Vec<PathBuf>,
    known: HashSet<PathBuf>,
    /// Where secrets of variables stand, and the variables.
    variables: Vec<String>,
    first_variable: Option<KeyPath>,
}

/// What a configuration was read from, besides its text.
pub(super) struct Read {
    pub(super) files: Vec<PathBuf>,
    pub(super) variables: Vec<String>,
}

impl<'a> Context<'a> {
    pub(super) fn new(tree: &'a Node, source: &Path, report: Report, env: &'a dyn Env, files: &'a dyn Files) -> Self {
        let folder = source.parent().unwrap_or(Path::new("")).to_owned();
        Self {
            tree,
            report,
            folder,
            env,
            files,
            read: Vec::new(),
            known: HashSet::new(),
            variables: Vec::new(),
            first_variable: None,
        }
    }

    /// What was read, and everything that was reported.
    pub(super) fn finish(mut self) -> (Read, Report) {
        self.warn_of_variables();
        (Read { files: self.read, variables: self.variables }, self.report)
    }

    /// A secret came from a variable.
    pub(super) fn note_variable(&mut self, path: &KeyPath, name: &str) {
        self.variables.push(format!("{path} (variable `{name}`)"));
        self.first_variable.get_or_insert_with(|| path.clone());
    }

    /// Said once, however many there are.
    fn warn_of_variables(&mut self) {
        let Some(first) = self.first_variable.take() else { return };
        let found = match self.variables.len() {
            1 => "a secret in an environment variable".to_owned(),
            count => format!("a secret in an environment variable, the first of {count}"),
        };
        self.warning(&first, found, "`file`").hint(
            "variables end up in `docker inspect`, unit files and crash reports, and stay as they are until a restart; \
             a file of mode 0600 can be replaced",
        );
    }

    /// Adds an error; the answer takes a hint.
    pub(super) fn error(
        &mut self,
        path: &KeyPath,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> &mut Fault {
        self.report.error(Some(self.tree.position(path)), path, found, expected)
    }

    /// Adds a warning; the answer takes a hint.
    pub(super) fn warning(
        &mut self,
        path: &KeyPath,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> &mut Fault {
        self.report.warning(Some(self.tree.position(path)), path, found, expected)
    }

    /// Reports that a key is not there.
    pub(super) fn missing(&mut self, path: &KeyPath, expected: &str) {
        self.error(path, "nothing", expected).hint("required");
    }

    /// Where something else stands, for a hint.
    pub(super) fn place_of(&self, path: &KeyPath) -> String {
        let at = self.tree.position(path);
        format!("{}:{}", at.line, at.column)
    }

    /// Whether something stands at a path, sound or not.
    pub(super) fn is_written(&self, path: &KeyPath) -> bool {
        self.tree.find(path).is_some()
    }

    /// A text that stands at `path`, to be shown: as it was written, since a variable in it may be a secret.
    pub(super) fn shown(&self, path: &KeyPath, text: &str) -> String {
        let written = self.tree.find(path).and_then(Node::written);
        quote(written.unwrap_or(text))
    }

    /// Reports a name that nothing has.
    pub(super) fn unknown_name<'n>(
        &mut self,
        path: &KeyPath,
        name: &str,
        kind: &str,
        known: impl IntoIterator<Item = &'n str>,
    ) {
        let known: Vec<&str> = known.into_iter().collect();
        let meant = nearest(name, known.iter().copied()).map(|meant| format!("did you mean {}?", quote(meant)));
        let expected = match known.len() {
            0 => format!("the name of {kind}, of which there is none"),
            1..=MOST_LISTED => format!("the name of {kind}: {}", alternatives(known)),
            count => format!("the name of {kind}, of which there are {count}"),
        };
        self.error(path, self.shown(path, name), expected).hint = meant;
    }

    /// A path that was written, or the default.
    pub(super) fn place(&self, written: Option<&str>, default: &str) -> StateDir {
        match written {
            Some(path) => StateDir { path: self.folder.join(path), written: true },
            None => StateDir { path: PathBuf::from(default), written: false },
        }
    }

    /// The path that a relative one stands for.
    pub(super) fn file(&self, written: &str) -> PathBuf {
        self.folder.join(written)
    }

    /// The content of a file that need not be there: nothing is reported.
    pub(super) fn look(&mut self, file: &Path) -> io::Result<Vec<u8>> {
        let content = self.files.read(file)?;
        self.note(file);
        Ok(content)
    }

    /// The content of a file that is named at `path`.
    pub(super) fn read(&mut self, path: &KeyPath, written: &str) -> Option<Vec<u8>> {
        self.open(path, written, |files, file| files.read(file))
    }

    /// The content of a file with a secret that is named at `path`.
    pub(super) fn read_secret(&mut self, path: &KeyPath, written: &str) -> Option<SecretFile> {
        self.open(path, written, |files, file| files.read_secret(file))
    }

    fn note(&mut self, file: &Path) {
        if self.known.insert(file.to_owned()) {
            self.read.push(file.to_owned());
        }
    }

    fn open<T>(
        &mut self,
        path: &KeyPath,
        written: &str,
        read: impl FnOnce(&dyn Files, &Path) -> io::Result<T>,
    ) -> Option<T> {
        let file = self.folder.join(written);
        let content = read(self.files, &file);
        self.note(&file);
        let error = match content {
            Ok(content) => return Some(content),
            Err(error) => error,
        };
        let hint = match error.kind() {
            io::ErrorKind::NotFound if Path::new(written).is_relative() => {
                Some("relative paths start at the folder of this file")
            }
            io::ErrorKind::PermissionDenied => Some("the user that scoregate runs as must be able to read it"),
            io::ErrorKind::IsADirectory => Some("name a file in it"),
            _ => None,
        };
        let found = format!("{}: {error}", self.shown(path, &file.to_string_lossy()));
        self.error(path, found, "a file that can be read").hint = hint.map(str::to_owned);
        None
    }
}

/// The sound items of a list, with where they stand.
pub(super) fn items<'r, T>(list: Option<&'r List<T>>, path: &KeyPath) -> Vec<(KeyPath, &'r T)> {
    let items = list.into_iter().flatten().enumerate();
    items.filter_map(|(index, item)| Some((path.index(index), item.as_ref()?))).collect()
}

/// The sound items of a list.
pub(super) fn sound<T>(list: Option<&List<T>>) -> impl Iterator<Item = &T> {
    list.into_iter().flatten().flatten()
}
