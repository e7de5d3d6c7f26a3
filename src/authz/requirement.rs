//! What a rule asks of a token beside its being good: scopes, details, claims, and how and when its person signed in.

use std::time::Duration;

use super::Denial;
use crate::clock::Timestamp;
use crate::ident::Acr;
use crate::jose::{Json, Members, optional_time};
use crate::scope::Scopes;
use crate::token::VerifiedToken;

/// What a token must allow and say. The default asks for nothing: whoever has a token for the resource may pass.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Requirements {
    /// It must have all of these scopes.
    pub scopes: Scopes,
    /// It must have one of these scopes at least, if there are any. In the order of preference: challenges name the first.
    pub any_scope: Vec<Scopes>,
    /// It must have each of these in `authorization_details`.
    pub details: Vec<DetailRequirement>,
    /// It must say each of these.
    pub claims: Vec<ClaimRequirement>,
    /// Its person must have been recognised in one of these ways, if there are any (RFC 9470 §3).
    pub acr: Vec<Acr>,
    /// Its person must have signed in no longer ago than this (RFC 9470 §3).
    pub max_age: Option<Duration>,
}

/// An object that must be among `authorization_details` (RFC 9396 §9.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DetailRequirement {
    /// Its `type`.
    pub detail_type: String,
    /// What must be in its `actions`, all of it.
    pub actions: Vec<String>,
}

/// A claim that must have one of these values, or hold one, if it is a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimRequirement {
    /// The name of the claim.
    pub name: String,
    /// Texts, numbers or truth values.
    pub values: Vec<Json>,
}

/// The circumstances that a token is judged in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances<'a> {
    /// The resource that it is shown to.
    pub(super) resource: &'a str,
    /// The time.
    pub(super) now: Timestamp,
    /// How far the clocks of issuer and gate may be apart.
    pub(super) skew: Duration,
}

impl Requirements {
    /// For whoever has all of these scopes.
    #[must_use]
    pub fn scopes(scopes: Scopes) -> Self {
        Self { scopes, ..Self::default() }
    }

    /// Judges a good token. What no other sign-in of the same person would repair comes first: nobody is sent to sign in
    /// again and refused for something else afterwards.
    pub(super) fn check(&self, token: &VerifiedToken, at: Circumstances<'_>) -> Result<(), Denial> {
        self.check_scopes(token.scopes())?;
        if !self.details.iter().all(|detail| detail.is_granted_by(token.claims(), at.resource)) {
            return Err(Denial::DetailsInsufficient);
        }
        if !self.claims.iter().all(|claim| claim.is_met_by(token.claims())) {
            return Err(Denial::ClaimRefused);
        }
        self.check_sign_in(token.claims(), at)
    }

    /// RFC 6750 §3.1.
    fn check_scopes(&self, granted: &Scopes) -> Result<(), Denial> {
        let one = self.any_scope.is_empty() || self.any_scope.iter().any(|one| one.is_within(granted));
        if one && self.scopes.is_within(granted) { Ok(()) } else { Err(Denial::ScopeInsufficient) }
    }

    /// RFC 9470 §3. A token that does not say how or when its person signed in, such as that of a machine, does not do.
    fn check_sign_in(&self, claims: &Members, at: Circumstances<'_>) -> Result<(), Denial> {
        let acr = claims.get("acr").and_then(Json::as_str);
        if !self.acr.is_empty() && !self.acr.iter().any(|wanted| Some(wanted.as_str()) == acr) {
            return Err(Denial::AuthenticationTooWeak);
        }
        let Some(max_age) = self.max_age else { return Ok(()) };
        let signed_in = optional_time(claims, "auth_time").ok().flatten();
        let recent = |signed_in: Timestamp| signed_in <= at.now + at.skew && at.now <= signed_in + max_age + at.skew;
        if signed_in.is_some_and(recent) { Ok(()) } else { Err(Denial::AuthenticationTooOld) }
    }

    /// The scopes that a client had better ask for: all that are needed, and the first of those of which one is.
    #[must_use]
    pub fn wanted_scopes(&self) -> Scopes {
        self.scopes.iter().chain(self.any_scope.first().into_iter().flat_map(Scopes::iter)).cloned().collect()
    }

    /// Whether it says anything about how or when the person signed in.
    pub(super) fn step_up(&self) -> impl Iterator<Item = (&'static str, String)> {
        let acr = (!self.acr.is_empty()).then(|| {
            let values: Vec<_> = self.acr.iter().map(Acr::as_str).collect();
            ("acr_values", values.join(" "))
        });
        acr.into_iter().chain(self.max_age.map(|max_age| ("max_age", max_age.as_secs().to_string())))
    }
}

impl DetailRequirement {
    /// Whether one object has the type and all the actions, and is not for other resources only (RFC 9396 §2.2). What has no
    /// `actions` may mean all of them, or none: only its type knows, so it does not do where an action is asked for.
    fn is_granted_by(&self, claims: &Members, resource: &str) -> bool {
        let has = |detail: &Json, name: &str, wanted: &str| match detail.get(name) {
            Some(Json::Array(all)) => all.iter().any(|one| one == wanted),
            Some(_) | None => false,
        };
        let grants = |detail: &Json| {
            detail.get("type").is_some_and(|given| given == self.detail_type.as_str())
                && self.actions.iter().all(|action| has(detail, "actions", action))
                && (detail.get("locations").is_none() || has(detail, "locations", resource))
        };
        let details = claims.get("authorization_details").and_then(Json::as_array);
        details.is_some_and(|details| details.iter().any(grants))
    }
}

impl ClaimRequirement {
    fn is_met_by(&self, claims: &Members) -> bool {
        match claims.get(&self.name) {
            Some(Json::Array(all)) => all.iter().any(|one| self.values.contains(one)),
            Some(one) => self.values.contains(one),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_detail_counts_for_its_type_its_actions_and_its_place() {
        let wanted = DetailRequirement { detail_type: "payment".to_owned(), actions: vec!["initiate".to_owned()] };
        for (details, granted) in [
            (json!([{ "type": "payment", "actions": ["initiate", "cancel"] }]), true),
            (json!([{ "type": "payment", "actions": ["initiate"], "locations": ["https://a"] }]), true),
            (json!([{ "type": "payment", "actions": ["initiate"], "locations": ["https://b"] }]), false),
            (json!([{ "type": "payment", "actions": ["initiate"], "locations": "https://a" }]), false),
            (json!([{ "type": "payment", "actions": "initiate" }]), false),
            (json!([{ "type": "payment" }]), false),
            (json!([{ "type": "payment", "actions": ["cancel"] }, { "type": "x", "actions": ["initiate"] }]), false),
            (json!({ "type": "payment", "actions": ["initiate"] }), false),
            (json!("payment"), false),
        ] {
            let claims = json!({ "authorization_details": details });
            assert_eq!(wanted.is_granted_by(claims.as_object().expect("an object"), "https://a"), granted, "{claims}");
        }
        assert!(!wanted.is_granted_by(&Members::new(), "https://a"));
    }

    #[test]
    fn a_claim_is_compared_with_its_type() {
        let wanted = ClaimRequirement { name: "level".to_owned(), values: vec![json!(2), json!("ops")] };
        for (value, met) in [
            (json!(2), true),
            (json!("ops"), true),
            (json!(["dev", "ops"]), true),
            (json!("2"), false),
            (json!([["ops"]]), false),
            (json!({ "ops": true }), false),
            (json!([]), false),
            (json!(null), false),
        ] {
            let claims = json!({ "level": value });
            assert_eq!(wanted.is_met_by(claims.as_object().expect("an object")), met, "{claims}");
        }
    }
}
