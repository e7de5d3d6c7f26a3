//! What an operator says to people, in one language or several.

use std::collections::BTreeMap;

/// Words for people: in one language for everybody, or in several by their tags (RFC 5646). Never without any.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Words {
    /// What counts where there is nothing better: the first that was given.
    fallback: String,
    /// By primary language subtag, in lower case.
    by_language: BTreeMap<String, String>,
}

impl Words {
    /// Words in several languages: what is said in the first of them counts where a language is missing. `None` if there
    /// are no words at all.
    #[must_use]
    pub fn in_languages<'a>(all: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let mut all = all.into_iter().peekable();
        let fallback = all.peek()?.1.to_owned();
        let by_language = all.map(|(language, words)| (language.to_ascii_lowercase(), words.to_owned())).collect();
        Some(Self { fallback, by_language })
    }

    /// What is said in a language, or else what counts instead.
    #[must_use]
    pub fn said_in(&self, language: &str) -> &str {
        self.by_language.get(language).unwrap_or(&self.fallback)
    }
}

/// Words for everybody.
impl From<&str> for Words {
    fn from(words: &str) -> Self {
        Self { fallback: words.to_owned(), by_language: BTreeMap::new() }
    }
}
