//! Secrets: from a file, a variable or the configuration itself. Nothing here puts one into a message.

use std::os::unix::ffi::OsStringExt;

use super::context::Context;
use crate::{
    config::{expand::is_variable_name, path::KeyPath, raw, sources::SecretFile},
    secret::Secret,
};

/// Where a secret is written.
#[derive(Clone, Copy)]
pub(super) enum Source<'r> {
    File(&'r str),
    Variable(&'r str),
    Value(&'r str),
}

impl<'r> Source<'r> {
    /// The first of three that is written; that there is exactly one, `shape` has seen to.
    pub(super) fn of(file: &'r Option<String>, env: &'r Option<String>, value: &'r Option<String>) -> Option<Self> {
        let (file, env, value) = (file.as_deref(), env.as_deref(), value.as_deref());
        file.map(Self::File).or_else(|| env.map(Self::Variable)).or_else(|| value.map(Self::Value))
    }
}

/// Reads a secret in full form.
pub(super) fn secret(cx: &mut Context<'_>, raw: &raw::Secret, path: &KeyPath) -> Option<Secret> {
    from_source(cx, Source::of(&raw.file, &raw.env, &raw.value)?, path)
}

/// Reads a secret of a mapping at `path`.
pub(super) fn from_source(cx: &mut Context<'_>, source: Source<'_>, path: &KeyPath) -> Option<Secret> {
    match source {
        Source::File(written) => from_file(cx, written, &path.key("file")),
        Source::Variable(name) => from_variable(cx, name, &path.key("env")),
        Source::Value(value) => {
            let path = path.key("value");
            cx.warning(&path, "a secret in the configuration itself", "`file` or `env`")
                .hint("good for trying things out: whoever can read this file has it");
            checked(cx, secret_of_text(value.as_bytes().to_vec()), &path)
        }
    }
}

fn from_file(cx: &mut Context<'_>, written: &str, path: &KeyPath) -> Option<Secret> {
    match cx.read_secret(path, written)? {
        SecretFile::Current(bytes) => checked(cx, secret_of(bytes), path),
        SecretFile::LastGood(secret) => {
            cx.warning(path, "an empty or half-written file", "a secret").hint("what it held before stays in use");
            Some(secret)
        }
    }
}

/// Reads a secret of a variable.
pub(super) fn from_variable(cx: &mut Context<'_>, name: &str, path: &KeyPath) -> Option<Secret> {
    if !is_variable_name(name) {
        // Perhaps the secret itself.
        cx.error(path, format!("a string of {} characters", name.chars().count()), "the name of a variable");
        return None;
    }
    let Some(value) = cx.env.var(name) else {
        cx.error(path, format!("no variable `{name}`"), "a variable that is set");
        return None;
    };
    cx.note_variable(path, name);
    checked(cx, secret_of_text(value.into_vec()), path)
}

fn checked(cx: &mut Context<'_>, secret: Result<Secret, Unusable>, path: &KeyPath) -> Option<Secret> {
    secret.inspect_err(|unusable| unusable.report(cx, path)).ok()
}

/// Why bytes are no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unusable {
    Empty,
    ControlCharacter { at: usize },
    SpaceAtAnEnd,
}

impl Unusable {
    fn report(self, cx: &mut Context<'_>, path: &KeyPath) {
        match self {
            Self::Empty => cx.error(path, "an empty secret", "one that is not"),
            Self::ControlCharacter { at } => {
                let found = format!("a secret with a control character as byte {}", at + 1);
                let fault = cx.error(path, found, "one line of visible characters");
                fault.hint("of a file, one newline at its end is cut; keys in binary form need an encoding");
                fault
            }
            Self::SpaceAtAnEnd => cx.error(path, "a secret with a space at an end", "one without"),
        };
    }
}

/// The secret in a file: one newline at its end does not belong to it.
pub(crate) fn secret_of(mut content: Vec<u8>) -> Result<Secret, Unusable> {
    if content.last() == Some(&b'\n') {
        content.pop();
        if content.last() == Some(&b'\r') {
            content.pop();
        }
    }
    secret_of_text(content)
}

/// Refuses what could not be sent in a header field, or would arrive changed (RFC 9110, 5.5).
fn secret_of_text(bytes: Vec<u8>) -> Result<Secret, Unusable> {
    let secret = Secret::new(bytes);
    let bytes = secret.expose_bytes();
    if let Some(at) = bytes.iter().position(u8::is_ascii_control) {
        return Err(Unusable::ControlCharacter { at });
    }
    match (bytes.first(), bytes.last()) {
        (None, _) | (_, None) => Err(Unusable::Empty),
        (Some(b' '), _) | (_, Some(b' ')) => Err(Unusable::SpaceAtAnEnd),
        _ => Ok(secret),
    }
}

/// Warns about a secret of ours that can be guessed.
pub(super) fn warn_if_short(cx: &mut Context<'_>, secret: &Secret, path: &KeyPath) {
    const FEWEST: u32 = 128;
    let bits = most_bits(secret.expose_bytes());
    if bits < FEWEST {
        cx.warning(path, format!("a secret of {bits} bits at most"), format!("at least {FEWEST}"))
            .hint("`scoregate keygen` makes one");
    }
}

/// How much chance a secret can have in it, if it was drawn from the smallest usual alphabet that it fits in: nobody can tell more
/// from one that is there.
fn most_bits(secret: &[u8]) -> u32 {
    let all = |fits: fn(&u8) -> bool| secret.iter().all(fits);
    // Bits of a character, in hundredths, rounded down.
    let each = if all(u8::is_ascii_digit) {
        332
    } else if all(u8::is_ascii_hexdigit) {
        400
    } else if all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-') {
        517
    } else if all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'+' | b'/' | b'=')) {
        600
    } else {
        657
    };
    let distinct = secret.iter().fold([false; 256], |mut seen, byte| {
        if let Some(seen) = seen.get_mut(usize::from(*byte)) {
            *seen = true;
        }
        seen
    });
    let distinct = distinct.iter().filter(|seen| **seen).count();
    // `aaaa…` and `0101…`: no draw of that length has so few.
    let each = if distinct < 5 { 100 } else { each };
    u32::try_from(secret.len()).unwrap_or(u32::MAX).saturating_mul(each) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_is_cut() {
        let read = |text: &str| secret_of(text.into()).map(|secret| secret.expose_bytes().to_vec());
        assert_eq!(read("key\n").unwrap(), b"key");
        assert_eq!(read("key\r\n").unwrap(), b"key");
        assert_eq!(read("kéy").unwrap(), "kéy".as_bytes());
        assert_eq!(read("key\n\n"), Err(Unusable::ControlCharacter { at: 3 }));
        assert_eq!(read("key\r"), Err(Unusable::ControlCharacter { at: 3 }));
        assert_eq!(read("key \n"), Err(Unusable::SpaceAtAnEnd));
        assert_eq!(read("\n"), Err(Unusable::Empty));
        assert_eq!(read(""), Err(Unusable::Empty));
    }

    #[test]
    fn the_chance_in_a_secret_is_never_overrated() {
        for (secret, bits) in [
            ("0123456789abcdef0123456789abcdef", 128),
            ("0123456789abcdef0123456789abcde", 124),
            ("01234567890123456789012345678901234567", 126),
            ("caller-key-of-a", 77),
            ("Zk3_9vQx-LmN0pRsTuVwXy", 132),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 40),
        ] {
            assert_eq!(most_bits(secret.as_bytes()), bits, "{secret}");
        }
    }
}
