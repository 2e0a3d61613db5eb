//! What is wrong with a configuration, said so that a person can mend it: where, what was found, what was expected.
//!
//! Every stage of loading reports here; `check`, `run` and the reload print it. A fault never contains a secret: who
//! reports one about a place where a secret may stand describes what is there instead of quoting it.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::path::KeyPath;

/// A place in the file, both from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// Whether the configuration can be used in spite of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but somebody should look.
    Warning,
}

/// One thing that is wrong.
///
/// Displays as `file:line:column: key.path: found X, expected Y (hint)`, on one line; parts it has not got are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: Arc<Path>,
    /// Where in it; `None` when it is about the file as a whole.
    pub position: Option<Position>,
    /// Whether it keeps the configuration from being used.
    pub severity: Severity,
    /// The key, such as `endpoints.iris.upstreams[0]`; empty for the file as a whole.
    pub path: String,
    /// What stands there.
    pub found: String,
    /// What should.
    pub expected: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Fault {
    /// Adds what to do about it.
    pub(crate) fn hint(&mut self, hint: impl Into<String>) {
        self.hint = Some(hint.into());
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(Position { line, column }) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        if self.severity == Severity::Warning {
            f.write_str(" warning:")?;
        }
        if !self.path.is_empty() {
            write!(f, " {}:", self.path)?;
        }
        write!(f, " found {}, expected {}", self.found, self.expected)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a file that cannot be used: its errors and its warnings, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

/// One line each.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Collects faults while a file is read.
#[derive(Debug)]
pub(crate) struct Report {
    file: Arc<Path>,
    faults: Vec<Fault>,
}

impl Report {
    /// Nothing is wrong yet.
    pub(crate) fn new(file: &Path) -> Self {
        Self { file: Arc::from(PathBuf::from(file)), faults: Vec::new() }
    }

    /// Adds an error; the answer takes a hint.
    pub(crate) fn error(
        &mut self,
        at: Option<Position>,
        path: &KeyPath,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> &mut Fault {
        let fault = Fault {
            file: Arc::clone(&self.file),
            position: at,
            severity: Severity::Error,
            path: path.to_string(),
            found: found.into(),
            expected: expected.into(),
            hint: None,
        };
        self.faults.push_mut(fault)
    }

    /// Adds a warning; the answer takes a hint.
    pub(crate) fn warning(
        &mut self,
        at: Option<Position>,
        path: &KeyPath,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> &mut Fault {
        let fault = self.error(at, path, found, expected);
        fault.severity = Severity::Warning;
        fault
    }

    /// All faults when one of them is an error, else the value with the warnings.
    pub(crate) fn conclude<T>(mut self, value: Option<T>) -> Result<(T, Vec<Fault>), Faults> {
        self.faults.sort_by_key(|fault| fault.position);
        let usable = self.faults.iter().all(|fault| fault.severity == Severity::Warning);
        match value {
            Some(value) if usable => Ok((value, self.faults)),
            _ => Err(Faults(self.faults)),
        }
    }
}

/// A value as it is shown in a fault: in backquotes, cut short, with nothing that a terminal would act on.
pub(crate) fn quote(text: &str) -> String {
    const LONGEST: usize = 80;
    let shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    let shown = shown.replace("\\\"", "\"").replace("\\'", "'");
    if text.chars().nth(LONGEST).is_some() { format!("`{shown}…`") } else { format!("`{shown}`") }
}

/// Several values in one sentence: "`a`, `b` or `c`".
pub(crate) fn alternatives<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = values.into_iter().map(quote).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "nothing".to_owned(),
    }
}

/// The candidate that was probably meant by a misspelt word.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters wrong is a slip; more is another word. Longer texts are not words, and comparing them is slow.
    const LONGEST: usize = 128;
    if word.len() > LONGEST {
        return None;
    }
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance < candidate.len() && *distance * 3 <= candidate.len().max(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_one_line() {
        let mut report = Report::new(Path::new("gate.yaml"));
        let path = KeyPath::root().key("workers");
        report.warning(None, &KeyPath::root(), "no routes", "at least one");
        report.error(Some(Position { line: 2, column: 10 }), &path, quote("a\nb"), "a number").hint("count them");
        let faults = report.conclude(Some(())).unwrap_err();
        assert_eq!(
            faults.to_string(),
            "gate.yaml: warning: found no routes, expected at least one\n\
             gate.yaml:2:10: workers: found `a\\nb`, expected a number (count them)"
        );
    }

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        assert_eq!(nearest("upstreems", ["upstreams", "queue"]), Some("upstreams"));
        assert_eq!(nearest("Keys", ["keys"]), Some("keys"));
        assert_eq!(nearest("colour", ["upstreams", "queue"]), None);
    }

    #[test]
    fn alternatives_read_as_a_sentence() {
        assert_eq!(alternatives(["a"]), "`a`");
        assert_eq!(alternatives(["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
