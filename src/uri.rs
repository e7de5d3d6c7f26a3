//! URIs: http(s) URIs in normal form (RFC 3986 §6.2), origins, redirect URIs (RFC 8252 §7) and resource identifiers.
//!
//! Only two places normalise: the `htu` of a proof and the path that a policy is asked about. Everything else is
//! compared by code point.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::ident::Audience;

/// The longest URI accepted, in bytes.
pub const URI_LIMIT: usize = 8 * 1024;

/// Why a text is not an http(s) URI that we take.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UriFault {
    /// Not `http://` or `https://`.
    #[error("must begin with https:// (or http://)")]
    Scheme,
    /// The authority is empty, has userinfo, or is no host with an optional port.
    #[error("must have a host, an optional port and no userinfo")]
    Authority,
    /// The path holds controls, spaces or a malformed percent-encoding, or does not begin with a slash.
    #[error("must have a path that begins with / and is well-formed")]
    Path,
    /// Longer than [`URI_LIMIT`].
    #[error("must be at most 8 KiB long")]
    TooLong,
}

/// An http or https URI in the normal form of RFC 3986 §6.2.2 and §6.2.3, without query and fragment.
///
/// Scheme and host are lower case, a default port and one trailing dot of the host are gone, the path has no dot
/// segments, `%hh` is upper case, unreserved characters are decoded, and characters that may not stand in a path are
/// encoded, as Envoy does. Case of the path, `//`, a trailing slash and reserved characters are kept: they matter.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct HttpUri<'a> {
    https: bool,
    host: Cow<'a, str>,
    port: u16,
    path: Cow<'a, str>,
}

impl<'a> HttpUri<'a> {
    /// Reads an absolute http(s) URI; drops its query and fragment.
    ///
    /// # Errors
    /// A [`UriFault`] that names the part at fault.
    pub fn parse(text: &'a str) -> Result<Self, UriFault> {
        if text.len() > URI_LIMIT {
            return Err(UriFault::TooLong);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UriFault::Scheme)?;
        let https = match () {
            () if scheme.eq_ignore_ascii_case("https") => true,
            () if scheme.eq_ignore_ascii_case("http") => false,
            () => return Err(UriFault::Scheme),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (host, port) = split_authority(authority, https)?;
        let path_end = tail.find(['?', '#']).unwrap_or(tail.len());
        let path = normalize_path(&tail[..path_end])?;
        Ok(Self { https, host, port, path })
    }

    /// Puts `path` (as it stands in a request line, without its query) behind `origin`.
    ///
    /// # Errors
    /// [`UriFault::Path`].
    pub fn at(origin: &'a Origin, path: &'a str) -> Result<Self, UriFault> {
        let path = normalize_path(path)?;
        Ok(Self { https: origin.https, host: Cow::Borrowed(&origin.host), port: origin.port, path })
    }

    /// Whether the scheme is https.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Whether the host is this machine: `127.0.0.1`, `[::1]` or `localhost`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// The path in normal form; never empty.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Scheme, host and port.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin { https: self.https, host: self.host.to_string(), port: self.port }
    }
}

impl fmt::Display for HttpUri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_origin(f, self.https, &self.host, self.port)?;
        f.write_str(&self.path)
    }
}

/// Scheme, host and port of an http(s) URI, in normal form.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Origin {
    https: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// Whether `authority`, a `Host` header or `:authority`, names this origin; case, one trailing dot and the default
    /// port do not matter (RFC 3986 §6.2.3).
    #[must_use]
    pub fn is_named_by(&self, authority: &str) -> bool {
        split_authority(authority, self.https).is_ok_and(|(host, port)| host == self.host && port == self.port)
    }

    /// Whether the scheme is https.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.https
    }
}

/// Reads the origin of an http(s) URI; the rest of it is dropped.
impl FromStr for Origin {
    type Err = UriFault;

    fn from_str(text: &str) -> Result<Self, UriFault> {
        HttpUri::parse(text).map(|uri| uri.origin())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_origin(f, self.https, &self.host, self.port)
    }
}

fn write_origin(f: &mut fmt::Formatter<'_>, https: bool, host: &str, port: u16) -> fmt::Result {
    let scheme = if https { "https" } else { "http" };
    write!(f, "{scheme}://{host}")?;
    if port == default_port(https) { Ok(()) } else { write!(f, ":{port}") }
}

const fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

fn is_loopback(host: &str) -> bool {
    matches!(host, "127.0.0.1" | "[::1]" | "localhost")
}

/// Splits `host[:port]` and brings both into normal form.
fn split_authority(authority: &str, https: bool) -> Result<(Cow<'_, str>, u16), UriFault> {
    let host_end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']').ok_or(UriFault::Authority)? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(host_end);
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => default_port(https),
        Some("") => default_port(https),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map_err(|_| UriFault::Authority)?
        }
        None | Some(_) => return Err(UriFault::Authority),
    };
    Ok((normalize_host(host)?, port))
}

/// The host of `authority`, a `Host` header or `:authority`, in normal form and without its port; `None` if that is no host.
#[must_use]
pub fn normal_host(authority: &str) -> Option<Cow<'_, str>> {
    split_authority(authority, true).ok().map(|(host, _)| host)
}

fn normalize_host(host: &str) -> Result<Cow<'_, str>, UriFault> {
    if let Some(literal) = host.strip_prefix('[') {
        let address: Ipv6Addr =
            literal.strip_suffix(']').and_then(|text| text.parse().ok()).ok_or(UriFault::Authority)?;
        return Ok(Cow::Owned(format!("[{address}]")));
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if host.is_empty() || !host.bytes().all(named) {
        return Err(UriFault::Authority);
    }
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Ok(Cow::Owned(host.to_ascii_lowercase()));
    }
    Ok(Cow::Borrowed(host))
}

/// Brings a path into the normal form described at [`HttpUri`]. An empty path becomes `/`.
///
/// # Errors
/// [`UriFault::Path`] for a path that does not begin with a slash, or holds controls, spaces, or a `%` that two
/// hexadecimal digits do not follow.
pub fn normalize_path(path: &str) -> Result<Cow<'_, str>, UriFault> {
    if path.is_empty() {
        return Ok(Cow::Borrowed("/"));
    }
    if !path.starts_with('/') {
        return Err(UriFault::Path);
    }
    let decoded = normalize_octets(path)?;
    if decoded.contains("/.") { Ok(Cow::Owned(remove_dot_segments(&decoded))) } else { Ok(decoded) }
}

/// RFC 3986 §6.2.2.1 and §6.2.2.2.
fn normalize_octets(path: &str) -> Result<Cow<'_, str>, UriFault> {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%' && !must_be_encoded(byte);
    if path.bytes().all(plain) {
        return Ok(Cow::Borrowed(path));
    }
    let mut out = String::with_capacity(path.len() + 8);
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => push_octet(&mut out, hex_octet(bytes.next(), bytes.next())?, false),
            0x00..=0x20 | 0x7f => return Err(UriFault::Path),
            byte => push_octet(&mut out, byte, !must_be_encoded(byte)),
        }
    }
    Ok(Cow::Owned(out))
}

fn push_octet(out: &mut String, octet: u8, literal: bool) {
    let unreserved = octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~');
    if literal || unreserved {
        out.push(char::from(octet));
    } else {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        out.push('%');
        out.push(char::from(HEX[usize::from(octet >> 4)]));
        out.push(char::from(HEX[usize::from(octet & 15)]));
    }
}

fn hex_octet(high: Option<u8>, low: Option<u8>) -> Result<u8, UriFault> {
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).ok_or(UriFault::Path);
    u8::try_from(digit(high)? * 16 + digit(low)?).map_err(|_| UriFault::Path)
}

/// Characters that Envoy percent-encodes before we see the path, while a browser may have signed them raw.
fn must_be_encoded(byte: u8) -> bool {
    matches!(byte, b'|' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'}' | 0x80..)
}

/// RFC 3986 §5.2.4, for a path that begins with a slash.
fn remove_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_in_directory = false;
    for segment in path.split('/').skip(1) {
        ends_in_directory = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    if ends_in_directory {
        kept.push("");
    }
    let mut out = String::with_capacity(path.len());
    for segment in kept {
        out.push('/');
        out.push_str(segment);
    }
    if out.is_empty() { "/".to_owned() } else { out }
}

/// Why a text is not a redirect URI that a client may register or send.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RedirectUriFault {
    /// Relative, or with a scheme that is no scheme.
    #[error("must be an absolute URI")]
    NotAbsolute,
    /// RFC 6749 §3.1.2.
    #[error("must not have a fragment")]
    Fragment,
    /// RFC 9700 §2.6: http is for loopback only.
    #[error("must be https; http is for loopback only")]
    Insecure,
    /// RFC 8252 §7.1: a private-use scheme has a domain name in reverse order.
    #[error("must be https, http on loopback, or a private-use scheme with a dot in it")]
    Scheme,
    /// Holds spaces, controls or characters outside ASCII, or is longer than 2 KiB.
    #[error("must be at most 2 KiB of printable ASCII without spaces, quotes or angle brackets")]
    Unprintable,
}

/// A redirect URI (RFC 6749 §3.1.2), as registered or as requested.
#[derive(Clone, Eq, PartialEq)]
pub struct RedirectUri(String);

impl RedirectUri {
    /// The URI as it goes over the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both are plain http on the same loopback IP literal and differ in nothing but the port (RFC 8252 §7.3).
    /// `localhost` is no literal: who it is, a resolver decides (RFC 8252 §8.3).
    #[must_use]
    pub fn is_same_loopback_but_for_the_port(&self, other: &Self) -> bool {
        match (loopback_parts(&self.0), loopback_parts(&other.0)) {
            (Some(one), Some(other)) => one == other,
            (None | Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Whether it is one of a website: http or https.
    #[must_use]
    pub fn is_http(&self) -> bool {
        self.0.parse::<Origin>().is_ok()
    }

    /// The host of a website, in lower case.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        let origin = self.0.parse::<Origin>().ok()?.to_string();
        let authority = origin.split_once("://")?.1;
        let host = match authority.strip_prefix('[') {
            Some(literal) => literal.split(']').next()?,
            None => authority.split(':').next()?,
        };
        Some(host.to_ascii_lowercase())
    }

    /// Adds parameters to the query, keeping what is there (RFC 6749 §4.1.2).
    #[must_use]
    pub fn with_query(&self, parameters: &[(&str, &str)]) -> String {
        let separator = if self.0.contains('?') { '&' } else { '?' };
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        format!("{}{separator}{query}", self.0)
    }

    /// Whether it leads to whatever listens on the machine of the browser.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        HttpUri::parse(&self.0).is_ok_and(|uri| uri.is_loopback())
    }

    /// What a person may be shown as the place to which a browser will be sent: the origin, or the scheme.
    #[must_use]
    pub fn destination(&self) -> String {
        match self.0.parse::<Origin>() {
            Ok(origin) => origin.to_string(),
            Err(_) => self.0.split(':').next().unwrap_or_default().to_owned(),
        }
    }
}

impl FromStr for RedirectUri {
    type Err = RedirectUriFault;

    fn from_str(text: &str) -> Result<Self, RedirectUriFault> {
        let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\');
        if text.len() > 2_048 || !text.bytes().all(allowed) {
            return Err(RedirectUriFault::Unprintable);
        }
        if text.contains('#') {
            return Err(RedirectUriFault::Fragment);
        }
        let (scheme, _) = text.split_once(':').ok_or(RedirectUriFault::NotAbsolute)?;
        let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || !scheme.bytes().all(named) {
            return Err(RedirectUriFault::NotAbsolute);
        }
        match HttpUri::parse(text) {
            Ok(uri) if uri.is_https() || uri.is_loopback() => Ok(Self(text.to_owned())),
            Ok(_) => Err(RedirectUriFault::Insecure),
            Err(UriFault::Scheme) if is_private_use(scheme) => Ok(Self(text.to_owned())),
            Err(UriFault::Scheme) => Err(RedirectUriFault::Scheme),
            Err(UriFault::Authority | UriFault::Path | UriFault::TooLong) => Err(RedirectUriFault::NotAbsolute),
        }
    }
}

impl fmt::Debug for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedirectUri({})", self.destination())
    }
}

fn is_private_use(scheme: &str) -> bool {
    let web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    scheme.contains('.') && !web
}

/// Host and everything behind the port of a plain-http loopback URI, byte for byte; `None` for any other URI.
fn loopback_parts(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("http://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let host = ["127.0.0.1", "[::1]"].into_iter().find(|host| {
        authority.strip_prefix(host).is_some_and(|port| {
            port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
        })
    })?;
    Some((host, tail))
}

/// Reads a resource indicator (RFC 8707 §2): an absolute URI without a fragment.
///
/// # Errors
/// [`UriFault`] when it is none.
pub fn resource_indicator(text: &str) -> Result<Audience, UriFault> {
    HttpUri::parse(text)?;
    if text.contains('#') {
        return Err(UriFault::Path);
    }
    text.parse().map_err(|_| UriFault::TooLong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_uris_take_their_normal_form() {
        for (text, normal) in [
            ("HTTPS://API.Example.COM:443/v1/items?x=1#f", "https://api.example.com/v1/items"),
            ("https://h", "https://h/"),
            ("https://h./a/./b/../c", "https://h/a/c"),
            ("https://h/a/..", "https://h/"),
            ("https://h/%7euser/%2fx%c3%a9", "https://h/~user/%2Fx%C3%A9"),
            ("https://h/a|b{c}", "https://h/a%7Cb%7Bc%7D"),
            ("https://h/é", "https://h/%C3%A9"),
            ("http://[0:0::1]:80//a//", "http://[::1]//a//"),
            ("https://h:8443/A;x=1+%20", "https://h:8443/A;x=1+%20"),
            ("https://h/%2e%2e/a", "https://h/a"),
        ] {
            assert_eq!(HttpUri::parse(text).map(|uri| uri.to_string()).as_deref(), Ok(normal), "{text}");
        }
    }

    #[test]
    fn what_is_no_http_uri_is_refused() {
        for text in [
            "",
            "/a",
            "ftp://h/",
            "https:///a",
            "https://u@h/",
            "https://h:x/",
            "https://h:99999/",
            "https://h/%",
            "https://h/%zz",
            "https://h/a b",
            "https://h/\0",
            "https://[::1/",
            "https://é/",
            "https://h%41/",
        ] {
            assert!(HttpUri::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn loopback_redirect_uris_may_differ_in_the_port() {
        let registered: RedirectUri = "http://127.0.0.1/cb".parse().expect("loopback is allowed");
        for (requested, permitted) in [
            ("http://127.0.0.1/cb", true),
            ("http://127.0.0.1:49152/cb", true),
            ("http://127.0.0.1:49152/cb/", false),
            ("http://127.0.0.1:49152/cb?x=1", false),
            ("http://localhost:49152/cb", false),
            ("http://[::1]:49152/cb", false),
            ("https://127.0.0.1/cb", false),
        ] {
            let requested = requested.parse().expect("a redirect URI");
            assert_eq!(registered.is_same_loopback_but_for_the_port(&requested), permitted, "{requested:?}");
        }
        let localhost: RedirectUri = "http://localhost/cb".parse().expect("loopback is allowed");
        assert!(
            !localhost.is_same_loopback_but_for_the_port(&"http://localhost:1/cb".parse().expect("a redirect URI"))
        );
    }

    #[test]
    fn dangerous_redirect_uris_are_refused() {
        for (text, fault) in [
            ("http://app.example/cb", RedirectUriFault::Insecure),
            ("https://app.example/cb#f", RedirectUriFault::Fragment),
            ("javascript:alert(1)", RedirectUriFault::Scheme),
            ("data:text/html,x", RedirectUriFault::Scheme),
            ("/cb", RedirectUriFault::NotAbsolute),
            ("https://u@app.example/cb", RedirectUriFault::NotAbsolute),
            ("https://app.example/\"", RedirectUriFault::Unprintable),
        ] {
            assert_eq!(text.parse::<RedirectUri>().err(), Some(fault), "{text}");
        }
    }
}
