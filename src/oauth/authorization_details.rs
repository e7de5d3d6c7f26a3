//! Rich authorization requests (RFC 9396): what a client may ask for in detail, and what people are told about it.
//!
//! Invariant: a member that the operator has not written down is refused, so no person approves what nobody understands,
//! and no request for what was granted widens it.

use std::collections::BTreeMap;

use super::{AuthorizationServer, Client, Parameters, Refusal, Words};
use crate::ident::Audience;
use crate::jose::{Json, Members};
use crate::token::AuthorizationDetails;

/// The parameter (RFC 9396 §2).
const PARAMETER: &str = "authorization_details";

/// A type of `authorization_details`, as the operator describes it.
#[derive(Clone, Debug)]
pub struct DetailType {
    /// What it allows, in words for people.
    pub description: Words,
    /// The values that `actions`, `datatypes` and `privileges` may have; without any the member is refused.
    pub values: BTreeMap<&'static str, Vec<String>>,
    /// Other members that there may be, of any JSON type.
    pub fields: Vec<String>,
    /// The members that there must be.
    pub required: Vec<String>,
}

impl DetailType {
    /// RFC 9396 §5: refuses unknown members, values that do not exist, and objects that lack something.
    fn admits(&self, detail: &Members, resources: &[Audience]) -> bool {
        let known = |(name, value): (&String, &Json)| {
            let listed = || value.as_array().map(Vec::as_slice).unwrap_or_default().iter().filter_map(Json::as_str);
            match name.as_str() {
                "type" | "identifier" => true,
                "locations" => listed().all(|location| resources.iter().any(|known| known.as_str() == location)),
                name @ ("actions" | "datatypes" | "privileges") => {
                    let values = self.values.get(name).map(Vec::as_slice).unwrap_or_default();
                    !values.is_empty() && listed().all(|value| values.iter().any(|known| known == value))
                }
                name => self.fields.iter().any(|field| field == name),
            }
        };
        detail.iter().all(known) && self.required.iter().all(|name| detail.contains_key(name))
    }
}

/// An object of `authorization_details`, for people. Texts are as others supplied them, not escaped yet.
pub struct DetailShown {
    /// What its type allows, in the operator's words.
    pub description: Words,
    /// Its members: names and values.
    pub members: Vec<(String, String)>,
}

impl AuthorizationServer {
    /// What a client asks for in detail; nothing if it says nothing.
    pub(super) fn requested_details(
        &self,
        parameters: &Parameters,
        client: &Client,
    ) -> Result<AuthorizationDetails, Refusal> {
        let Some(text) = parameters.get(PARAMETER) else { return Ok(AuthorizationDetails::default()) };
        let details: AuthorizationDetails = text.parse().map_err(|_| Refusal::DetailsMalformed)?;
        for (name, detail) in details.iter() {
            let known = self.settings.details.get(name).filter(|_| client.may_ask_for(name));
            let known = known.ok_or(Refusal::DetailTypeNotAllowed)?;
            if !known.admits(detail, &self.settings.resources) {
                return Err(Refusal::DetailNotAllowed);
            }
        }
        Ok(details)
    }

    /// What a token request asks for of what was granted (RFC 9396 §6): all of it, or less. What the operator has taken from
    /// the client since is granted no more.
    pub(super) fn narrowed_details(
        &self,
        parameters: &Parameters,
        granted: &AuthorizationDetails,
        client: &Client,
    ) -> Result<AuthorizationDetails, Refusal> {
        let resources = &self.settings.resources;
        let holds = |name: &str, detail: &Members| {
            let known = self.settings.details.get(name).filter(|_| client.may_ask_for(name));
            known.is_some_and(|known| known.admits(detail, resources))
        };
        let granted = granted.filtered(holds);
        let Some(text) = parameters.get(PARAMETER) else { return Ok(granted) };
        let details: AuthorizationDetails = text.parse().map_err(|_| Refusal::DetailsMalformed)?;
        if details.is_within(&granted) { Ok(details) } else { Err(Refusal::DetailsNotGranted) }
    }

    /// Refuses details where they mean nothing, rather than to ignore what the client takes for granted.
    pub(super) fn refuse_details(parameters: &Parameters) -> Result<(), Refusal> {
        parameters.get(PARAMETER).map_or(Ok(()), |_| Err(Refusal::DetailTypeNotAllowed))
    }

    /// What was asked for in detail, for the person who is asked to grant it.
    pub(super) fn shown(&self, details: &AuthorizationDetails) -> Vec<DetailShown> {
        let shown = |(name, detail): (&str, &Members)| DetailShown {
            description: self.settings.details.get(name).map_or_else(|| name.into(), |known| known.description.clone()),
            members: detail
                .iter()
                .filter(|(name, _)| *name != "type")
                .map(|(name, value)| (name.clone(), in_words(value)))
                .collect(),
        };
        details.iter().map(shown).collect()
    }
}

impl Client {
    /// Whether the client is registered for a type of `authorization_details`.
    fn may_ask_for(&self, name: &str) -> bool {
        self.requests.detail_types.iter().any(|known| known == name)
    }
}

/// A value as people read it: text without quotes, lists with commas, the rest in JSON.
fn in_words(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Array(values) => values.iter().map(in_words).collect::<Vec<_>>().join(", "),
        Json::Object(members) => {
            members.iter().map(|(name, value)| format!("{name}: {}", in_words(value))).collect::<Vec<_>>().join(", ")
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => value.to_string(),
    }
}
