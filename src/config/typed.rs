//! Whether a scalar is text, a number or a boolean.
//!
//! `shape` asks, once it knows what the schema allows at a place. Nothing here knows the schema.

use super::marked::Scalar;

/// What a scalar is by YAML's core schema (YAML 1.2.2, 10.3), as far as a configuration needs it.
pub(crate) enum Typed {
    Null,
    Boolean(bool),
    Integer(i64),
    Number(f64),
    Text,
}

impl Typed {
    /// Quotes make text of anything; what a variable holds is whatever is needed.
    pub(crate) fn of(scalar: &Scalar) -> Self {
        match (&scalar.written, scalar.plain) {
            (None, false) => Self::Text,
            (None, true) => Self::of_plain(&scalar.text),
            (Some(_), _) => match Self::of_plain(&scalar.text) {
                Self::Null => Self::Text,
                typed => typed,
            },
        }
    }

    pub(crate) fn of_plain(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "true" | "True" | "TRUE" => Self::Boolean(true),
            "false" | "False" | "FALSE" => Self::Boolean(false),
            text => {
                // Rust reads `inf` and `nan` as numbers, which YAML does not.
                let numeric = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
                match (text.parse(), text.parse::<f64>()) {
                    (Ok(number), _) => Self::Integer(number),
                    (_, Ok(number)) if numeric && number.is_finite() => Self::Number(number),
                    _ => Self::Text,
                }
            }
        }
    }

    pub(crate) fn is_text(&self) -> bool {
        matches!(self, Self::Text)
    }
}

/// Whether a scalar can be taken as text: what a variable holds can, whatever it looks like.
pub(crate) fn is_text(scalar: &Scalar, typed: &Typed) -> bool {
    typed.is_text() || scalar.written.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_are_text_unless_the_core_schema_says_otherwise() {
        for text in ["on", "yes", "inf", "nan", "-inf", ".", "-", "0x10", "1_000", "1e999", "2027-01-01", "::1"] {
            assert!(Typed::of_plain(text).is_text(), "{text}");
        }
        assert!(matches!(Typed::of_plain("-5"), Typed::Integer(-5)));
        assert!(matches!(Typed::of_plain("0.90"), Typed::Number(share) if (share - 0.9).abs() < 1e-9));
        assert!(matches!(Typed::of_plain("True"), Typed::Boolean(true)));
        assert!(matches!(Typed::of_plain("~"), Typed::Null));
    }

    #[test]
    fn quotes_make_text_and_variables_are_what_is_needed() {
        let scalar =
            |plain, written: Option<&str>| Scalar { text: "5".to_owned(), plain, written: written.map(str::to_owned) };
        assert!(Typed::of(&scalar(false, None)).is_text());
        let variable = scalar(false, Some("${FIVE}"));
        let typed = Typed::of(&variable);
        assert!(matches!(typed, Typed::Integer(5)) && is_text(&variable, &typed));
    }
}
