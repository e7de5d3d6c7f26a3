//! Judges `authorization_details_types`, those that exist and those of a client (RFC 9396 §10).

use std::collections::BTreeMap;

use super::check::Judge;
use super::file::{AuthorizationServerFile, ClientFile, DetailTypeFile};
use super::given::Given;
use super::mistake::Mistake;
use super::words;
use crate::oauth::DetailType;
use crate::token::LISTS;

/// Members that need not be named under `fields`: every type has them.
const ALWAYS: [&str; 2] = ["type", "identifier"];

/// The types that exist, and whether some were taken out because of a mistake, so that none can be called unknown.
pub(super) struct KnownTypes {
    /// By name.
    pub(super) types: BTreeMap<String, DetailType>,
    incomplete: bool,
}

impl KnownTypes {
    /// Reports a type that does not exist, or actions that it does not have.
    pub(super) fn check(&self, judge: &mut Judge<'_>, name: &Given<String>, actions: &[&Given<String>]) {
        let Some(found) = self.types.get(&name.value) else {
            if !self.incomplete {
                judge.report(unknown(name));
            }
            return;
        };
        let known = found.values.get("actions").filter(|known| !known.is_empty());
        for action in actions.iter().filter(|action| known.is_some_and(|known| !known.contains(&action.value))) {
            let mistake =
                Mistake::about(&action.place, format!("is `{}`, which `{}` does not have", action.value, name.value));
            judge.report(mistake.help("add it to the `actions` of the type, or take it out here"));
        }
    }
}

/// A type that nobody has described.
fn unknown(name: &Given<String>) -> Mistake {
    let predicate = format!("is `{}`, which is not in `authorization_server.authorization_details_types`", name.value);
    Mistake::about(&name.place, predicate).help("describe it there")
}

/// Judges the types that exist.
pub(super) fn known(judge: &mut Judge<'_>, server: &Given<AuthorizationServerFile>) -> KnownTypes {
    let Some(given) = &server.value.authorization_details_types else {
        return KnownTypes { types: BTreeMap::new(), incomplete: server.place.lost("authorization_details_types") };
    };
    let types = given.value.iter().filter_map(|(name, file)| Some((name.clone(), detail_type(judge, file)?))).collect();
    KnownTypes { types, incomplete: !given.place.gaps.is_empty() }
}

fn detail_type(judge: &mut Judge<'_>, given: &Given<DetailTypeFile>) -> Option<DetailType> {
    let Given { value: file, place } = given;
    let description = judge.required(place, "description", file.description.as_ref())?;
    words::check(judge, description);
    let texts = |given: &Option<Given<Vec<Given<String>>>>| -> Vec<String> {
        given.iter().flat_map(|given| &given.value).map(|text| text.value.clone()).collect()
    };
    let values = [("actions", &file.actions), ("datatypes", &file.datatypes), ("privileges", &file.privileges)];
    let values = BTreeMap::from(values.map(|(name, given)| (name, texts(given))));
    let fields = file.fields.iter().flat_map(|given| &given.value);
    for field in fields.filter(|field| is_known_everywhere(&field.value)) {
        let mistake = Mistake::about(&field.place, format!("is `{}`, which has a meaning of its own", field.value));
        judge.report(mistake.help("take it out: RFC 9396 §2 says what it is"));
    }
    let detail_type = DetailType {
        description: description.value.words()?,
        values,
        fields: texts(&file.fields),
        required: texts(&file.required),
    };
    for required in file.required.iter().flat_map(|given| &given.value) {
        let may_be = detail_type.fields.contains(&required.value) || is_known_everywhere(&required.value);
        if !may_be && !place.lost("fields") {
            let mistake = Mistake::about(&required.place, format!("is `{}`, which is not in `fields`", required.value));
            judge.report(mistake.help("add it there, or take it out here"));
        }
    }
    Some(detail_type)
}

fn is_known_everywhere(member: &str) -> bool {
    ALWAYS.contains(&member) || LISTS.contains(&member)
}

/// The types that a client may ask for.
pub(super) fn of_client(judge: &mut Judge<'_>, client: &ClientFile, known: &KnownTypes) -> Vec<String> {
    let given = client.authorization_details_types.as_ref().map(|given| given.value.as_slice()).unwrap_or_default();
    for unknown in given.iter().filter(|one| !known.incomplete && !known.types.contains_key(&one.value)) {
        judge.report(self::unknown(unknown));
    }
    judge.once(given.iter().map(|one| (one.value.as_str(), &one.place)), "is given twice");
    given.iter().map(|one| one.value.clone()).collect()
}
