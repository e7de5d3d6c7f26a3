//! Words for people, in one language for all of them or in several.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::check::Judge;
use super::given::{Given, Parsed};
use super::mistake::Mistake;
use crate::oauth::Words;

/// What the file may say to people: a text, or a map of texts by language.
#[derive(Debug)]
pub(super) enum WordsFile {
    /// For everybody.
    One(String),
    /// By language, in the order of the file.
    Each(Vec<(Parsed<LanguageTag>, Given<String>)>),
}

/// Reports words that people could not read, and none at all.
pub(super) fn check(judge: &mut Judge<'_>, given: &Given<WordsFile>) {
    let Given { value, place } = given;
    match value {
        WordsFile::One(text) => judge.readable(&Given { value: text.clone(), place: place.clone() }),
        WordsFile::Each(languages) if languages.is_empty() && place.gaps.is_empty() => {
            let mistake = Mistake::about(place, "says nothing in any language");
            judge.report(mistake.help("say it in one language at least: `{ en: \"Read your orders\" }`"));
        }
        WordsFile::Each(languages) => languages.iter().for_each(|(_, text)| judge.readable(text)),
    }
}

/// A primary language subtag (RFC 5646 §2.2.1), in lower case.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct LanguageTag(String);

impl FromStr for LanguageTag {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let right = (2..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphabetic());
        if right { Ok(Self(text.to_ascii_lowercase())) } else { Err("must be a language such as `en`") }
    }
}

impl WordsFile {
    /// The words; `None` if there are none.
    pub(super) fn words(&self) -> Option<Words> {
        match self {
            Self::One(text) => Some(text.as_str().into()),
            Self::Each(all) => {
                Words::in_languages(all.iter().map(|(tag, words)| (tag.0.0.as_str(), words.value.as_str())))
            }
        }
    }
}

impl<'de> Deserialize<'de> for WordsFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordsVisitor)
    }
}

struct WordsVisitor;

impl<'de> Visitor<'de> for WordsVisitor {
    type Value = WordsFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, or a map of texts by language")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<WordsFile, E> {
        Ok(WordsFile::One(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<WordsFile, A::Error> {
        let mut all = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            all.push(entry);
        }
        Ok(WordsFile::Each(all))
    }
}

impl JsonSchema for WordsFile {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "words".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{ "type": "string" }, { "type": "object", "additionalProperties": { "type": "string" } }]
        })
    }

    fn inline_schema() -> bool {
        true
    }
}
