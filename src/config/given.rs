//! Reads a tree into types, and keeps the place of every value.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::{BorrowedStrDeserializer, U64Deserializer};
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error as _, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::mistake::{Mistake, Place, Span};
use super::tree::{Entry, Node, Value};

/// A value and the place where it was given.
#[derive(Clone, Debug)]
pub(super) struct Given<T> {
    /// What was given.
    pub(super) value: T,
    /// Where.
    pub(super) place: Place,
}

/// The name by which [`NodeDeserializer`] recognises a [`Given`]; it is no name that YAML could mean.
const GIVEN: &str = "\0given";

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(GIVEN, GivenVisitor(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Given<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }
}

struct GivenVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for GivenVisitor<T> {
    type Value = Given<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with its place")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Given<T>, A::Error> {
        let mut number = || parts.next_element::<usize>()?.ok_or_else(|| A::Error::custom("a place has three numbers"));
        let span = Span { source: number()?, start: number()?, length: number()? };
        let path = parts.next_element()?.unwrap_or_default();
        let gaps = parts.next_element()?.unwrap_or_default();
        let value = parts.next_element()?.ok_or_else(|| A::Error::custom("a place has a value"))?;
        Ok(Given { value, place: Place { path, span, gaps } })
    }
}

/// A value that is written as text and has a grammar of its own.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Parsed<T>(pub(super) T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(ParsedVisitor(PhantomData))
    }
}

impl<T> JsonSchema for Parsed<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string" })
    }

    fn inline_schema() -> bool {
        true
    }
}

struct ParsedVisitor<T>(PhantomData<T>);

impl<T: FromStr<Err: Display>> Visitor<'_> for ParsedVisitor<T> {
    type Value = Parsed<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Parsed<T>, E> {
        text.parse().map(Parsed).map_err(E::custom)
    }
}

/// Why a tree does not fit the types, and at which node.
#[derive(Debug)]
pub(super) struct Fault {
    kind: FaultKind,
    /// Where it is shown.
    place: Option<Box<Place>>,
    /// The node that must go so that the rest can be read.
    node: Option<String>,
}

/// What does not fit.
#[derive(Debug)]
enum FaultKind {
    /// A key that nobody knows.
    UnknownKey { key: String, known: &'static [&'static str] },
    /// A word where only certain words are known.
    UnknownWord { word: String, known: &'static [&'static str] },
    /// Another kind of value.
    WrongKind { wanted: String, found: &'static str },
    /// Anything else, as the predicate of a sentence.
    Unfit(String),
    /// What should be here was taken out because of an earlier fault.
    Hollow,
}

impl Fault {
    /// The node to take out so that the rest can be read.
    pub(super) fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// The known key that an unknown one was probably meant to be.
    pub(super) fn meant(&self) -> Option<&'static str> {
        match &self.kind {
            FaultKind::UnknownKey { key, known } => nearest(key, known),
            FaultKind::UnknownWord { .. } | FaultKind::WrongKind { .. } | FaultKind::Unfit(_) | FaultKind::Hollow => {
                None
            }
        }
    }

    /// The fault in words, unless it only follows from an earlier one.
    pub(super) fn mistake(&self) -> Option<Mistake> {
        let nowhere = Place::default();
        let place = self.place.as_deref().unwrap_or(&nowhere);
        Some(match &self.kind {
            FaultKind::UnknownKey { key, known } => unknown_key(place, key, known),
            FaultKind::UnknownWord { word, known } => {
                let mistake = Mistake::about(place, format!("cannot be `{word}`"));
                match nearest(word, known) {
                    Some(near) => mistake.help(format!("did you mean `{near}`?")),
                    None => mistake.help(format!("one of {}", listed(known))),
                }
            }
            FaultKind::WrongKind { wanted, found } => {
                let mistake = Mistake::about(place, format!("must be {wanted}, not {found}"));
                let unquoted = wanted.starts_with("text") && matches!(*found, "a number" | "true or false");
                if unquoted { mistake.help("put it in quotes") } else { mistake }
            }
            FaultKind::Unfit(predicate) => Mistake::about(place, predicate),
            FaultKind::Hollow => return None,
        })
    }

    /// Says where, unless something deeper has said it.
    fn at(mut self, place: &Place, node: Option<&str>) -> Self {
        self.place.get_or_insert_with(|| Box::new(place.clone()));
        self.node = self.node.or_else(|| node.map(str::to_owned));
        self
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl std::error::Error for Fault {}

impl From<FaultKind> for Fault {
    fn from(kind: FaultKind) -> Self {
        Self { kind, place: None, node: None }
    }
}

impl de::Error for Fault {
    fn custom<T: Display>(message: T) -> Self {
        FaultKind::Unfit(message.to_string()).into()
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        FaultKind::WrongKind { wanted: wanted_name(&wanted.to_string()), found: found_name(found) }.into()
    }

    fn invalid_value(_: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        FaultKind::Unfit(format!("must be {}", wanted_name(&wanted.to_string()))).into()
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        FaultKind::UnknownWord { word: word.to_owned(), known }.into()
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        FaultKind::UnknownKey { key: key.to_owned(), known }.into()
    }
}

/// Keys that this version has not, but a later one will have: a misspelling would be bad advice. Each is named with a
/// key that is known beside it.
const PLANNED: &[(&str, &str)] = &[("when", "path")];

fn is_planned(key: &str, known: &[&str]) -> bool {
    PLANNED.iter().any(|(planned, beside)| *planned == key && known.contains(beside))
}

fn unknown_key(place: &Place, key: &str, known: &[&str]) -> Mistake {
    if key == "client_secret" {
        return Mistake::about(place, "cannot be given: secrets do not stand in this file").help(
            "write the secret to a file and give its path as `client_secret_file`, or give `client_secret_hash`",
        );
    }
    if is_planned(key, known) {
        return Mistake::about(place, "is not supported by this version").help("take it out");
    }
    let mistake = Mistake::about(place, "is unknown");
    match nearest(key, known) {
        Some(near) => mistake.help(format!("did you mean `{near}`?")),
        None => mistake.help(format!("known here: {}", listed(known))),
    }
}

/// The known word that `word` was probably meant to be.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    if is_planned(word, known) {
        return None;
    }
    let distance = |known: &str| strsim::damerau_levenshtein(&word.to_lowercase(), known);
    let near = known.iter().min_by_key(|known| distance(known))?;
    (distance(near) <= (near.len() / 3).max(1)).then_some(near)
}

fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// The words of serde in the words of this file.
fn wanted_name(wanted: &str) -> String {
    match wanted {
        "a string" | "borrowed string" => "text".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "usize" | "u64" | "u32" => "a whole number".to_owned(),
        other if other.starts_with("struct ") => "a map".to_owned(),
        other if other.starts_with("enum ") || other.starts_with("variant ") => "one of the known words".to_owned(),
        other => other.to_owned(),
    }
}

fn found_name(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "true or false",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "a number",
        Unexpected::Str(_) | Unexpected::Char(_) | Unexpected::Bytes(_) => "text",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a map",
        _ => "nothing",
    }
}

/// Reads a node into a type.
#[derive(Clone, Copy)]
pub(super) struct NodeDeserializer<'a>(pub(super) &'a Node);

impl<'a> NodeDeserializer<'a> {
    fn visit<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => visit_number(number, visitor),
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::List(items) => visitor.visit_seq(Items(items.iter())),
            Value::Map(entries) => visitor.visit_map(Entries { entries: entries.iter(), current: None }),
        }
    }

    fn place<T>(self, result: Result<T, Fault>) -> Result<T, Fault> {
        result.map_err(|fault| fault.at(&self.0.place, Some(&self.0.place.path)))
    }
}

impl<'de> Deserializer<'de> for NodeDeserializer<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.place(self.visit(visitor))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let absent = matches!(self.0.value, Value::Null);
        self.place(if absent { visitor.visit_none() } else { visitor.visit_some(self) })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        let result =
            if name == GIVEN { visitor.visit_seq(GivenParts(self, 0)) } else { visitor.visit_newtype_struct(self) };
        self.place(result)
    }

    /// A key with nothing behind it is a map without settings: `memory:` is `memory: {}`.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if matches!(self.0.value, Value::Null) {
            return self.place(visitor.visit_map(Entries { entries: [].iter(), current: None }));
        }
        if matches!(self.0.value, Value::List(_)) {
            return self.place(Err(Fault::invalid_type(Unexpected::Seq, &visitor)));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let listed = || listed(variants);
        let result = match &self.0.value {
            Value::Text(word) => visitor.visit_enum(Word(word)),
            Value::Map(entries) => match entries.as_slice() {
                [entry] => visitor.visit_enum(Variant(entry)),
                [] if !self.0.place.gaps.is_empty() => Err(FaultKind::Hollow.into()),
                _ => Err(FaultKind::Unfit(format!("must have exactly one of {}", listed())).into()),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) => {
                Err(FaultKind::Unfit(format!("must be one of {}", listed())).into())
            }
        };
        self.place(result)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

fn visit_number<'de, V: Visitor<'de>>(number: &serde_json::Number, visitor: V) -> Result<V::Value, Fault> {
    match (number.as_u64(), number.as_i64(), number.as_f64()) {
        (Some(number), _, _) => visitor.visit_u64(number),
        (None, Some(number), _) => visitor.visit_i64(number),
        (None, None, Some(number)) => visitor.visit_f64(number),
        (None, None, None) => visitor.visit_unit(),
    }
}

/// The parts of a [`Given`]: source, start, length, path, gaps, value.
struct GivenParts<'a>(NodeDeserializer<'a>, u8);

impl<'de> SeqAccess<'de> for GivenParts<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Place { path, span, gaps } = &self.0.0.place;
        let number = |number: usize| U64Deserializer::<Fault>::new(number as u64);
        let part = self.1;
        self.1 += 1;
        match part {
            0 => seed.deserialize(number(span.source)),
            1 => seed.deserialize(number(span.start)),
            2 => seed.deserialize(number(span.length)),
            3 => seed.deserialize(BorrowedStrDeserializer::new(path)),
            4 => seed.deserialize(gaps.clone().into_deserializer()),
            _ => seed.deserialize(self.0),
        }
        .map(Some)
    }
}

/// The items of a list.
struct Items<'a>(std::slice::Iter<'a, Node>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        self.0.next().map(|node| seed.deserialize(NodeDeserializer(node))).transpose()
    }
}

/// The entries of a map.
struct Entries<'a> {
    entries: std::slice::Iter<'a, Entry>,
    current: Option<&'a Entry>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.current = self.entries.next();
        let Some(entry) = self.current else { return Ok(None) };
        let key = seed.deserialize(BorrowedStrDeserializer::new(&entry.key)).map(Some);
        key.map_err(|fault: Fault| fault.at(&key_place(entry), Some(&entry.node.place.path)))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        let entry = self.current.take().ok_or_else(|| Fault::custom("a value follows its key"))?;
        seed.deserialize(NodeDeserializer(&entry.node))
    }
}

/// The variant of an enum that is written as a word.
struct Word<'a>(&'a str);

impl<'de> EnumAccess<'de> for Word<'de> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Fault> {
        Ok((seed.deserialize(BorrowedStrDeserializer::<Fault>::new(self.0))?, self))
    }
}

impl<'de> VariantAccess<'de> for Word<'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Fault> {
        Err(FaultKind::Unfit(format!("must be a map: `{{ {}: {{}} }}`", self.0)).into())
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Fault> {
        Err(Fault::custom("must be a map"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        self.tuple_variant(0, visitor)
    }
}

/// The variant of an enum that is written as a map of one entry.
struct Variant<'a>(&'a Entry);

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Fault;
    type Variant = NodeDeserializer<'de>;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self::Variant), Fault> {
        let name = seed.deserialize(BorrowedStrDeserializer::new(&self.0.key)).map_err(|fault: Fault| {
            let kind = match fault.kind {
                FaultKind::UnknownWord { word, known } => FaultKind::UnknownKey { key: word, known },
                kind => kind,
            };
            Fault { kind, ..fault }.at(&key_place(self.0), None)
        })?;
        Ok((name, NodeDeserializer(&self.0.node)))
    }
}

impl<'de> VariantAccess<'de> for NodeDeserializer<'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        self.place(Err(FaultKind::Unfit("must be a word, not a map".to_owned()).into()))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_struct("", fields, visitor)
    }
}

/// The place of a key that stands for the place of its entry.
fn key_place(entry: &Entry) -> Place {
    Place { span: entry.key_span, ..entry.node.place.clone() }
}
