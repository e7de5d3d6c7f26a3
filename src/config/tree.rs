//! The YAML file as a tree whose every node knows where it stands.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::{DuplicateKeyPolicy, Location, MergeKeyPolicy, Options, Spanned};

use super::mistake::{Mistake, Place, Span};
use super::named_file;

/// A part of the configuration.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Where it stands, and how it is called.
    pub(super) place: Place,
    /// What it says.
    pub(super) value: Value,
}

/// What a part of the configuration says.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// `null`, or nothing at all behind a key.
    Null,
    /// `true` or `false`; YAML 1.1's `yes`, `no`, `on` and `off` are text.
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and what they stand for, in the order of the file.
    Map(Vec<Entry>),
}

/// A key and what it stands for.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The key.
    pub(super) key: String,
    /// Where the key stands.
    pub(super) key_span: Span,
    /// What it stands for.
    pub(super) node: Node,
}

impl Node {
    /// Reads YAML. `source` is the number under which the text is known to reports, `path` how the root is called.
    ///
    /// Of keys that occur twice, the first counts and every later one is a mistake.
    ///
    /// # Errors
    /// The first place at which the text stops being one YAML document.
    pub(super) fn parse(text: &str, source: usize, path: &str) -> Result<(Self, Vec<Mistake>), Mistake> {
        let raw = serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options())
            .map_err(|error| syntax_mistake(text, source, &error))?;
        let mut grower = Grower { source, mistakes: Vec::new() };
        let node = grower.node(raw, path.to_owned());
        Ok((node, grower.mistakes))
    }

    /// The nodes below this one.
    fn children(&self) -> Box<dyn Iterator<Item = &Self> + '_> {
        match &self.value {
            Value::List(items) => Box::new(items.iter()),
            Value::Map(entries) => Box::new(entries.iter().map(|entry| &entry.node)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => Box::new(std::iter::empty()),
        }
    }

    /// Gives the node and all below it the paths that they have at another place in a tree.
    pub(super) fn rename(&mut self, path: String) {
        match &mut self.value {
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    item.rename(format!("{path}[{index}]"));
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    entry.node.rename(child_path(&path, &entry.key));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {}
        }
        self.place.path = path;
    }

    /// Takes the node at `path` out of the tree; its parent remembers what it lost, and that it may have been meant to
    /// be `meant`. The root cannot be taken out.
    pub(super) fn remove(&mut self, path: &str, meant: Option<&str>) -> bool {
        let Self { place, value } = self;
        match value {
            Value::List(items) => match items.iter().position(|item| item.place.path == path) {
                Some(index) => {
                    items.remove(index);
                    place.gaps.push(path.to_owned());
                    true
                }
                None => items.iter_mut().any(|item| item.remove(path, meant)),
            },
            Value::Map(entries) => match entries.iter().position(|entry| entry.node.place.path == path) {
                Some(index) => {
                    place.gaps.push(entries.remove(index).key);
                    place.gaps.extend(meant.map(str::to_owned));
                    true
                }
                None => entries.iter_mut().any(|entry| entry.node.remove(path, meant)),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => false,
        }
    }

    /// The spans of values that a report must not print: secrets that should not have been written here at all.
    pub(super) fn secrets(&self) -> Vec<Span> {
        let mut keys = Vec::new();
        self.key_starts(&mut keys);
        let mut found = Vec::new();
        self.hide(false, &keys, &mut found);
        found
    }

    /// Where all keys begin.
    fn key_starts(&self, starts: &mut Vec<usize>) {
        if let Value::Map(entries) = &self.value {
            starts.extend(entries.iter().map(|entry| entry.key_span.start));
        }
        for child in self.children() {
            child.key_starts(starts);
        }
    }

    /// Collects what must not be printed. All of a hidden node is, whatever is in it.
    fn hide(&self, hidden: bool, keys: &[usize], found: &mut Vec<Span>) {
        match &self.value {
            Value::Map(entries) => {
                for entry in entries {
                    let hidden = hidden || entry.is_secret();
                    let leaf = !matches!(entry.node.value, Value::Map(_) | Value::List(_));
                    if hidden && leaf && entry.node.place.span == entry.key_span {
                        // It has no place of its own: everything up to the next key could be it.
                        let start = entry.key_span.start + entry.key_span.length;
                        let end = keys.iter().copied().filter(|next| *next >= start).min();
                        let length = end.map_or(usize::MAX - start, |end| end - start);
                        found.push(Span { start, length, ..entry.key_span });
                    } else {
                        entry.node.hide(hidden, keys, found);
                    }
                }
            }
            Value::List(items) => items.iter().for_each(|item| item.hide(hidden, keys, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {
                found.extend(Some(self.place.span).filter(|_| hidden));
            }
        }
    }
}

impl Entry {
    /// Whether what stands here opens a door: by its key, or because a secret stands where the path of its file should.
    fn is_secret(&self) -> bool {
        match &self.node.value {
            Value::Text(text) if self.key.ends_with("_file") => named_file::is_likely_secret(text),
            _ => is_secret_key(&self.key),
        }
    }
}

/// Whether what goes by this name opens a door: the private members of a JWK (RFC 7518 §6), and whatever says so.
pub(super) fn is_secret_key(key: &str) -> bool {
    const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "k", "oth"];
    let key = key.to_ascii_lowercase();
    let named = ["password", "secret", "passphrase", "credential"].iter().any(|word| key.contains(word));
    let marked = ["_key", "_hash"].iter().any(|end| key.ends_with(end));
    PRIVATE.contains(&key.as_str()) || (!key.ends_with("_file") && (named || marked))
}

/// The path of `key` below `parent`: `a.b`, or `a."b c"` for keys that are no plain words.
pub(super) fn child_path(parent: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let dot = if parent.is_empty() { "" } else { "." };
    if plain { format!("{parent}{dot}{key}") } else { format!("{parent}{dot}{key:?}") }
}

/// How much of a file aliases may repeat, in events of the parser.
const REPLAYED_LIMIT: usize = 10_000;

/// YAML 1.2 as strictly as the parser can be told to be.
fn options() -> Options {
    serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: REPLAYED_LIMIT },
    }
}

fn syntax_mistake(text: &str, source: usize, error: &serde_saphyr::Error) -> Mistake {
    let span = error.location().map(|location| span_of(text, source, location));
    let message = error.without_snippet().to_string();
    // The place is shown in the margin; the parser repeats it at the end of its sentence.
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    let place = Place { path: String::new(), span: span.unwrap_or(Span { source, start: 0, length: 0 }), gaps: vec![] };
    Mistake::new(&place, format!("this is not YAML: {message}"))
}

/// Byte offsets are not known for syntax errors; line and column are.
fn span_of(text: &str, source: usize, location: Location) -> Span {
    let line = usize::try_from(location.line()).unwrap_or(1).saturating_sub(1);
    let column = usize::try_from(location.column()).unwrap_or(1).saturating_sub(1);
    let line_start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = &text[line_start..];
    let start = line_start + rest.char_indices().nth(column).map_or(rest.len(), |(offset, _)| offset);
    Span { source, start, length: 0 }
}

/// What the YAML library hands over.
enum Raw {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Number::from_f64(value).map_or(Raw::Null, Raw::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

/// Gives raw YAML its paths, and drops keys that occur twice.
struct Grower {
    source: usize,
    mistakes: Vec<Mistake>,
}

impl Grower {
    fn node(&mut self, raw: Spanned<Raw>, path: String) -> Node {
        let span = self.span(raw.referenced);
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Bool(value) => Value::Bool(value),
            Raw::Number(value) => Value::Number(value),
            Raw::Text(value) => Value::Text(value),
            Raw::List(items) => {
                let item = |(index, item)| self.node(item, format!("{path}[{index}]"));
                Value::List(items.into_iter().enumerate().map(item).collect())
            }
            Raw::Map(entries) => Value::Map(self.map(entries, &path)),
        };
        Node { place: Place { path, span, gaps: Vec::new() }, value }
    }

    fn map(&mut self, raw: Vec<(Spanned<String>, Spanned<Raw>)>, path: &str) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = HashSet::new();
        for (key, value) in raw {
            let key_span = self.span(key.referenced);
            let mut node = self.node(value, child_path(path, &key.value));
            // A block begins somewhere below its key; people look for the key.
            if node.place.span.length == 0 {
                node.place.span = key_span;
            }
            if !seen.insert(key.value.clone()) {
                let place = Place { span: key_span, ..node.place };
                let mistake = Mistake::about(&place, "is given twice").help("keep one of the two");
                self.mistakes.push(mistake);
                continue;
            }
            entries.push(Entry { key: key.value, key_span, node });
        }
        entries
    }

    fn span(&self, location: Location) -> Span {
        let bytes = |number: Option<u64>| number.and_then(|number| usize::try_from(number).ok()).unwrap_or(0);
        let span = location.span();
        Span { source: self.source, start: bytes(span.byte_offset()), length: bytes(span.byte_len()) }
    }
}
