//! The languages of the pages, and which one a browser gets.

use http::header::ACCEPT_LANGUAGE;

use super::text::Text;
use super::{english, german};
use crate::web::Received;

/// How many languages of a request are looked at.
const WISHES: usize = 16;

/// A language of the pages.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::web) enum Language {
    /// English, for whoever wishes nothing that we speak.
    #[default]
    English,
    /// German.
    German,
}

impl Language {
    /// All of them.
    pub(in crate::web) const ALL: [Self; 2] = [Self::English, Self::German];

    /// Its tag (RFC 5646), which is a primary subtag.
    pub(in crate::web) const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
        }
    }

    /// What the pages say in it.
    pub(super) const fn text(self) -> &'static Text {
        match self {
            Self::English => &english::TEXT,
            Self::German => &german::TEXT,
        }
    }

    /// The language that a tag or range names; regions and scripts do not matter (RFC 4647 §3.4).
    pub(in crate::web) fn of_tag(tag: &str) -> Option<Self> {
        let primary = tag.split('-').next().unwrap_or_default();
        Self::ALL.into_iter().find(|language| primary.eq_ignore_ascii_case(language.tag()))
    }

    /// The first language of `ui_locales` that we speak (OpenID Connect Core §3.1.2.1): tags in order of preference.
    pub(in crate::web) fn of_ui_locales(request: &Received) -> Option<Self> {
        let query = request.query.as_deref().unwrap_or_default();
        let in_body = request.form_text().unwrap_or_default();
        let parameters = form_urlencoded::parse(query.as_bytes()).chain(form_urlencoded::parse(in_body.as_bytes()));
        let wished = parameters.filter(|(name, _)| name == "ui_locales").map(|(_, tags)| tags).next()?;
        wished.split(' ').take(WISHES).find_map(Self::of_tag)
    }

    /// The language that `Accept-Language` wants most (RFC 9110 §12.5.4); of two wanted alike, the one named first.
    pub(in crate::web) fn of_header(request: &Received) -> Option<Self> {
        let ranges = request.header(ACCEPT_LANGUAGE).flat_map(|line| line.split(',')).take(WISHES);
        let mut best: Option<(Self, u16)> = None;
        for (language, weight) in ranges.filter_map(wish) {
            if weight > best.map_or(0, |(_, best)| best) {
                best = Some((language, weight));
            }
        }
        best.map(|(language, _)| language)
    }
}

/// A range and its weight in thousandths; `*` is the language of those who wish nothing.
fn wish(range: &str) -> Option<(Language, u16)> {
    let (tag, parameters) = range.split_once(';').unwrap_or((range, ""));
    let language = match tag.trim() {
        "*" => Language::default(),
        tag => Language::of_tag(tag)?,
    };
    match parameters.trim() {
        "" => Some((language, 1_000)),
        weight => Some((language, thousandths(weight.strip_prefix("q=").or(weight.strip_prefix("Q="))?)?)),
    }
}

/// A `qvalue` (RFC 9110 §12.4.2): `0` or `1`, with up to three decimals.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if !matches!(whole, "0" | "1") || decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{whole}{decimals:0<3}").parse().ok()?;
    (thousandths <= 1_000).then_some(thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::metadata::UI_LOCALES;

    #[test]
    fn the_metadata_name_all_languages() {
        assert_eq!(Language::ALL.map(Language::tag), UI_LOCALES);
    }

    #[test]
    fn ranges_have_weights() {
        for (range, wanted) in [
            ("de", Some((Language::German, 1_000))),
            (" de-AT ;q=0.8", Some((Language::German, 800))),
            ("EN-gb; q=0.25", Some((Language::English, 250))),
            ("de;q=1.000", Some((Language::German, 1_000))),
            ("de;q=0", Some((Language::German, 0))),
            ("*;q=0.001", Some((Language::English, 1))),
            ("fr", None),
            ("de;q=1.001", None),
            ("de;q=0.1234", None),
            ("de;q=-1", None),
            ("de;level=1", None),
            ("", None),
        ] {
            assert_eq!(wish(range), wanted, "{range:?}");
        }
    }
}
