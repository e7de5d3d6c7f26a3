//! How an operator makes the pages their own: a name, a logo, a colour.

use std::fmt;
use std::str::FromStr;

use crate::secret::{base64url, sha256};

/// What the pages look like.
#[derive(Debug)]
pub struct Branding {
    /// What stands above every page and in its title.
    pub name: Option<String>,
    /// The picture beside it.
    pub logo: Option<Logo>,
    /// The colour of buttons and links on light pages.
    pub light: Colour,
    /// The same on dark pages.
    pub dark: Colour,
}

/// No name, no logo, and blue.
impl Default for Branding {
    fn default() -> Self {
        Self { name: None, logo: None, light: Colour([0x1d, 0x4f, 0xd8]), dark: Colour([0x8f, 0xb2, 0xff]) }
    }
}

/// A picture that this server serves itself, so that no page loads anything from elsewhere.
pub struct Logo {
    kind: LogoKind,
    bytes: Vec<u8>,
}

/// The size only.
impl fmt::Debug for Logo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Logo({:?}, {} bytes)", self.kind, self.bytes.len())
    }
}

/// The form of a picture.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum LogoKind {
    Png,
    Svg,
    Webp,
}

/// Neither PNG, SVG nor WebP.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("is no PNG, SVG or WebP picture")]
pub struct LogoFault;

impl Logo {
    /// The largest picture, in bytes.
    pub const LIMIT: u64 = 64 * 1024;

    /// Tells by its content what a picture is; its name says nothing.
    ///
    /// # Errors
    /// [`LogoFault`] if it is something else.
    pub fn new(bytes: Vec<u8>) -> Result<Self, LogoFault> {
        let kind = match bytes.as_slice() {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => LogoKind::Png,
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => LogoKind::Webp,
            text if is_svg(text) => LogoKind::Svg,
            _ => return Err(LogoFault),
        };
        Ok(Self { kind, bytes })
    }

    /// Where it is served, below the issuer. Another picture has another path, so browsers may keep it for good.
    pub(super) fn path(&self) -> String {
        let extension = match self.kind {
            LogoKind::Png => "png",
            LogoKind::Svg => "svg",
            LogoKind::Webp => "webp",
        };
        format!("/logo/{}.{extension}", base64url(&sha256(&self.bytes)[..12]))
    }

    pub(super) fn content_type(&self) -> &'static str {
        match self.kind {
            LogoKind::Png => "image/png",
            LogoKind::Svg => "image/svg+xml",
            LogoKind::Webp => "image/webp",
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Whether a text begins like an SVG document: with its root, or with what may stand before that.
fn is_svg(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let begins = ["<svg", "<?xml", "<!--", "<!DOCTYPE svg"].iter().any(|start| text.starts_with(start));
    begins && text.contains("<svg")
}

/// A colour of sRGB, written `#rrggbb`.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Colour([u8; 3]);

/// Not a colour.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be a colour such as \"#1d4fd8\"")]
pub struct ColourFault;

impl FromStr for Colour {
    type Err = ColourFault;

    fn from_str(text: &str) -> Result<Self, ColourFault> {
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6).ok_or(ColourFault)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ColourFault);
        }
        let number = u32::from_str_radix(digits, 16).map_err(|_| ColourFault)?;
        let [_, red, green, blue] = number.to_be_bytes();
        Ok(Self([red, green, blue]))
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

impl fmt::Debug for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What stands on a button: near black, or white.
const INKS: [Colour; 2] = [Colour([0x0d, 0x16, 0x26]), Colour([0xff, 0xff, 0xff])];

impl Colour {
    /// What a light page has behind its links: `--card` of the stylesheet.
    pub const LIGHT_CARD: Self = Self([0xff, 0xff, 0xff]);

    /// The same of a dark page.
    pub const DARK_CARD: Self = Self([0x1b, 0x20, 0x28]);

    /// The contrast that text needs against what is behind it (WCAG 2.2, success criterion 1.4.3).
    pub const READABLE: f64 = 4.5;

    /// The contrast of two colours, from 1 to 21 (WCAG 2.2, "contrast ratio").
    #[must_use]
    pub fn contrast(self, other: Self) -> f64 {
        let (one, other) = (self.luminance(), other.luminance());
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    /// The nearest shade of this colour that can be read on `behind`.
    #[must_use]
    pub fn readable_on(self, behind: Self) -> Self {
        let towards = if behind.luminance() > 0.5 { 0 } else { 255 };
        let shade = |step: u16| {
            Self(self.0.map(|part| {
                let (part, towards) = (u32::from(part), towards);
                let mixed = (part * u32::from(100 - step) + towards * u32::from(step)) / 100;
                u8::try_from(mixed).unwrap_or(u8::MAX)
            }))
        };
        (0..=100).map(shade).find(|shade| shade.contrast(behind) >= Self::READABLE).unwrap_or(self)
    }

    /// What can be read on it.
    pub(super) fn ink(self) -> Self {
        let [dark, light] = INKS;
        if self.contrast(dark) > self.contrast(light) { dark } else { light }
    }

    /// WCAG 2.2, "relative luminance".
    fn luminance(self) -> f64 {
        let [red, green, blue] = self.0.map(|part| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn colour(text: &str) -> Colour {
        text.parse().expect("a colour")
    }

    #[test]
    fn colours_have_a_contrast() {
        for (one, other, wanted) in
            [("#000000", "#ffffff", 21.0), ("#777777", "#ffffff", 4.48), ("#abcdef", "#ABCDEF", 1.0)]
        {
            assert!((colour(one).contrast(colour(other)) - wanted).abs() < 0.01, "{one} on {other}");
        }
        for bad in ["", "#fff", "#1d4fd", "1d4fd8", "#1d4fg8", "#+d4fd8", "#1d4fd8 ", "red"] {
            assert_eq!(bad.parse::<Colour>(), Err(ColourFault), "{bad:?}");
        }
    }

    #[test]
    fn a_readable_shade_is_found() {
        for (given, behind) in
            [("#ffd400", Colour::LIGHT_CARD), ("#1d4fd8", Colour::DARK_CARD), ("#000000", Colour::DARK_CARD)]
        {
            let shade = colour(given).readable_on(behind);
            assert!(shade.contrast(behind) >= Colour::READABLE, "{given} became {shade}");
            assert!(shade.contrast(shade.ink()) >= Colour::READABLE, "{shade} with {}", shade.ink());
        }
        assert_eq!(colour("#1d4fd8").readable_on(Colour::LIGHT_CARD), colour("#1d4fd8"));
    }

    #[test]
    fn the_cards_are_those_of_the_stylesheet() {
        let style = include_str!("../../templates/style.css");
        for card in [Colour::LIGHT_CARD, Colour::DARK_CARD] {
            assert!(style.contains(&format!("--card: {card};")), "{card}");
        }
    }

    #[test]
    fn logos_are_known_by_their_content() {
        for (bytes, path, content_type) in [
            (b"\x89PNG\r\n\x1a\n....".as_slice(), "png", "image/png"),
            (b"RIFF\x10\0\0\0WEBPVP8 ", "webp", "image/webp"),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg", "image/svg+xml"),
            (b"\xef\xbb\xbf<?xml version='1.0'?>\n<svg/>", "svg", "image/svg+xml"),
        ] {
            let logo = Logo::new(bytes.to_vec()).expect("a picture");
            assert!(logo.path().ends_with(path) && logo.content_type() == content_type, "{logo:?}");
        }
        for bytes in [b"".as_slice(), b"GIF89a", b"<html><svg/></html>", b"\xff\xfe<svg/>", b"RIFF\x10\0\0\0WAVE"] {
            assert!(Logo::new(bytes.to_vec()).is_err(), "{bytes:?}");
        }
    }
}
