//! A configuration as it was written: a file and the overrides of the command line.

use std::fs::File as Disk;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::Config;
use super::check;
use super::file::File;
use super::given::{Fault, Given, NodeDeserializer};
use super::mistake::{Mistake, Mistakes, Place, Source, Span};
use super::tree::{Entry, Node, Value, child_path, is_secret_key};
use crate::secret::{sha256, sha256_parts};
use serde::Deserialize as _;

/// The largest file that is read, in bytes.
pub const FILE_LIMIT: u64 = 1024 * 1024;

/// How many mistakes are reported at most; who has more has given us another kind of file.
const MISTAKE_LIMIT: usize = 100;

/// The longest key there is, about, in bytes; a secret is longer.
const LONGEST_KEY: usize = 31;

/// A configuration that was read as YAML, but whose settings nobody has looked at yet.
#[derive(Debug)]
pub struct Document {
    root: Node,
    directory: PathBuf,
    sources: Vec<Source>,
    mistakes: Vec<Mistake>,
    /// SHA-256 of everything that was written.
    digest: [u8; 32],
}

impl Document {
    /// Reads a file. Paths in it are relative to its directory.
    ///
    /// # Errors
    /// [`Mistakes`] if it cannot be read, is larger than [`FILE_LIMIT`], or is not YAML.
    pub fn read(path: &Path) -> Result<Self, Mistakes> {
        let name = path.display().to_string();
        match read_text(path) {
            Ok(text) => Self::parse(&name, &text, path.parent().unwrap_or(Path::new("."))),
            Err(message) => {
                let source = Source { name, text: String::new() };
                Err(Mistakes::new(vec![Mistake::nowhere(format!("{} {message}", path.display()))], vec![source]))
            }
        }
    }

    /// Reads a text. `name` is how reports call it, `directory` what paths in it are relative to.
    ///
    /// # Errors
    /// [`Mistakes`] if it is not YAML.
    pub fn parse(name: &str, text: &str, directory: &Path) -> Result<Self, Mistakes> {
        let mut source = Source { name: name.to_owned(), text: text.to_owned() };
        match Node::parse(text, 0, "") {
            Ok((root, mistakes)) => {
                source.text = blank(text, &root.secrets());
                let digest = sha256(text.as_bytes());
                Ok(Self { root, directory: directory.to_owned(), sources: vec![source], mistakes, digest })
            }
            Err(mistake) => {
                source.text = veil(text);
                Err(Mistakes::new(vec![mistake], vec![source]))
            }
        }
    }

    /// Overrides one setting, as `serve --set KEY=JSON` does. `key` is a path such as `listen.public.address`; the items
    /// of a list go by their number, counted from 0: `protected_resources.0.dpop`. Maps on the way are made, and the
    /// number behind the last item of a list appends.
    ///
    /// What is wrong with the override is reported by [`check`](Self::check), together with everything else.
    pub fn set(&mut self, key: &str, json: &str) {
        self.digest = sha256_parts(&[&self.digest, key.as_bytes(), json.as_bytes()]);
        let source = self.sources.len();
        self.sources.push(Source { name: format!("--set {key}"), text: veil(json) });
        match Node::parse(json, source, key) {
            Ok((node, mistakes)) => {
                let all = Span { source, start: 0, length: json.len() };
                let secret = key.rsplit('.').next().is_some_and(is_secret_key);
                let secrets = if secret { vec![all] } else { node.secrets() };
                self.sources[source].text = blank(json, &secrets);
                self.mistakes.extend(mistakes);
                let steps: Vec<&str> = key.split('.').collect();
                self.mistakes.extend(place(&mut self.root, &steps, node).err());
            }
            Err(mistake) => self.mistakes.push(mistake),
        }
    }

    /// Judges every setting.
    ///
    /// # Errors
    /// All [`Mistakes`] at once.
    pub fn check(self) -> Result<Config, Mistakes> {
        self.judge().0
    }

    /// The same, and the files that the configuration names, whether it is right or not: when one of them changes, it has to
    /// be judged again.
    pub fn judge(mut self) -> (Result<Config, Mistakes>, Vec<PathBuf>) {
        let (file, mut files) = (self.fit(), Vec::new());
        let found = (&mut self.mistakes, &mut files);
        let config = match file.and_then(|file| check::config(&file, &self.directory, found)) {
            Some(config) if self.mistakes.is_empty() => Ok(Config { digest: self.digest, ..config }),
            Some(_) | None => Err(Mistakes::new(self.mistakes, self.sources)),
        };
        (config, files)
    }

    /// Reads the tree into types. Whatever does not fit is a mistake and is taken out, until the rest fits.
    fn fit(&mut self) -> Option<Given<File>> {
        while self.mistakes.len() < MISTAKE_LIMIT {
            let fault = match Given::<File>::deserialize(NodeDeserializer(&self.root)) {
                Ok(file) => return Some(file),
                Err(fault) => fault,
            };
            self.mistakes.extend(fault.mistake());
            if !self.take_out(&fault) {
                return None;
            }
        }
        self.mistakes.push(Mistake::nowhere("there are more mistakes than are shown here"));
        None
    }

    fn take_out(&mut self, fault: &Fault) -> bool {
        fault.node().is_some_and(|path| self.root.remove(path, fault.meant()))
    }
}

/// Reads a text file of at most [`FILE_LIMIT`] bytes; the error is the predicate of a sentence.
fn read_text(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let mut bytes = Vec::new();
    let file = Disk::open(path).map_err(unreadable)?;
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err("is larger than 1 MiB".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

/// The text with the given spans starred out, so that no report prints what stood there.
fn blank(text: &str, spans: &[Span]) -> String {
    let within = |span: &Span, offset: usize| offset >= span.start && offset - span.start < span.length;
    let hidden = |offset: usize| spans.iter().any(|span| within(span, offset));
    let star = |(offset, letter): (usize, char)| {
        if hidden(offset) && !letter.is_whitespace() { starred(letter) } else { letter.to_string() }
    };
    if spans.is_empty() { text.to_owned() } else { text.char_indices().map(star).collect() }
}

/// As many stars as the letter has bytes, so that places still fit.
fn starred(letter: char) -> String {
    "*".repeat(letter.len_utf8())
}

/// A text that is not YAML, as far as a report may print it: nobody knows which of its words are secrets, so all but
/// plain keys and punctuation is starred out.
fn veil(text: &str) -> String {
    let punctuation = |letter: char| letter.is_whitespace() || "[]{},:\"'#".contains(letter);
    let mut veiled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let word = rest.find(punctuation).unwrap_or(rest.len());
        if word == 0 {
            veiled.push(letter);
            rest = &rest[letter.len_utf8()..];
            continue;
        }
        let (word, behind) = rest.split_at(word);
        let plain = word.len() <= LONGEST_KEY && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let is_key = plain && (behind.starts_with(": ") || behind.starts_with(":\n") || behind.starts_with(":\r"));
        if is_key || word == "-" {
            veiled.push_str(word);
        } else {
            veiled.extend(word.chars().map(starred));
        }
        rest = behind;
    }
    veiled
}

/// Puts `node` where `steps` lead.
fn place(root: &mut Node, steps: &[&str], node: Node) -> Result<(), Mistake> {
    let Some((step, rest)) = steps.split_first() else {
        let path = std::mem::take(&mut root.place.path);
        *root = node;
        root.rename(path);
        return Ok(());
    };
    let span = node.place.span;
    let lost = Place { path: root.place.path.clone(), span, gaps: Vec::new() };
    let empty = |path| Node { place: Place { path, span, gaps: Vec::new() }, value: Value::Null };
    if matches!(root.value, Value::Null) {
        root.value = Value::Map(Vec::new());
    }
    let path = root.place.path.clone();
    let next = match &mut root.value {
        Value::Map(entries) => {
            let index = entries.iter().position(|entry| entry.key == *step).unwrap_or(entries.len());
            if index == entries.len() {
                let node = empty(child_path(&path, step));
                entries.push(Entry { key: (*step).to_owned(), key_span: span, node });
            }
            &mut entries[index].node
        }
        Value::List(items) => {
            let index = step.parse::<usize>().ok().filter(|index| *index <= items.len());
            let index = index.ok_or_else(|| {
                Mistake::about(&lost, format!("is a list of {}: `{step}` is no item of it", items.len()))
            })?;
            if index == items.len() {
                items.push(empty(format!("{path}[{index}]")));
            }
            &mut items[index]
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {
            return Err(Mistake::about(&lost, format!("has no settings below it, so `{step}` cannot be set")));
        }
    };
    place(next, rest, node)
}
