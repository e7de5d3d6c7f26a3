//! Mistakes in a configuration, and how people are told about them.

use std::fmt;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteHandlerOpts, NamedSource};
use miette::{ReportHandler, SourceCode};

/// Which bytes of which text.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Span {
    /// The number of the text: 0 is the file, the others are overrides.
    pub(super) source: usize,
    /// The first byte.
    pub(super) start: usize,
    /// How many bytes.
    pub(super) length: usize,
}

/// Where a setting stands, and how it is called.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Place {
    /// The way to it from the root, such as `authorization_server.clients[0].scope`.
    pub(super) path: String,
    /// Where it stands.
    pub(super) span: Span,
    /// Keys below it that were taken out because of a mistake, so that their absence is no second mistake.
    pub(super) gaps: Vec<String>,
}

impl Place {
    /// Whether something below was taken out that could have been `key`.
    pub(super) fn lost(&self, key: &str) -> bool {
        self.gaps.iter().any(|gap| gap == key)
    }
}

/// One mistake: where, what, and what to do about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    span: Option<Span>,
    path: String,
    message: String,
    help: Option<String>,
}

impl Mistake {
    /// A mistake at a place, in a sentence of its own.
    pub(super) fn new(place: &Place, message: impl Into<String>) -> Self {
        Self { span: Some(place.span), path: place.path.clone(), message: message.into(), help: None }
    }

    /// A mistake whose sentence begins with the name of the setting: `x` must be ....
    pub(super) fn about(place: &Place, predicate: impl fmt::Display) -> Self {
        let subject = if place.path.is_empty() { "the file".to_owned() } else { format!("`{}`", place.path) };
        Self::new(place, format!("{subject} {predicate}"))
    }

    /// A mistake that no place in a text can be shown for.
    pub(super) fn nowhere(message: impl Into<String>) -> Self {
        Self { span: None, path: String::new(), message: message.into(), help: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What to do about it; where nothing better is known, where the setting is described.
    fn advice(&self) -> Option<&str> {
        let described = self.span.map(|_| "`tollgate schema --format markdown` describes every setting");
        self.help.as_deref().or(described)
    }

    /// The setting at fault, such as `authorization_server.clients[0].scope`; empty for the file as a whole.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong, in a sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// A mistake, where it is, and what to do about it.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    /// The name of the file, or the override.
    pub file: Option<&'a str>,
    /// Counts from 1.
    pub line: Option<usize>,
    /// Counts from 1, in characters.
    pub column: Option<usize>,
    /// What to do about it.
    pub help: Option<&'a str>,
    mistake: &'a Mistake,
}

/// In one line.
impl fmt::Display for Placed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}: {}", self.mistake.message),
            (_, _) => f.write_str(&self.mistake.message),
        }
    }
}

/// A text that mistakes point into, with secrets blanked out.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// The name of the file, or the override.
    pub(super) name: String,
    /// The text.
    pub(super) text: String,
}

/// Every mistake of a configuration, in the order of the file. Never empty.
#[derive(Clone, Debug)]
pub struct Mistakes {
    mistakes: Vec<Mistake>,
    sources: Vec<Source>,
}

impl Mistakes {
    /// Mistakes and the texts they point into.
    pub(super) fn new(mut mistakes: Vec<Mistake>, sources: Vec<Source>) -> Self {
        mistakes.sort_by_key(|mistake| mistake.span);
        Self { mistakes, sources }
    }

    /// The mistakes.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.mistakes.iter()
    }

    /// The report for a terminal: in color where the terminal has it and `NO_COLOR` is not set.
    #[must_use]
    pub fn to_terminal(&self) -> String {
        self.render(&MietteHandlerOpts::new().width(WIDTH).build())
    }

    /// The report as plain text, the same on every machine.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.render(&GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(WIDTH))
    }

    /// The report as JSON: a list of objects with `file`, `line`, `column`, `path`, `message` and `help`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let one = |Placed { file, line, column, help, mistake }: Placed<'_>| {
            serde_json::json!({
                "file": file,
                "line": line,
                "column": column,
                "path": mistake.path,
                "message": mistake.message,
                "help": help,
            })
        };
        self.places().map(one).collect()
    }

    /// The mistakes, each with its place, as far as there is one.
    pub fn places(&self) -> impl Iterator<Item = Placed<'_>> {
        self.mistakes.iter().map(|mistake| {
            let source = mistake.span.and_then(|span| self.sources.get(span.source));
            let position = source.zip(mistake.span).map(|(source, span)| position(&source.text, span.start));
            Placed {
                file: source.map(|source| source.name.as_str()),
                line: position.map(|(line, _)| line),
                column: position.map(|(_, column)| column),
                help: mistake.advice(),
                mistake,
            }
        })
    }

    fn render(&self, handler: &dyn ReportHandler) -> String {
        let mut out = String::new();
        for mistake in &self.mistakes {
            let rendered = Rendered { handler, shown: &self.shown(mistake) };
            out.push_str(rendered.to_string().trim_end());
            out.push_str("\n\n");
        }
        out.push_str(&self.to_string());
        out.push('\n');
        out
    }

    fn shown<'a>(&self, mistake: &'a Mistake) -> Shown<'a> {
        let source = mistake.span.and_then(|span| self.sources.get(span.source).map(|source| (source, span)));
        let Some((source, span)) = source else { return Shown { mistake, source: None } };
        let text = NamedSource::new(&source.name, source.text.clone());
        Shown { mistake, source: Some((text, visible(&source.text, span))) }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.mistakes.len();
        let plural = if count == 1 { "mistake" } else { "mistakes" };
        let name = self.sources.first().map_or("the configuration", |source| &source.name);
        write!(f, "{count} {plural} in {name}")
    }
}

impl std::error::Error for Mistakes {}

/// How wide reports are.
const WIDTH: usize = 120;

/// Line and column, both counted from 1, columns in characters.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The bytes to underline: those of the span as far as its line goes, or the word that begins there.
fn visible(text: &str, span: Span) -> (usize, usize) {
    let start = span.start.min(text.len());
    let line = text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
    let word = || line.find([' ', ':', ',']).unwrap_or(line.len());
    let length = if span.length == 0 { word() } else { span.length.min(line.len()) };
    (start, length)
}

/// One mistake as miette wants it.
struct Shown<'a> {
    mistake: &'a Mistake,
    source: Option<(NamedSource<String>, (usize, usize))>,
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mistake.fmt(f)
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mistake.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn help(&self) -> Option<Box<dyn fmt::Display + '_>> {
        self.mistake.advice().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|(source, _)| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (_, (start, length)) = self.source.as_ref()?;
        Some(Box::new(std::iter::once(LabeledSpan::new(None, *start, *length))))
    }
}

/// Writes a report by way of a handler.
struct Rendered<'a> {
    handler: &'a dyn ReportHandler,
    shown: &'a Shown<'a>,
}

impl fmt::Display for Rendered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handler.debug(self.shown, f)
    }
}
