//! `${NAME}` and `${NAME:-default}` in scalars, after the text has been parsed.
//!
//! Called once per file, between `marked` and `shape`. What a variable holds can therefore never become a key, a list or
//! a second line of YAML, and is not itself expanded. Messages show what was written, never what a variable holds.
//!
//! As in a shell, `:-` holds for a variable that is empty as well as for one that is not set. `$${` stands for the two
//! characters `${`; any other `$` stands for itself.

use super::{
    fault::Report,
    marked::{Kind, Node, Scalar},
    path::KeyPath,
    sources::Env,
};

/// Expands every scalar under a node; one that cannot be is reported and becomes [`Kind::Faulty`].
pub(crate) fn expand(node: &mut Node, path: &KeyPath, env: &dyn Env, report: &mut Report) {
    match &mut node.kind {
        Kind::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                expand(item, &path.index(index), env, report);
            }
        }
        Kind::Map(entries) => {
            for entry in entries {
                expand(&mut entry.value, &path.key(&entry.key), env, report);
            }
        }
        Kind::Scalar(Scalar { text, written, .. }) if text.contains("${") => match expanded(text, env) {
            Ok(full) => *written = Some(std::mem::replace(text, full)),
            Err(problem) => {
                report.error(Some(node.at), path, problem.found(), problem.expected()).hint(problem.hint());
                node.kind = Kind::Faulty;
            }
        },
        Kind::Scalar(_) | Kind::Faulty => {}
    }
}

/// Why a scalar cannot be expanded. Its texts hold no more of the scalar than a variable's name.
#[derive(Debug, PartialEq, Eq)]
enum Problem {
    Undefined(String),
    NotText(String),
    NotAName,
    NotClosed,
}

impl Problem {
    fn found(&self) -> String {
        match self {
            Self::Undefined(name) => format!("`${{{name}}}`, and no variable of that name"),
            Self::NotText(name) => format!("`${{{name}}}`, and a variable that is not UTF-8"),
            Self::NotAName => "`${` before something that is not a variable's name".to_owned(),
            Self::NotClosed => "`${` without `}`".to_owned(),
        }
    }

    fn expected(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "a variable that is set",
            Self::NotText(_) => "UTF-8",
            Self::NotAName | Self::NotClosed => "`${NAME}` or `${NAME:-default}`",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Undefined(name) => format!("set {name}, or write `${{{name}:-default}}`"),
            Self::NotText(_) => "a secret that is not text can be read with `env:`".to_owned(),
            Self::NotAName | Self::NotClosed => "write `$${` for the two characters themselves".to_owned(),
        }
    }
}

fn expanded(text: &str, env: &dyn Env) -> Result<String, Problem> {
    let mut full = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(literal) = before.strip_suffix('$') {
            full.push_str(literal);
            full.push_str("${");
            rest = after;
        } else {
            full.push_str(before);
            let (reference, remainder) = after.split_once('}').ok_or(Problem::NotClosed)?;
            full.push_str(&value(reference, env)?);
            rest = remainder;
        }
    }
    full.push_str(rest);
    Ok(full)
}

/// What `NAME` or `NAME:-default` stands for.
fn value(reference: &str, env: &dyn Env) -> Result<String, Problem> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    if !is_variable_name(name) {
        return Err(Problem::NotAName);
    }
    match (env.var(name), default) {
        (None, None) => Err(Problem::Undefined(name.to_owned())),
        (None, Some(default)) => Ok(default.to_owned()),
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => value.into_string().map_err(|_not_text| Problem::NotText(name.to_owned())),
    }
}

/// Whether this is what POSIX calls a name: letters, digits and `_`, no digit first.
pub(crate) fn is_variable_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, time::SystemTime};

    use super::*;

    struct Two;

    impl Env for Two {
        fn var(&self, name: &str) -> Option<OsString> {
            match name {
                "ONE" => Some("1 ${ONE}".into()),
                "EMPTY" => Some(OsString::new()),
                _ => None,
            }
        }

        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }
    }

    #[test]
    fn references_are_replaced_once() {
        assert_eq!(expanded("a${ONE}b", &Two).unwrap(), "a1 ${ONE}b", "what a variable holds is not expanded");
        assert_eq!(expanded("${NONE:-x:-y}${EMPTY:-z}${EMPTY}", &Two).unwrap(), "x:-yz");
        assert_eq!(expanded("$ $ONE $${ONE} $$${ONE}", &Two).unwrap(), "$ $ONE ${ONE} $${ONE}");
    }

    #[test]
    fn what_cannot_be_replaced_is_said() {
        assert_eq!(expanded("${NONE}", &Two), Err(Problem::Undefined("NONE".to_owned())));
        assert_eq!(expanded("${ONE", &Two), Err(Problem::NotClosed));
        assert_eq!(expanded("${1}", &Two), Err(Problem::NotAName));
        assert_eq!(expanded("${}", &Two), Err(Problem::NotAName));
    }
}
