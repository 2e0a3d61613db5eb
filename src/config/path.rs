//! Where in the configuration something stands: `endpoints.iris.upstreams[0]`.
//!
//! Built by `shape` and `resolve` on their way down; `marked` turns one into a line and column. Never holds a value.

use std::fmt;

/// The keys and indices that lead to a place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KeyPath(Vec<Step>);

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Into a mapping.
    Key(String),
    /// Into a list.
    Index(usize),
}

impl KeyPath {
    /// The whole file.
    pub(crate) fn root() -> Self {
        Self::default()
    }

    /// The value of a key of this mapping.
    pub(crate) fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    /// An item of this list.
    pub(crate) fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    /// The steps from the top down.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.0
    }

    fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    if depth > 0 {
                        f.write_str(".")?;
                    }
                    if is_plain(key) { f.write_str(key)? } else { write!(f, "{key:?}")? }
                }
            }
        }
        Ok(())
    }
}

/// Whether a key can stand in a path without quotes: no dot, nothing a terminal would act on.
fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_the_file() {
        let path = KeyPath::root().key("endpoints").key("iris").key("upstreams").index(0);
        assert_eq!(path.to_string(), "endpoints.iris.upstreams[0]");
        assert_eq!(KeyPath::root().key("callers").key("a.b\u{1b}").to_string(), r#"callers."a.b\u{1b}""#);
    }
}
