//! Request parameters (RFC 6749 §3.1, §3.2, Appendix B).

use percent_encoding::percent_decode_str;

use super::Refusal;
use crate::ident::Audience;

/// The most parameters in one request.
const COUNT_LIMIT: usize = 64;

/// The longest name of a parameter, in bytes after decoding.
const NAME_LIMIT: usize = 128;

/// The longest value of a parameter, in bytes after decoding: room for a large assertion.
const VALUE_LIMIT: usize = 16 * 1024;

/// What may occur more than once (RFC 8707 §2, RFC 8693 §2.1).
const MAY_REPEAT: [&str; 2] = ["resource", "audience"];

/// The parameters of a query or a form.
///
/// Each occurs once, `resource` and `audience` excepted. A parameter without a value counts as omitted; one that nobody
/// asks for is ignored.
#[derive(Clone, Default)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads `application/x-www-form-urlencoded` text in UTF-8.
    ///
    /// # Errors
    /// [`Refusal::FormMalformed`], [`Refusal::FormTooLarge`], [`Refusal::ParameterRepeated`].
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let (parameters, repeated) = Self::parse_with_repeats(text)?;
        if repeated.is_empty() { Ok(parameters) } else { Err(Refusal::ParameterRepeated) }
    }

    /// Reads the same, but only notes the names that occur more than once, and keeps the first value of each: the
    /// authorization endpoint says so by redirect, unless it is the redirect URI or the client that is in doubt.
    ///
    /// # Errors
    /// [`Refusal::FormMalformed`], [`Refusal::FormTooLarge`].
    pub(super) fn parse_with_repeats(text: &str) -> Result<(Self, Vec<String>), Refusal> {
        let mut parameters = Self(Vec::new());
        let mut repeated = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            check_size(parameters.0.len() + repeated.len(), &name, &value)?;
            if !MAY_REPEAT.contains(&name.as_str()) && parameters.0.iter().any(|(earlier, _)| *earlier == name) {
                repeated.push(name);
                continue;
            }
            parameters.0.push((name, value));
        }
        Ok((parameters, repeated))
    }

    /// The parameters of a signed request, within the same limits.
    ///
    /// # Errors
    /// [`Refusal::FormTooLarge`].
    pub(super) fn from_pairs(pairs: Vec<(String, String)>) -> Result<Self, Refusal> {
        for (index, (name, value)) in pairs.iter().enumerate() {
            check_size(index, name, value)?;
        }
        Ok(Self(pairs))
    }

    /// The parameters as `application/x-www-form-urlencoded` text.
    pub(super) fn to_form(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }

    /// Replaces a parameter.
    pub(super) fn set(&mut self, name: &str, value: String) {
        self.remove(name);
        self.0.push((name.to_owned(), value));
    }

    /// Takes a parameter out.
    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(each, _)| each != name);
    }

    /// The value of a parameter; `None` if it is absent or empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every value of a parameter that may repeat.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(each, value)| each == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// Whether there are no parameters at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one resource that is asked for, or `default` if none is. It must be among `known` (RFC 8707 §2).
    ///
    /// # Errors
    /// [`Refusal::ResourceUnknown`], also for several resources: an access token is for one.
    pub fn resource(&self, known: &[Audience], default: &Audience) -> Result<Audience, Refusal> {
        let mut asked = self.all("resource");
        match (asked.next(), asked.next()) {
            (None, _) => Ok(default.clone()),
            (Some(one), None) => {
                known.iter().find(|known| is_same(known.as_str(), one)).cloned().ok_or(Refusal::ResourceUnknown)
            }
            (Some(_), Some(_)) => Err(Refusal::ResourceUnknown),
        }
    }
}

/// Whether two resource indicators name the same resource.
///
/// Choice: a resource with no path is the same as with the path `/` (RFC 3986 §6.2.3), because many clients add the slash.
/// The token names it as it is configured. Anything else is compared by code point.
pub(super) fn is_same(known: &str, asked: &str) -> bool {
    fn without_empty_path(uri: &str) -> &str {
        let bare = uri.strip_suffix('/').unwrap_or(uri);
        if bare.split_once("://").is_some_and(|(_, authority)| !authority.contains(['/', '?'])) { bare } else { uri }
    }
    without_empty_path(known) == without_empty_path(asked)
}

/// Names only: values may open doors.
impl std::fmt::Debug for Parameters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Whether one more parameter, beside `others`, is within limits.
fn check_size(others: usize, name: &str, value: &str) -> Result<(), Refusal> {
    let fits = others < COUNT_LIMIT && name.len() <= NAME_LIMIT && value.len() <= VALUE_LIMIT;
    if fits { Ok(()) } else { Err(Refusal::FormTooLarge) }
}

/// Decodes one name or value of a form (RFC 6749 Appendix B).
pub(super) fn decode(text: &str) -> Result<String, Refusal> {
    if !text.contains(['+', '%']) {
        return Ok(text.to_owned()); // as nearly all names and assertions are
    }
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().map(std::borrow::Cow::into_owned).map_err(|_| Refusal::FormMalformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_as_the_appendix_says() {
        // RFC 6749 Appendix B: SPACE % & + POUND EURO.
        let form = Parameters::parse("a=+%25%26%2B%C2%A3%E2%82%AC&empty=&a[b]=c").expect("a form");
        assert_eq!(form.get("a"), Some(" %&+£€"));
        assert_eq!(form.get("empty"), None);
        assert_eq!(form.get("a[b]"), Some("c"));
        assert_eq!(form.get("b"), None);
    }

    #[test]
    fn what_is_ambiguous_or_excessive_is_refused() {
        let many = (0..65).map(|n| format!("p{n}=")).collect::<Vec<_>>().join("&");
        for (form, refusal) in [
            ("a=1&a=2", Refusal::ParameterRepeated),
            ("a=&a=2", Refusal::ParameterRepeated),
            ("a=%ff", Refusal::FormMalformed),
            (many.as_str(), Refusal::FormTooLarge),
        ] {
            assert_eq!(Parameters::parse(form).err(), Some(refusal), "{form}");
        }
        assert!(Parameters::parse("resource=a&resource=b").is_ok());
    }
}
