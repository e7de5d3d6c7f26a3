//! The JSON schema of the file, and the reference that is written from it.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::file::File;

/// The JSON schema of the file (draft 2020-12), for editors.
#[must_use]
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(File).to_value();
    tidy(&mut schema);
    schema
}

/// Takes `null` out of the schema: a setting that is there has a value. Editors then do not offer it.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            drop_null(members);
            members.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn drop_null(members: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = members.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            members.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = members.get_mut("anyOf") {
        choices.retain(|choice| *choice != json!({ "type": "null" }));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            members.remove("anyOf");
            members.extend(only);
        }
    }
}

/// The reference of all settings as a page in Markdown: a section a map, a row a setting.
#[must_use]
pub fn markdown() -> String {
    let schema = schema();
    let mut page = Page { definitions: &schema["$defs"], text: INTRODUCTION.to_owned() };
    page.section("", &one_line(description(&schema)), &schema);
    page.text
}

/// What stands above the tables.
const INTRODUCTION: &str = "\
# Configuration

One YAML file. `tollgate validate` reports every mistake in it at once, with place and help; exit code 2 means that the
file is wrong, 1 that something failed while running. This page is written by `tollgate schema --format markdown`, and
`tollgate schema` prints the same as a JSON schema for your editor.

- Durations are numbers with units, largest first: `60s`, `5m`, `1h30m`, `14d`; at least `1s`, at most `3650d`.
- Secrets are never in the file: settings whose name ends in `_file` are paths, relative to the directory of the file.
- `off` is a word, never a number or nothing. A key without a value counts as absent.
- `--set KEY=JSON` overrides one setting: `--set listen.public.address=127.0.0.1:0`,
  `--set protected_resources.0.dpop='\"allowed\"'`.
";

/// A page that is being written.
struct Page<'a> {
    definitions: &'a Value,
    text: String,
}

impl<'a> Page<'a> {
    /// Writes the section of a map, then those of the maps below it.
    fn section(&mut self, path: &str, title: &str, schema: &'a Value) {
        let schema = self.resolve(schema);
        let heading = if path.is_empty() { "Top level".to_owned() } else { format!("`{path}`") };
        let _ = write!(self.text, "\n## {heading}\n\n{title}\n");
        self.text.push_str("\n| setting | value | default | meaning |\n|---|---|---|---|\n");
        let settings = settings(schema);
        for setting in &settings {
            let default = match setting.schema.get("default") {
                Some(default) => format!("`{}`", flow(default)),
                None if setting.required => "required".to_owned(),
                None => String::new(),
            };
            let (value, meaning) = (self.value(setting.schema), self.meaning(setting));
            let _ = writeln!(self.text, "| `{}` | {value} | {default} | {meaning} |", setting.name);
        }
        for setting in settings {
            let dot = if path.is_empty() { "" } else { "." };
            let (suffix, below) = match self.resolve(setting.schema).get("items") {
                Some(items) => ("[]", items),
                None => ("", setting.schema),
            };
            let below = self.resolve(below);
            if !self::settings(below).is_empty() {
                let title = below.get("description").and_then(Value::as_str).unwrap_or(setting.description);
                self.section(&format!("{path}{dot}{}{suffix}", setting.name), &one_line(title), below);
            }
        }
    }

    /// What may stand for a setting.
    fn value(&self, setting: &'a Value) -> String {
        let schema = self.resolve(setting);
        if let Some(Value::Array(choices)) = schema.get("anyOf") {
            return choices.iter().map(|choice| self.value(choice)).collect::<Vec<_>>().join(" or ");
        }
        let words = words(schema);
        match schema.get("type").and_then(Value::as_str) {
            _ if !words.is_empty() => words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", "),
            Some("array") => {
                schema.get("items").map_or("list".to_owned(), |items| format!("list: {}", self.value(items)))
            }
            Some("integer") => "number".to_owned(),
            Some("boolean") => "`true`, `false`".to_owned(),
            Some("string") => "text".to_owned(),
            Some(_) | None => "map".to_owned(),
        }
    }

    /// What a setting means, and each word that may stand for it.
    fn meaning(&self, setting: &Setting<'a>) -> String {
        let schema = self.resolve(setting.schema);
        let schema = schema.get("items").map_or(schema, |items| self.resolve(items));
        let words = words(schema).into_iter().filter(|(_, meaning)| !meaning.is_empty());
        let words = words.map(|(word, meaning)| format!("<br>`{word}`: {}", one_line(meaning)));
        format!("{}{}", one_line(setting.description), words.collect::<String>())
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let name = schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix("#/$defs/"));
        name.map_or(schema, |name| &self.definitions[name])
    }
}

/// One row.
struct Setting<'a> {
    name: &'a str,
    description: &'a str,
    schema: &'a Value,
    required: bool,
}

/// The settings of a map: its properties, or the choices of which it has exactly one.
fn settings(schema: &Value) -> Vec<Setting<'_>> {
    let choices = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let own = properties(schema, None).chain(choices.flat_map(|choice| properties(choice, Some(choice))));
    own.collect()
}

/// The properties of a map. A choice describes its one property and requires it; the choice itself is free.
fn properties<'a>(schema: &'a Value, choice: Option<&'a Value>) -> impl Iterator<Item = Setting<'a>> {
    let required = schema.get("required").and_then(Value::as_array).filter(|_| choice.is_none());
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    properties.map(move |(name, schema)| Setting {
        name,
        description: description(choice.unwrap_or(schema)),
        schema,
        required: required.is_some_and(|required| required.iter().any(|required| required == name)),
    })
}

/// The words of which a setting is one, each with its meaning.
fn words(schema: &Value) -> Vec<(&str, &str)> {
    let choices = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let constants = choices.filter_map(|choice| Some((choice.get("const")?.as_str()?, description(choice))));
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    constants.chain(listed.filter_map(|word| Some((word.as_str()?, "")))).collect()
}

fn description(schema: &Value) -> &str {
    schema.get("description").and_then(Value::as_str).unwrap_or_default()
}

/// Text that fits into a cell.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// A value as it is written in YAML on one line.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) if text.contains(": ") || text.starts_with("unix:") => format!("{text:?}"),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let members: Vec<_> = members.iter().map(|(name, value)| format!("{name}: {}", flow(value))).collect();
            format!("{{ {} }}", members.join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}
