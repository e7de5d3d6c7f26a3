//! The claims about a person that OpenID Connect Core §5.1 defines, the scopes that ask for them (§5.4), and what is told.
//!
//! Invariant: a client is told no claim that its registered scopes do not cover, however it asks; and a claim whose JSON
//! type is not the one that §5.1 gives it is left out.

use serde_json::{Map, Value};

use super::client::Client;
use crate::identity::Person;
use crate::jose::Members;
use crate::scope::Scopes;

/// The scopes of §5.4 with their claims.
pub(super) const BY_SCOPE: [(&str, &[&str]); 4] = [
    (
        "profile",
        &[
            "name",
            "family_name",
            "given_name",
            "middle_name",
            "nickname",
            "preferred_username",
            "profile",
            "picture",
            "website",
            "gender",
            "birthdate",
            "zoneinfo",
            "locale",
            "updated_at",
        ],
    ),
    ("email", &["email", "email_verified"]),
    ("address", &["address"]),
    ("phone", &["phone_number", "phone_number_verified"]),
];

/// The scope that covers a claim; `None` if we do not know the claim.
pub(super) fn scope_of(name: &str) -> Option<&'static str> {
    BY_SCOPE.iter().find(|(_, names)| names.contains(&name)).map(|(scope, _)| *scope)
}

/// The claims that scopes ask for.
pub(super) fn of_scopes(scopes: &Scopes) -> impl Iterator<Item = &'static str> {
    BY_SCOPE.iter().filter(|(scope, _)| holds(scopes, scope)).flat_map(|(_, names)| names.iter().copied())
}

/// What a client is told about a person of these claims.
pub(super) fn told<'a>(person: &Person, names: impl Iterator<Item = &'a str>, client: &Client) -> Members {
    let may_know = |name: &&str| scope_of(name).is_some_and(|scope| holds(&client.scopes, scope));
    names.filter(may_know).filter_map(|name| Some((name.to_owned(), value(person, name)?))).collect::<Map<_, _>>()
}

fn holds(scopes: &Scopes, name: &str) -> bool {
    scopes.iter().any(|scope| scope.as_str() == name)
}

/// What is known about a person under a name.
fn value(person: &Person, name: &str) -> Option<Value> {
    let value = match name {
        "name" => Value::from(person.name.as_str()),
        "email" => Value::from(person.email.as_deref()?),
        name => person.claims.get(name)?.clone(),
    };
    let fits = match name {
        "email_verified" | "phone_number_verified" => value.is_boolean(),
        "updated_at" => value.is_number(),
        "address" => value.is_object(),
        _ => value.is_string(),
    };
    fits.then_some(value)
}
