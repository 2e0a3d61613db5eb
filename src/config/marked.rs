//! The text of a configuration as a tree that knows where each key and value stands.
//!
//! `resolve::parse` makes one per file; `expand`, `shape` and every fault's position read it. It knows YAML and nothing
//! about what the keys mean. What it is given may be anything at all: it must never panic, recurse without bound or
//! grow much larger than the text.
//!
//! Of YAML it refuses tags, keys that are not scalars and several documents. Aliases stand for a copy of what they
//! name, within a bound; merge keys (`<<`) are not interpreted. Keys that stand twice are both kept, for `shape` to
//! report beside everything else.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};

use super::{
    fault::Position,
    path::{KeyPath, Step},
};

/// Nesting that no sensible configuration comes near, and that recursion over the tree survives on a small stack.
const MAX_DEPTH: usize = 32;
/// Values that aliases may add to the tree; a handful of aliases can otherwise stand for billions.
const MAX_ALIASED: usize = 10_000;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Something about which a fault has been reported; nobody needs to hear more of it.
    Faulty,
}

/// A scalar, of which only the place in the schema says whether it is text or a number.
#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Without quotes, so that `5` is a number and `true` a boolean.
    pub(crate) plain: bool,
    /// What stood here before a variable was put in: what messages show, since the variable may be a secret.
    pub(crate) written: Option<String>,
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Position,
    pub(crate) value: Node,
}

/// Why a text is not a tree.
#[derive(Debug)]
pub(crate) struct Malformed {
    pub(crate) at: Position,
    pub(crate) found: String,
    pub(crate) expected: &'static str,
    pub(crate) hint: Option<&'static str>,
}

/// Reads a text; `None` when there is nothing in it but comments.
pub(crate) fn parse(text: &str) -> Result<Option<Node>, Malformed> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| not_yaml(&error, text))?;
        builder.take(event, position(&span.start))?;
    }
    Ok(builder.root)
}

impl Node {
    /// Where to point for a path: its value, or as far down as the file goes.
    ///
    /// The entry of a mapping is pointed at by its key where something is missing in it.
    pub(crate) fn position(&self, path: &KeyPath) -> Position {
        let mut node = self;
        let mut label_at = self.at;
        for step in path.steps() {
            match node.child(step) {
                Some((at, child)) => (label_at, node) = (at, child),
                None => return label_at,
            }
        }
        node.at
    }

    /// What stands at a path.
    pub(crate) fn find(&self, path: &KeyPath) -> Option<&Self> {
        path.steps().iter().try_fold(self, |node, step| node.child(step).map(|(_, child)| child))
    }

    /// Of a scalar with variables: what it was before they were put in.
    pub(crate) fn written(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(scalar) => scalar.written.as_deref(),
            Kind::List(_) | Kind::Map(_) | Kind::Faulty => None,
        }
    }

    /// One step down: where it is written, and what is there.
    fn child(&self, step: &Step) -> Option<(Position, &Self)> {
        match (step, &self.kind) {
            (Step::Key(key), Kind::Map(entries)) => {
                entries.iter().find(|entry| entry.key == *key).map(|entry| (entry.at, &entry.value))
            }
            (Step::Index(index), Kind::List(items)) => items.get(*index).map(|item| (item.at, item)),
            _ => None,
        }
    }

    /// The number of values and the depth of a subtree.
    fn extent(&self) -> (usize, usize) {
        let children: Vec<&Node> = match &self.kind {
            Kind::List(items) => items.iter().collect(),
            Kind::Map(entries) => entries.iter().map(|entry| &entry.value).collect(),
            Kind::Scalar(_) | Kind::Faulty => Vec::new(),
        };
        children
            .iter()
            .map(|child| child.extent())
            .fold((1, 1), |(size, depth), (child_size, child_depth)| (size + child_size, depth.max(child_depth + 1)))
    }
}

/// Puts a tree together from the parser's events.
#[derive(Default)]
struct Builder {
    root: Option<Node>,
    /// The mappings and lists that are open.
    open: Vec<Open>,
    /// Finished values with an anchor, by the parser's number for it.
    anchors: HashMap<usize, Node>,
    /// Values that aliases have added.
    aliased: usize,
}

/// A mapping or list whose end has not come yet.
struct Open {
    at: Position,
    anchor: usize,
    kind: Kind,
    /// In a mapping: the key whose value comes next.
    key: Option<(String, Position)>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, at: Position) -> Result<(), Malformed> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(malformed(at, "a second document", "one document in the file"))
            }
            Event::DocumentStart(_) => Ok(()),
            Event::Scalar(_, _, _, Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
                Err(malformed(at, "a tag (`!…`)", "values without tags"))
            }
            Event::Scalar(text, style, anchor, None) => {
                let scalar = Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain, written: None };
                self.finish(anchor, Node { at, kind: Kind::Scalar(scalar) })
            }
            Event::SequenceStart(anchor, None) => self.open(at, anchor, Kind::List(Vec::new())),
            Event::MappingStart(anchor, None) => self.open(at, anchor, Kind::Map(Vec::new())),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { at, anchor, kind, .. }) => self.finish(anchor, Node { at, kind }),
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let node = self.alias(anchor, at)?;
                self.place(node)
            }
        }
    }

    fn open(&mut self, at: Position, anchor: usize, kind: Kind) -> Result<(), Malformed> {
        if self.open.len() == MAX_DEPTH {
            return Err(too_deep(at));
        }
        self.open.push(Open { at, anchor, kind, key: None });
        Ok(())
    }

    fn finish(&mut self, anchor: usize, node: Node) -> Result<(), Malformed> {
        // The parser numbers anchors from 1; 0 is none.
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.place(node)
    }

    /// A copy of what an alias names.
    fn alias(&mut self, anchor: usize, at: Position) -> Result<Node, Malformed> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(malformed(at, "an alias of a value that it is itself part of", "an alias of an earlier value"));
        };
        let (size, depth) = node.extent();
        self.aliased += size;
        if self.aliased > MAX_ALIASED {
            return Err(malformed(
                at,
                format!("aliases that stand for more than {MAX_ALIASED} values"),
                "a file of sensible size",
            ));
        }
        if self.open.len() + depth > MAX_DEPTH {
            return Err(too_deep(at));
        }
        Ok(node.clone())
    }

    /// Puts a finished value where it belongs: into what is open, or at the top.
    fn place(&mut self, node: Node) -> Result<(), Malformed> {
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut parent.kind {
            Kind::List(items) => items.push(node),
            Kind::Map(entries) => match (parent.key.take(), node.kind) {
                (Some((key, at)), kind) => entries.push(Entry { key, at, value: Node { at: node.at, kind } }),
                (None, Kind::Scalar(scalar)) => parent.key = Some((scalar.text, node.at)),
                (None, Kind::List(_) | Kind::Map(_) | Kind::Faulty) => {
                    return Err(malformed(node.at, "a mapping or list as a key", "a word as a key"));
                }
            },
            Kind::Scalar(_) | Kind::Faulty => {}
        }
        Ok(())
    }
}

/// What the parser says, with a hint about the one thing that looks like YAML and is not.
fn not_yaml(error: &ScanError, text: &str) -> Malformed {
    let at = position(error.marker());
    let line = text.lines().nth(at.line - 1).unwrap_or_default();
    let hint = line.contains("${").then_some("inside `{…}` and `[…]`, put `${…}` in quotes");
    Malformed { hint, ..malformed(at, format!("what is not YAML: {}", error.info()), "YAML") }
}

fn malformed(at: Position, found: impl Into<String>, expected: &'static str) -> Malformed {
    Malformed { at, found: found.into(), expected, hint: None }
}

fn too_deep(at: Position) -> Malformed {
    malformed(at, format!("more than {MAX_DEPTH} levels of nesting"), "a file of sensible depth")
}

fn position(marker: &Marker) -> Position {
    Position { line: marker.line().max(1), column: marker.col() + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Node {
        parse(text).unwrap().unwrap()
    }

    fn refusal(text: &str) -> String {
        let fault = parse(text).unwrap_err();
        format!("{}:{}: {}", fault.at.line, fault.at.column, fault.found)
    }

    fn at(line: usize, column: usize) -> Position {
        Position { line, column }
    }

    #[test]
    fn every_value_has_its_place() {
        let tree = tree("a: 1\nb:\n  - x\n  - { c: y }\n");
        let root = KeyPath::root();
        assert_eq!(tree.position(&root.key("a")), at(1, 4));
        assert_eq!(tree.position(&root.key("b").index(0)), at(3, 5));
        assert_eq!(tree.position(&root.key("b").index(1).key("c")), at(4, 10));
        assert_eq!(tree.position(&root.key("b").index(1).key("missing")), at(4, 5), "points at what it is missing in");
    }

    #[test]
    fn an_entry_in_which_something_is_missing_is_pointed_at_by_its_key() {
        let path = KeyPath::root().key("endpoints").key("iris").key("upstreams");
        assert_eq!(tree("endpoints:\n  iris:\n    queue: 1\n").position(&path), at(2, 3));
    }

    #[test]
    fn comments_alone_are_no_tree() {
        assert!(parse("").unwrap().is_none());
        assert!(parse("# nothing\n\n").unwrap().is_none());
    }

    #[test]
    fn what_it_does_not_read_is_said() {
        assert_eq!(refusal("a: 1\n---\nb: 2\n"), "2:1: a second document");
        assert_eq!(refusal("a: !!str 1\n"), "1:4: a tag (`!…`)");
        assert_eq!(refusal("? [a]\n: 1\n"), "1:3: a mapping or list as a key");
        assert_eq!(refusal("a: &x [*x]\n"), "1:8: an alias of a value that it is itself part of");
        assert_eq!(refusal(&"[".repeat(100)), "1:33: more than 32 levels of nesting");
        assert!(refusal("a:\n\tb: 1\n").starts_with("2:"), "{}", refusal("a:\n\tb: 1\n"));
    }

    #[test]
    fn aliases_are_copies_within_a_bound() {
        let copied = tree("a: &x { k: v }\nb: *x\n");
        assert_eq!(copied.position(&KeyPath::root().key("b").key("k")), at(1, 12));

        let bomb: String = (1..10).fold("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, n| {
            let alias = format!("*a{},", n - 1);
            format!("{text}a{n}: &a{n} [{}]\n", alias.repeat(10))
        });
        assert!(refusal(&bomb).ends_with("aliases that stand for more than 10000 values"), "{}", refusal(&bomb));

        let deep: String =
            (1..40).fold("a0: &a0 [x]\n".to_owned(), |text, n| format!("{text}a{n}: &a{n} [*a{}]\n", n - 1));
        assert!(refusal(&deep).ends_with("levels of nesting"), "{}", refusal(&deep));
    }
}
