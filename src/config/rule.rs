//! Judges the rules of protected resources.

use super::authorization_server::KnownScopes;
use super::check::Judge;
use super::detail_types::KnownTypes;
use super::file::{AllowWord, CallFile, DetailFile, ResourceFile, RuleFile};
use super::given::Given;
use super::mistake::{Mistake, Place};
use crate::authz::{Access, CallPattern, ClaimRequirement, DetailRequirement, Requirements, Rule};
use crate::ident::Acr;
use crate::scope::Scopes;

/// What the authorization server of the same file knows, where nobody else's tokens count.
pub(super) struct Known<'a> {
    /// Scopes.
    pub(super) scopes: Option<&'a KnownScopes>,
    /// Types of `authorization_details`.
    pub(super) types: Option<&'a KnownTypes>,
}

/// Judges all rules of a resource. Those with mistakes are left out.
pub(super) fn all(judge: &mut Judge<'_>, resource: &Given<ResourceFile>, known: &Known<'_>) -> Vec<Rule> {
    let Some(given) = judge.required(&resource.place, "rules", resource.value.rules.as_ref()) else {
        return Vec::new();
    };
    if given.value.is_empty() && given.place.gaps.is_empty() {
        let mistake = Mistake::about(&given.place, "is empty: every request would be denied");
        judge.report(mistake.help("add a rule, such as `{ path: \"/**\", allow: authenticated }`"));
    }
    let checked = resource.value.mcp.as_ref().and_then(|given| given.value.server_checks_headers.as_ref());
    if checked.is_none_or(|given| !given.value) {
        for call in given.value.iter().filter_map(|rule| rule.value.mcp.as_ref()) {
            let mistake = Mistake::about(&call.place, "needs a server that compares headers with the body");
            judge.report(mistake.help(
                "say `mcp: { server_checks_headers: true }` for the resource if it does; otherwise one scope counts for all calls",
            ));
        }
    }
    let mut rules: Vec<(Rule, &Place)> = Vec::new();
    for one in &given.value {
        let Some(rule) = rule(judge, one, known) else { continue };
        if let Some((_, earlier)) = rules.iter().find(|(earlier, _)| earlier.covers(&rule)) {
            let mistake = Mistake::about(&one.place, format!("can never match: `{}` comes first", earlier.path));
            judge.report(mistake.help("the first rule that matches decides: put this one before it, or leave it out"));
        }
        rules.push((rule, &one.place));
    }
    rules.into_iter().map(|(rule, _)| rule).collect()
}

/// Judges one rule. `None` only if there are mistakes.
fn rule(judge: &mut Judge<'_>, given: &Given<RuleFile>, known: &Known<'_>) -> Option<Rule> {
    let Given { value: file, place } = given;
    let path = judge.required(place, "path", file.path.as_ref()).map(|path| path.value.0.clone());
    filled(judge, file.methods.as_ref(), "the rule would match nothing", "leave it out for all");
    let access = access(judge, given, known);
    let methods = file.methods.as_ref().map(|given| given.value.as_slice()).unwrap_or_default();
    let methods: Vec<_> = methods.iter().map(|method| method.value.0.clone()).collect();
    let mcp = file.mcp.as_ref().map(|given| call(judge, given));
    if let Some(given) =
        file.mcp.as_ref().filter(|_| !methods.is_empty() && methods.iter().all(|one| one.as_str() != "POST"))
    {
        judge.report(Mistake::about(&given.place, "stands beside `methods` without POST").help("leave `methods` out"));
    }
    Some(Rule { path: path?, methods, mcp, access: access? })
}

/// Judges which calls of an MCP server a rule is about.
fn call(judge: &mut Judge<'_>, given: &Given<CallFile>) -> CallPattern {
    let Given { value: file, place } = given;
    let (method, name) = (file.method.as_ref(), file.name.as_ref());
    let undeclared = file.undeclared.as_ref().is_some_and(|given| given.value);
    if undeclared && (method.is_some() || name.is_some()) {
        let mistake = Mistake::about(place, "has `undeclared: true` beside `method` or `name`, which nobody says then");
        judge.report(mistake.help("give only one of them"));
    }
    if undeclared {
        return CallPattern::Undeclared;
    }
    CallPattern::Declared {
        method: method.map(|given| given.value.0.clone()),
        name: name.map(|given| given.value.0.clone()),
    }
}

/// Reports a list without items.
fn filled<T>(judge: &mut Judge<'_>, given: Option<&Given<Vec<T>>>, why: &str, help: &str) {
    if let Some(given) = given.filter(|given| given.value.is_empty() && given.place.gaps.is_empty()) {
        judge.report(Mistake::about(&given.place, format!("is empty: {why}")).help(help));
    }
}

fn access(judge: &mut Judge<'_>, given: &Given<RuleFile>, known: &Known<'_>) -> Option<Access> {
    let Given { value: file, place } = given;
    let asked = [
        ("scope", file.scope.as_ref().map(|given| &given.place)),
        ("any_scope", file.any_scope.as_ref().map(|given| &given.place)),
        ("authorization_details", file.authorization_details.as_ref().map(|given| &given.place)),
        ("claims", file.claims.as_ref().map(|given| &given.place)),
        ("acr", file.acr.as_ref().map(|given| &given.place)),
        ("max_age", file.max_age.as_ref().map(|given| &given.place)),
        ("when", file.when.as_ref().map(|given| &given.place)),
    ];
    let asks = asked.iter().find_map(|(name, place)| place.map(|_| *name));
    let scopes = file.scope.is_some() || file.any_scope.is_some();
    match (&file.allow, asks) {
        (Some(allow), Some(name)) if allow.value == AllowWord::Anyone => {
            judge.report(Mistake::about(&allow.place, format!("stands beside `{name}`")).help("give only one of them"));
            None
        }
        (Some(allow), Some(_)) if scopes => {
            let name = if file.scope.is_some() { "scope" } else { "any_scope" };
            judge.report(Mistake::about(&allow.place, format!("stands beside `{name}`")).help("give only one of them"));
            None
        }
        (Some(allow), None) if allow.value == AllowWord::Anyone => Some(Access::Anyone),
        (Some(_), _) | (None, Some(_)) => Some(Access::Token(requirements(judge, file, known))),
        (None, None) => {
            if !place.lost("allow") && asked.iter().all(|(name, _)| !place.lost(name)) {
                let mistake = Mistake::about(place, "says neither `scope` nor `allow`");
                judge.report(mistake.help("add `scope: \"...\"`, `allow: authenticated` or `allow: anyone`"));
            }
            None
        }
    }
}

fn requirements(judge: &mut Judge<'_>, file: &RuleFile, known: &Known<'_>) -> Requirements {
    let mut scopes = Scopes::default();
    if let Some(given) = &file.scope {
        scopes = self::scopes(judge, &given.value.0, &given.place, known);
    }
    filled(
        judge,
        file.any_scope.as_ref(),
        "no token would do",
        "say `allow: authenticated` for whoever has a valid token",
    );
    let any_scope = file.any_scope.iter().flat_map(|given| &given.value);
    let any_scope = any_scope.map(|given| self::scopes(judge, &given.value.0, &given.place, known)).collect();
    filled(judge, file.authorization_details.as_ref(), "nothing is asked for", "leave it out");
    let details = file.authorization_details.iter().flat_map(|given| &given.value);
    let details = details.filter_map(|given| detail(judge, given, known)).collect();
    if let Some(claims) = file.claims.as_ref().filter(|given| given.value.is_empty() && given.place.gaps.is_empty()) {
        judge.report(Mistake::about(&claims.place, "is empty: nothing is asked for").help("leave it out"));
    }
    let claims = file.claims.iter().flat_map(|given| &given.value);
    let claims = claims.map(|(name, given)| ClaimRequirement { name: name.clone(), values: given.value.0.clone() });
    let claims = claims.collect();
    filled(judge, file.acr.as_ref(), "no sign-in would do", "leave it out for any");
    let acr = file.acr.iter().flat_map(|given| &given.value).filter_map(|given| {
        let acr = &given.value.0;
        let fits = is_one_of_a_list(acr);
        if !fits {
            judge.report(Mistake::about(&given.place, "must have no spaces, quotes or backslashes"));
        }
        fits.then(|| acr.clone())
    });
    let acr = acr.collect();
    let max_age = file.max_age.as_ref().map(|given| given.value.0);
    let condition = file.when.as_ref().map(|given| given.value.0.clone());
    Requirements { scopes, any_scope, details, claims, acr, max_age, condition }
}

/// Whether it can stand among others in a challenge, where they are separated by spaces and in quotes (RFC 9470 §3).
fn is_one_of_a_list(acr: &Acr) -> bool {
    !acr.as_str().contains([' ', '"', '\\'])
}

fn scopes(judge: &mut Judge<'_>, scopes: &Scopes, place: &Place, known: &Known<'_>) -> Scopes {
    if let Some(known) = known.scopes {
        known.check(judge, place, scopes);
    }
    if scopes.is_empty() {
        let mistake = Mistake::about(place, "is empty");
        judge.report(mistake.help("say `allow: authenticated` for whoever has a valid token"));
    }
    scopes.clone()
}

fn detail(judge: &mut Judge<'_>, given: &Given<DetailFile>, known: &Known<'_>) -> Option<DetailRequirement> {
    let Given { value: file, place } = given;
    let detail_type = judge.required(place, "type", file.detail_type.as_ref())?;
    let actions: Vec<_> = file.actions.iter().flat_map(|given| &given.value).collect();
    if let Some(known) = known.types {
        known.check(judge, detail_type, &actions);
    }
    let actions = actions.iter().map(|given| given.value.clone()).collect();
    Some(DetailRequirement { detail_type: detail_type.value.clone(), actions })
}
