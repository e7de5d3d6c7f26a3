//! The headers of a request, as a proxy passes them on.

/// Header fields in the order of arrival; lookups ignore the case of names (RFC 9110 §5.1).
///
/// Proxies differ in how they pass on a field that occurs twice: as two entries, or as one value joined by commas. Both
/// come out of [`Headers::single`] as [`Single::Several`], so that no rule ever looks at one of two values.
#[derive(Debug, Default)]
pub struct Headers<'a> {
    /// Names and values.
    fields: Vec<(&'a str, &'a [u8])>,
}

/// A field of which there should be one at most.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Single<'a> {
    /// There is none.
    Absent,
    /// There is exactly one, and no comma in it.
    One(&'a [u8]),
    /// There are several, be it several entries or one value with a comma.
    Several,
}

impl<'a> Headers<'a> {
    /// The value of a field that may occur once.
    #[must_use]
    pub fn single(&self, name: &str) -> Single<'a> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (None, _) => Single::Absent,
            (Some(value), None) if !value.contains(&b',') => Single::One(value),
            (Some(_), None | Some(_)) => Single::Several,
        }
    }

    /// Every value of a field.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// Every field, in the order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.fields.iter().copied()
    }

    /// Whether a field is there at all.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }
}

impl<'a> FromIterator<(&'a str, &'a [u8])> for Headers<'a> {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a [u8])>>(fields: T) -> Self {
        Self { fields: fields.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_absent_or_one_or_several() {
        let headers: Headers<'_> = [
            ("dpop", b"p1".as_slice()),
            ("Authorization", b"DPoP a,DPoP b"),
            ("x-twice", b""),
            ("X-Twice", b"2"),
            ("x-raw", b"\xff"),
        ]
        .into_iter()
        .collect();
        for (name, expected) in [
            ("DPoP", Single::One(b"p1".as_slice())),
            ("authorization", Single::Several),
            ("x-twice", Single::Several),
            ("x-raw", Single::One(b"\xff")),
            ("cookie", Single::Absent),
        ] {
            assert_eq!(headers.single(name), expected, "{name}");
        }
    }
}
