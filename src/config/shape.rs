//! A tree against the JSON Schema of `raw`: every unknown key, wrong type, missing key and malformed scalar of a file.
//!
//! `resolve` calls it once per file. What passes becomes the value that `raw::read` takes; what does not is left out, and
//! reported here. It understands the keywords that the schema uses, and reads meaning into two of them: `writeOnly` marks
//! places where a secret may stand, of which nothing is ever quoted, keys included; a `oneOf` is a set of keys of which
//! exactly one is written.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{
    fault::{Position, Report, alternatives, nearest, quote},
    marked::{Entry, Kind, Node, Scalar},
    path::KeyPath,
    raw::{Mapping, Value, shared_schema},
    text::check_of,
    typed::{Typed, is_text},
};

/// Checks a tree; the answer holds whatever of it is sound.
pub(crate) fn check(tree: &Node, report: &mut Report) -> Option<Value> {
    let schema = shared_schema();
    Walk { schema, tree, report }.value(Shape::new(schema, schema), tree, &KeyPath::root(), false)
}

/// A schema, with what it refers to.
#[derive(Clone, Copy)]
struct Shape<'a> {
    own: &'a Json,
    /// The target of `$ref`.
    referred: Option<&'a Json>,
}

impl<'a> Shape<'a> {
    fn new(root: &'a Json, own: &'a Json) -> Self {
        let pointer = own.get("$ref").and_then(Json::as_str).and_then(|reference| reference.strip_prefix('#'));
        Self { own, referred: pointer.and_then(|pointer| root.pointer(pointer)) }
    }

    fn keyword(self, name: &str) -> Option<&'a Json> {
        self.own.get(name).or_else(|| self.referred?.get(name))
    }

    fn text(self, name: &str) -> Option<&'a str> {
        self.keyword(name).and_then(Json::as_str)
    }

    fn list(self, name: &str) -> &'a [Json] {
        self.keyword(name).and_then(Json::as_array).map_or(&[], Vec::as_slice)
    }

    fn words(self, name: &str) -> impl Iterator<Item = &'a str> {
        self.list(name).iter().filter_map(Json::as_str)
    }

    fn is(self, kind: &str) -> bool {
        self.text("type") == Some(kind) || self.words("type").any(|name| name == kind)
    }

    /// Whether a secret may stand here, where it says so.
    fn is_secret(self) -> Option<bool> {
        self.keyword("writeOnly").and_then(Json::as_bool)
    }

    /// The values of `enum` and `const`.
    fn values(self) -> Vec<&'a Json> {
        self.list("enum").iter().chain(self.keyword("const")).collect()
    }

    fn properties(self) -> impl Iterator<Item = (&'a str, &'a Json)> {
        let properties = self.keyword("properties").and_then(Json::as_object);
        properties.into_iter().flatten().map(|(key, schema)| (key.as_str(), schema))
    }

    /// Sets of keys of which exactly one is written.
    fn choice(self) -> Vec<&'a str> {
        let keys = self.list("oneOf").iter().filter_map(|branch| branch.get("required")?.get(0)?.as_str());
        keys.collect()
    }
}

/// A walk over a tree.
struct Walk<'a> {
    schema: &'a Json,
    tree: &'a Node,
    report: &'a mut Report,
}

impl<'a> Walk<'a> {
    fn value(&mut self, shape: Shape<'a>, node: &Node, path: &KeyPath, secret: bool) -> Option<Value> {
        let secret = shape.is_secret().unwrap_or(secret);
        let branches = self.branches(shape);
        if !branches.is_empty() {
            return match branches.into_iter().find(|branch| admits(*branch, node)) {
                Some(branch) => self.value(branch, node, path, secret),
                None => self.mismatch(shape, node, path, secret),
            };
        }
        match &node.kind {
            Kind::Faulty => None,
            Kind::Map(entries) if shape.is("object") => Some(self.mapping(shape, entries, path, secret)),
            Kind::List(items) if shape.is("array") => Some(self.list(shape, items, node.at, path, secret)),
            Kind::Scalar(scalar) => self.scalar(shape, scalar, node, path, secret),
            Kind::Map(_) | Kind::List(_) => self.mismatch(shape, node, path, secret),
        }
    }

    fn mapping(&mut self, shape: Shape<'a>, entries: &[Entry], path: &KeyPath, secret: bool) -> Value {
        let properties: BTreeMap<&str, &Json> = shape.properties().collect();
        let named = shape.keyword("additionalProperties").filter(|schema| schema.is_object());
        let mut first_seen: BTreeMap<&str, Position> = BTreeMap::new();
        let mut excused: Vec<&str> = Vec::new();
        let mut mapping = Mapping::new();

        for Entry { key, at, value } in entries {
            let known = properties.contains_key(key.as_str()) || named.is_some();
            if let Some(first) = first_seen.get(key.as_str()).filter(|_| known) {
                self.report
                    .error(Some(*at), &path.key(key), "a key that has been written before", "each key once")
                    .hint(format!("the first one is at {}:{}", first.line, first.column));
                continue;
            }
            first_seen.insert(key, *at);
            if let Some(property) = properties.get(key.as_str()) {
                if let Some(value) = self.value(Shape::new(self.schema, property), value, &path.key(key), secret) {
                    mapping.insert(key.as_str().into(), value);
                }
            } else if let Some(named) = named {
                self.name(shape, key, *at, path);
                let value = self.value(Shape::new(self.schema, named), value, &path.key(key), secret);
                mapping.insert(key.as_str().into(), value.unwrap_or(Value::Null));
            } else {
                excused.extend(self.unknown(&properties, key, *at, path, secret));
            }
        }
        let written = |key: &str| first_seen.contains_key(key);
        self.missing(shape, path, &excused, written);
        self.choice(shape, path, &excused, written);
        Value::Mapping(mapping)
    }

    /// The name of an entry that somebody chose.
    fn name(&mut self, shape: Shape<'_>, name: &str, at: Position, path: &KeyPath) {
        let format = shape.keyword("propertyNames").and_then(|names| names.get("format")?.as_str());
        let Some(check) = format.and_then(check_of) else { return };
        if (check.complaint)(name).is_some() {
            self.report.error(Some(at), &path.key(name), quote(name), check.expected);
        }
    }

    /// Reports a key that means nothing; the answer is the one that was probably meant.
    fn unknown(
        &mut self,
        properties: &BTreeMap<&'a str, &Json>,
        key: &str,
        at: Position,
        path: &KeyPath,
        secret: bool,
    ) -> Option<&'a str> {
        let meant = nearest(key, properties.keys().copied());
        // Under a secret, what is not nearly a key may be the secret itself.
        let (place, found) = if secret && meant.is_none() {
            (path.clone(), format!("an unknown key of {} characters", key.chars().count()))
        } else {
            (path.key(key), format!("the unknown key {}", quote(key)))
        };
        let fault = self.report.error(Some(at), &place, found, alternatives(properties.keys().copied()));
        if let Some(meant) = meant {
            fault.hint(format!("did you mean `{meant}`?"));
        } else if key == "<<" {
            fault.hint("merge keys are not interpreted; write the keys out");
        }
        meant
    }

    fn missing(&mut self, shape: Shape<'a>, path: &KeyPath, excused: &[&str], written: impl Fn(&str) -> bool) {
        for key in shape.words("required").filter(|key| !written(key) && !excused.contains(key)) {
            let property = shape.properties().find(|(name, _)| *name == key);
            let expected = property.map(|(_, schema)| self.expected(Shape::new(self.schema, schema)));
            let path = path.key(key);
            let at = self.tree.position(&path);
            self.report.error(Some(at), &path, "nothing", expected.unwrap_or_default()).hint("required");
        }
    }

    fn choice(&mut self, shape: Shape<'a>, path: &KeyPath, excused: &[&str], written: impl Fn(&str) -> bool) {
        let choice = shape.choice();
        let present: Vec<&str> = choice.iter().copied().filter(|key| written(key)).collect();
        let found = match present.as_slice() {
            [_] => return,
            [] if choice.iter().any(|key| excused.contains(key)) || choice.is_empty() => return,
            [] => "none of them".to_owned(),
            several => several.iter().map(|key| quote(key)).collect::<Vec<_>>().join(" and "),
        };
        let at = self.tree.position(path);
        self.report.error(Some(at), path, found, format!("exactly one of {}", alternatives(choice)));
    }

    fn list(&mut self, shape: Shape<'a>, items: &[Node], at: Position, path: &KeyPath, secret: bool) -> Value {
        let least = shape.keyword("minItems").and_then(Json::as_u64).unwrap_or(0);
        if (items.len() as u64) < least {
            self.report.error(Some(at), path, "an empty list", "at least one item");
        }
        let Some(schema) = shape.keyword("items") else { return Value::Sequence(Vec::new()) };
        let shape = Shape::new(self.schema, schema);
        let items = items.iter().enumerate();
        let values =
            items.map(|(index, item)| self.value(shape, item, &path.index(index), secret).unwrap_or(Value::Null));
        Value::Sequence(values.collect())
    }

    fn scalar(
        &mut self,
        shape: Shape<'a>,
        scalar: &Scalar,
        node: &Node,
        path: &KeyPath,
        secret: bool,
    ) -> Option<Value> {
        let typed = Typed::of(scalar);
        if let Some(check) = shape.text("format").and_then(check_of) {
            if let Some(complaint) = (check.complaint)(&scalar.text) {
                let found = complaint.found.map_or_else(|| described(node, secret), str::to_owned);
                let fault = self.report.error(Some(node.at), path, found, check.expected);
                // A variable in it may be a secret.
                fault.hint = complaint.hint.filter(|_| !complaint.quotes || node.written().is_none());
                return None;
            }
            let sound = is_text(scalar, &typed) || (shape.is("integer") && matches!(typed, Typed::Integer(_)));
            return if sound { Some(scalar.text.as_str().into()) } else { self.mismatch(shape, node, path, secret) };
        }
        let Some(value) = read(shape, scalar, &typed) else {
            return self.mismatch(shape, node, path, secret);
        };
        let short = shape.keyword("minLength").is_some() && scalar.text.is_empty();
        let out_of_range = value.as_f64().is_some_and(|number| !in_range(shape, number));
        if short || out_of_range {
            return self.mismatch(shape, node, path, secret);
        }
        Some(value)
    }

    /// Reports that something else was expected.
    fn mismatch(&mut self, shape: Shape<'a>, node: &Node, path: &KeyPath, secret: bool) -> Option<Value> {
        if matches!(node.kind, Kind::Faulty) {
            return None;
        }
        let expected = self.expected(shape);
        let hint = self.hint(shape, node);
        self.report.error(Some(node.at), path, described(node, secret), expected).hint = hint;
        None
    }

    fn hint(&self, shape: Shape<'a>, node: &Node) -> Option<String> {
        let Kind::Scalar(scalar) = &node.kind else { return None };
        let typed = Typed::of(scalar);
        if matches!(typed, Typed::Null) {
            return Some("a key needs a value; leave the key out for its default".to_owned());
        }
        if shape.is("string") && !is_text(scalar, &typed) {
            return Some("put it in quotes".to_owned());
        }
        let number_or_truth = ["integer", "number", "boolean"].iter().any(|kind| shape.is(kind));
        if number_or_truth && !scalar.plain && scalar.written.is_none() {
            return Some("write it without quotes".to_owned());
        }
        let words: Vec<&str> = std::iter::once(shape)
            .chain(self.branches(shape))
            .flat_map(Shape::values)
            .filter_map(Json::as_str)
            .collect();
        let meant = nearest(&scalar.text, words.iter().copied())?;
        Some(format!("did you mean `{meant}`?"))
    }

    /// What a message says was expected.
    fn expected(&self, shape: Shape<'a>) -> String {
        let branches = self.branches(shape);
        if !branches.is_empty() {
            return branches.into_iter().map(|branch| self.expected(branch)).collect::<Vec<_>>().join(" or ");
        }
        let values: Vec<String> = shape
            .values()
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .collect();
        if !values.is_empty() {
            return alternatives(values.iter().map(String::as_str));
        }
        if let Some(check) = shape.text("format").and_then(check_of) {
            return check.expected.to_owned();
        }
        match shape.text("type") {
            Some("object") => {
                let required = shape.words("required").map(quote);
                let choice = Some(shape.choice()).filter(|choice| !choice.is_empty()).map(alternatives);
                match required.chain(choice).collect::<Vec<_>>().join(" and ") {
                    keys if keys.is_empty() => "a mapping".to_owned(),
                    keys => format!("a mapping with {keys}"),
                }
            }
            Some("array") => "a list".to_owned(),
            Some("boolean") => "`true` or `false`".to_owned(),
            Some("integer") => format!("a whole number{}", range(shape)),
            Some("number") => format!("a number{}", range(shape)),
            _ => "text".to_owned(),
        }
    }

    fn branches(&self, shape: Shape<'a>) -> Vec<Shape<'a>> {
        shape.list("anyOf").iter().map(|branch| Shape::new(self.schema, branch)).collect()
    }
}

/// Whether a branch is the one that was meant, to judge by the kind of value.
fn admits(branch: Shape<'_>, node: &Node) -> bool {
    match &node.kind {
        Kind::Map(_) => branch.is("object"),
        Kind::List(_) => branch.is("array"),
        Kind::Scalar(scalar) => read(branch, scalar, &Typed::of(scalar)).is_some(),
        Kind::Faulty => false,
    }
}

/// A scalar as a value of a shape without a format.
fn read(shape: Shape<'_>, scalar: &Scalar, typed: &Typed) -> Option<Value> {
    let values = shape.values();
    let allowed = |value: &Json| values.is_empty() || values.contains(&value);
    let text = is_text(scalar, typed) && (shape.is("string") || !values.is_empty());
    if text && allowed(&Json::from(scalar.text.as_str())) {
        return Some(scalar.text.as_str().into());
    }
    match *typed {
        Typed::Integer(number) if shape.is("integer") && allowed(&Json::from(number)) => Some(number.into()),
        Typed::Integer(number) if shape.is("number") => Some((number as f64).into()),
        Typed::Number(number) if shape.is("number") => Some(number.into()),
        Typed::Boolean(truth) if (shape.is("boolean") || !values.is_empty()) && allowed(&Json::from(truth)) => {
            Some(truth.into())
        }
        Typed::Null | Typed::Integer(_) | Typed::Number(_) | Typed::Boolean(_) | Typed::Text => None,
    }
}

fn in_range(shape: Shape<'_>, number: f64) -> bool {
    let bound = |keyword| shape.keyword(keyword).and_then(Json::as_f64);
    bound("minimum").is_none_or(|least| number >= least)
        && bound("exclusiveMinimum").is_none_or(|least| number > least)
        && bound("maximum").is_none_or(|most| number <= most)
}

fn range(shape: Shape<'_>) -> String {
    let bound = |keyword| shape.keyword(keyword);
    match (bound("minimum"), bound("exclusiveMinimum"), bound("maximum")) {
        (Some(least), _, Some(most)) => format!(" from {least} to {most}"),
        (Some(least), _, None) => format!(" of at least {least}"),
        (None, Some(least), Some(most)) => format!(" above {least}, at most {most}"),
        _ => String::new(),
    }
}

/// What stands at a place, without giving a secret away; in quotes where they matter, since `"1"` is not `1`.
fn described(node: &Node, secret: bool) -> String {
    match &node.kind {
        Kind::Map(_) => "a mapping".to_owned(),
        Kind::List(_) => "a list".to_owned(),
        Kind::Faulty => "something faulty".to_owned(),
        Kind::Scalar(scalar) => match (&scalar.written, Typed::of(scalar)) {
            (_, Typed::Null) => "nothing".to_owned(),
            _ if secret => format!("a string of {} characters", scalar.text.chars().count()),
            (Some(written), _) => format!("{}, which gives {} characters", quote(written), scalar.text.chars().count()),
            (None, _) if !scalar.plain && !Typed::of_plain(&scalar.text).is_text() => {
                quote(&format!("\"{}\"", scalar.text))
            }
            (None, _) => quote(&scalar.text),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every schema in a schema.
    fn schemas<'a>(schema: &'a Json, all: &mut Vec<&'a serde_json::Map<String, Json>>) {
        let Some(object) = schema.as_object() else { return };
        all.push(object);
        for (keyword, value) in object {
            match (keyword.as_str(), value) {
                ("properties" | "$defs", Json::Object(named)) => named.values().for_each(|schema| schemas(schema, all)),
                ("anyOf" | "oneOf", Json::Array(branches)) => branches.iter().for_each(|schema| schemas(schema, all)),
                ("items" | "additionalProperties" | "propertyNames", schema) => schemas(schema, all),
                _ => {}
            }
        }
    }

    #[test]
    fn the_schema_asks_for_nothing_that_is_not_checked() {
        let mut all = Vec::new();
        schemas(shared_schema(), &mut all);
        let used: BTreeSet<&str> = all.iter().flat_map(|schema| schema.keys().map(String::as_str)).collect();
        let understood = BTreeSet::from([
            "$defs",
            "$ref",
            "$schema",
            "additionalProperties",
            "anyOf",
            "const",
            "description",
            "enum",
            "exclusiveMinimum",
            "format",
            "items",
            "maximum",
            "minItems",
            "minLength",
            "minimum",
            "oneOf",
            "properties",
            "propertyNames",
            "required",
            "title",
            "type",
            "writeOnly",
        ]);
        assert_eq!(used.difference(&understood).collect::<Vec<_>>(), Vec::<&&str>::new());

        let formats = all.iter().filter_map(|schema| schema.get("format")?.as_str());
        // The widths of integers, which schemars names; `minimum` says what matters of them.
        let unknown: BTreeSet<&str> = formats.filter(|format| check_of(format).is_none()).collect();
        assert_eq!(unknown, BTreeSet::from(["double", "int64", "uint", "uint32"]));

        let closed = |schema: &&serde_json::Map<String, Json>| {
            schema.get("type").is_none_or(|kind| kind != "object") || schema.contains_key("additionalProperties")
        };
        assert!(all.iter().all(closed), "a mapping takes keys that nobody reads");
    }

    #[test]
    fn branches_and_choices_have_the_forms_that_are_understood() {
        let mut all = Vec::new();
        schemas(shared_schema(), &mut all);
        for branch in all.iter().filter_map(|schema| schema.get("oneOf")?.as_array()).flatten() {
            assert_eq!(branch["required"].as_array().map(Vec::len), Some(1), "{branch}");
        }
    }
}
