//! One canonical form for request paths: what is matched is what is forwarded.
//!
//! Called by `decide` before any rule is looked at, so that `/%61dmin`, `//admin`, `/./admin` and `/x/../admin` all meet the
//! rule for `/admin`. What has no single meaning (`%00`, broken escapes, climbing above the root) is refused.

use std::borrow::Cow;

/// Characters with a meaning of their own to some servers. A route must allow them, else the request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Special(u8);

impl Special {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// `;`
    pub const SEMICOLON: Self = Self(1);
    /// `\`
    pub const BACKSLASH: Self = Self(2);
    /// `%2F`
    pub const ENCODED_SLASH: Self = Self(4);
    /// `%5C`
    pub const ENCODED_BACKSLASH: Self = Self(8);

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether everything in here is also in `allowed`.
    #[must_use]
    pub const fn allowed_by(self, allowed: Self) -> bool {
        self.0 & !allowed.0 == 0
    }
}

/// A path in canonical form.
#[derive(Debug, PartialEq, Eq)]
pub struct Canonical<'a> {
    /// Begins with `/`; no `.` or `..` segment, no empty segment but the last, escapes upper-case and only where needed.
    pub path: Cow<'a, str>,
    /// The special characters that were asked for, those of segments that `..` took away among them.
    pub special: Special,
}

/// Why a path has no canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Does not begin with `/`.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    /// `%` without two hexadecimal digits.
    #[error("the path has a broken percent escape")]
    BrokenEscape,
    /// A control character, `%00`, or a byte that is not ASCII.
    #[error("the path has a control or non-ASCII character")]
    Forbidden,
    /// `..` above the root, or hidden behind `;` or an encoded slash.
    #[error("the path climbs out of its root")]
    Climbs,
}

/// Brings a raw path (no query) into canonical form; borrows it where it already is.
///
/// # Errors
/// Where the path has no single meaning (RFC 3986 section 6.2.2 and the traps of servers that decode twice).
pub fn canonicalize(raw: &str) -> Result<Canonical<'_>, PathError> {
    if is_plain(raw.as_bytes()) {
        return Ok(Canonical { path: Cow::Borrowed(raw), special: Special::NONE });
    }
    let (decoded, special) = normalize_escapes(raw)?;
    if special != Special::NONE {
        refuse_hidden_climbs(&decoded)?;
    }
    let path = remove_dot_segments(&decoded)?;
    Ok(Canonical { path: Cow::Owned(path), special })
}

/// True for what nearly every request has: unreserved characters and sub-delimiters, with no empty or dotted segment.
fn is_plain(raw: &[u8]) -> bool {
    if raw.first() != Some(&b'/') {
        return false;
    }
    let mut after_slash = false;
    for &byte in raw {
        let plain = match byte {
            b'/' | b'.' => !after_slash,
            _ => is_plain_byte(byte),
        };
        if !plain {
            return false;
        }
        after_slash = byte == b'/';
    }
    true
}

fn is_plain_byte(byte: u8) -> bool {
    PLAIN.get(usize::from(byte)).is_some_and(|plain| *plain)
}

/// `pchar` of RFC 3986 without `%` and `;`.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
static PLAIN: [bool; 128] = {
    let mut table = [false; 128];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = matches!(byte as u8,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~'
            | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@');
        byte += 1;
    }
    table
};

fn normalize_escapes(raw: &str) -> Result<(String, Special), PathError> {
    let mut out = String::with_capacity(raw.len() + 8);
    let mut special = Special::NONE;
    let mut bytes = raw.bytes();
    if !raw.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let (Some(high), Some(low)) = (bytes.next().and_then(hex_value), bytes.next().and_then(hex_value))
                else {
                    return Err(PathError::BrokenEscape);
                };
                let decoded = high << 4 | low;
                match decoded {
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                        out.push(char::from(decoded))
                    }
                    0..=0x1f | 0x7f => return Err(PathError::Forbidden),
                    _ => {
                        special = special.with(match decoded {
                            b'/' => Special::ENCODED_SLASH,
                            b'\\' => Special::ENCODED_BACKSLASH,
                            _ => Special::NONE,
                        });
                        push_escape(&mut out, decoded);
                    }
                }
            }
            b';' => {
                special = special.with(Special::SEMICOLON);
                out.push(';');
            }
            b'\\' => {
                special = special.with(Special::BACKSLASH);
                out.push('\\');
            }
            0..=0x1f | 0x7f.. => return Err(PathError::Forbidden),
            b'/' => out.push('/'),
            _ if is_plain_byte(byte) => out.push(char::from(byte)),
            // Not allowed in a path by RFC 3986, yet sent by clients: escaped, so that the next server sees one thing.
            _ => push_escape(&mut out, byte),
        }
    }
    Ok((out, special))
}

/// `/..;x/` is `/../` to some servers, and so is `..%2F` to those that decode first.
fn refuse_hidden_climbs(path: &str) -> Result<(), PathError> {
    let unescaped = path.replace("%2F", "/").replace("%5C", "/").replace('\\', "/");
    for segment in unescaped.split('/') {
        let name = segment.split(';').next().unwrap_or_default();
        if name != segment && matches!(name, "." | "..") {
            return Err(PathError::Climbs);
        }
    }
    let hidden = |separators: &str| separators.split('/').filter(|s| matches!(*s, "." | "..")).count();
    if hidden(&unescaped) != hidden(path) { Err(PathError::Climbs) } else { Ok(()) }
}

fn remove_dot_segments(path: &str) -> Result<String, PathError> {
    let mut kept: Vec<&str> = Vec::new();
    let mut open = true;
    for segment in path.split('/').skip(1) {
        open = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop().ok_or(PathError::Climbs)?;
            }
            name => kept.push(name),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if open || kept.is_empty() {
        out.push('/');
    }
    Ok(out)
}

fn push_escape(out: &mut String, byte: u8) {
    out.push('%');
    for nibble in [byte >> 4, byte & 15] {
        out.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase());
    }
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(raw: &str) -> Result<String, PathError> {
        canonicalize(raw).map(|c| c.path.into_owned())
    }

    #[test]
    fn every_spelling_of_a_path_becomes_one() {
        for raw in
            ["/admin", "/%61dmin", "//admin", "/./admin", "/x/../admin", "/%2e/admin", "/x/%2E%2e/admin", "///admin"]
        {
            assert_eq!(canonical(raw).as_deref(), Ok("/admin"), "{raw}");
        }
        assert_eq!(canonical("/a/b/").as_deref(), Ok("/a/b/"));
        assert_eq!(canonical("/a/b/..").as_deref(), Ok("/a/"));
        assert_eq!(canonical("/a/.").as_deref(), Ok("/a/"));
        assert_eq!(canonical("/").as_deref(), Ok("/"));
        assert_eq!(canonical("/a/..").as_deref(), Ok("/"));
        assert_eq!(canonical("/caf%c3%a9 {x}").as_deref(), Ok("/caf%C3%A9%20%7Bx%7D"));
        assert_eq!(canonical("/%2561").as_deref(), Ok("/%2561"));
    }

    #[test]
    fn what_has_no_single_meaning_is_refused() {
        for (raw, error) in [
            ("", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("admin", PathError::NotAbsolute),
            ("/%", PathError::BrokenEscape),
            ("/%4", PathError::BrokenEscape),
            ("/%zz", PathError::BrokenEscape),
            ("/a%00", PathError::Forbidden),
            ("/a%0d%0a", PathError::Forbidden),
            ("/\u{e9}", PathError::Forbidden),
            ("/..", PathError::Climbs),
            ("/a/../../b", PathError::Climbs),
            ("/x/..;/admin", PathError::Climbs),
            ("/x/..%2fadmin", PathError::Climbs),
            ("/x/..%5cadmin", PathError::Climbs),
            ("/x/..\\admin", PathError::Climbs),
            ("/x/%2e%2e;a=b/admin", PathError::Climbs),
        ] {
            assert_eq!(canonical(raw), Err(error), "{raw}");
        }
    }

    #[test]
    fn special_characters_are_named() {
        for (raw, special) in [
            ("/a;b", Special::SEMICOLON),
            ("/a\\b", Special::BACKSLASH),
            ("/a%2fb", Special::ENCODED_SLASH),
            ("/a%5Cb", Special::ENCODED_BACKSLASH),
            ("/a;b%2F", Special::SEMICOLON.with(Special::ENCODED_SLASH)),
        ] {
            let found = canonicalize(raw).expect(raw).special;
            assert_eq!(found, special, "{raw}");
            assert!(!found.allowed_by(Special::NONE));
            assert!(found.allowed_by(special));
        }
    }

    proptest! {
        #[test]
        fn canonicalizing_twice_changes_nothing(raw in "/[a-z0-9%./;\\\\ {}~A-F]{0,40}") {
            if let Ok(once) = canonical(&raw) {
                prop_assert_eq!(canonical(&once), Ok(once.clone()));
                prop_assert!(once.starts_with('/'));
                let has_dots = once.split('/').any(|s| matches!(s, "." | ".."));
                prop_assert!(!has_dots);
                prop_assert!(!once.contains("//"));
            }
        }

        #[test]
        fn any_text_is_answered(raw in any::<String>()) {
            let _ = canonicalize(&raw);
        }
    }
}
