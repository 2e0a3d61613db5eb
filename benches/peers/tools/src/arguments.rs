//! `--name value` and `--flag`, as the measuring script writes them.

use std::{collections::HashMap, env, io, str::FromStr};

/// The arguments of a program.
#[derive(Debug)]
pub struct Arguments {
    /// What stands before the first `--name`.
    pub command: String,
    values: HashMap<String, String>,
}

impl Arguments {
    /// Those of this process.
    ///
    /// # Errors
    /// Where one has no value, or stands alone.
    pub fn read() -> io::Result<Self> {
        Self::parse(env::args().skip(1))
    }

    fn parse(words: impl Iterator<Item = String>) -> io::Result<Self> {
        let mut arguments = Self { command: String::new(), values: HashMap::new() };
        let mut words = words.peekable();
        if let Some(command) = words.next_if(|word| !word.starts_with("--")) {
            arguments.command = command;
        }
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or_else(|| io::Error::other(format!("`{word}` is not an option")))?;
            let value = words.next().ok_or_else(|| io::Error::other(format!("--{name} needs a value")))?;
            arguments.values.insert(name.to_owned(), value);
        }
        Ok(arguments)
    }

    /// An option's value, if it was given.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn optional<T: FromStr>(&self, name: &str) -> io::Result<Option<T>> {
        let Some(text) = self.values.get(name) else { return Ok(None) };
        let value = text.parse().ok().ok_or_else(|| io::Error::other(format!("--{name}: `{text}` cannot be read")))?;
        Ok(Some(value))
    }

    /// An option's value.
    ///
    /// # Errors
    /// Where it is missing or cannot be read.
    pub fn needed<T: FromStr>(&self, name: &str) -> io::Result<T> {
        self.optional(name)?.ok_or_else(|| io::Error::other(format!("--{name} is missing")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_command_and_its_options() {
        let words = ["idle", "--connections", "5", "--address", "127.0.0.1:80"];
        let arguments = Arguments::parse(words.into_iter().map(str::to_owned)).unwrap();
        assert_eq!(arguments.command, "idle");
        assert_eq!(arguments.needed::<usize>("connections").unwrap(), 5);
        assert_eq!(arguments.optional::<u64>("rate").unwrap(), None);
        assert!(arguments.needed::<u64>("rate").is_err());
        assert!(arguments.needed::<u64>("address").is_err());
    }

    #[test]
    fn refuses_an_option_without_a_value() {
        assert!(Arguments::parse(["idle", "--connections"].into_iter().map(str::to_owned)).is_err());
        assert!(Arguments::parse(["idle", "connections"].into_iter().map(str::to_owned)).is_err());
    }
}
