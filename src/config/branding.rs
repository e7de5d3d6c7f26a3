//! Judges `authorization_server.branding`.

use super::check::Judge;
use super::file::BrandingFile;
use super::given::{Given, Parsed};
use super::mistake::Mistake;
use super::named_file;
use crate::web::{Branding, Colour};

/// Judges what the pages are to look like.
pub(super) fn judge(judge: &mut Judge<'_>, given: Option<&Given<BrandingFile>>) -> Branding {
    let Some(BrandingFile { name, logo_file, accent_color }) = given.map(|given| &given.value) else {
        return Branding::default();
    };
    if let Some(name) = name {
        judge.readable(name);
    }
    let accent = accent_color.as_ref().map(|given| &given.value);
    let absent = Branding::default();
    let (light, dark) =
        (accent.and_then(|accent| accent.light.as_ref()), accent.and_then(|accent| accent.dark.as_ref()));
    Branding {
        name: name.as_ref().map(|name| name.value.clone()),
        logo: logo_file.as_ref().and_then(|file| named_file::logo(judge, file)),
        light: readable_on(judge, light, Colour::LIGHT_CARD).unwrap_or(absent.light),
        dark: readable_on(judge, dark, Colour::DARK_CARD).unwrap_or(absent.dark),
    }
}

/// A colour in which links can be read on what is behind them.
fn readable_on(judge: &mut Judge<'_>, given: Option<&Given<Parsed<Colour>>>, behind: Colour) -> Option<Colour> {
    let Given { value: Parsed(colour), place } = given?;
    let contrast = colour.contrast(behind);
    if contrast < Colour::READABLE {
        let floor = (contrast * 10.0).floor() / 10.0; // 4.49 is not 4.5
        let predicate =
            format!("cannot be read well: its contrast to {behind} is {floor:.1}, not {}", Colour::READABLE);
        let shade = colour.readable_on(behind);
        judge.report(Mistake::about(place, predicate).help(format!("the nearest shade that can: \"{shade}\"")));
    }
    Some(*colour)
}
