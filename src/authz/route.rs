//! What a request is about: a resource, a path, a rule. Nothing of it depends on who asks.

use std::borrow::Cow;
use std::sync::Arc;

use super::mcp::Call;
use super::path::normal_path;
use super::preflight::is_preflight;
use super::{Context, Denial, Enforcer, Preflight, Request, Resource, Rule, Single, Stop, check_connection, policy};
use crate::uri::Origin;

/// What a request is about.
pub(super) struct Route<'a> {
    /// What was asked for.
    pub(super) resource: Arc<Resource>,
    /// The path in normal form.
    pub(super) path: Cow<'a, str>,
    /// Which rule decides; none decides about a preflight that is to pass.
    pub(super) rule: Option<usize>,
}

impl Enforcer {
    /// Finds what a request is about, unless it is for us, or no rule is about it; notes in `context` how far it got.
    pub(super) fn route<'a>(&self, request: &Request<'a>, context: &mut Context) -> Result<Route<'a>, Stop> {
        if let Some(answer) = self.documents.as_ref().and_then(|documents| documents.answer(request, context.now)) {
            return Err(Stop::Described(answer));
        }
        let resource = Arc::clone(context.resource.insert(Arc::clone(self.resource(request)?)));
        if let Single::One(origin) = request.headers.single("origin") {
            let is_it = |one: &Origin| one.to_string().as_bytes() == origin;
            context.origin = resource.settings.cors_origins.iter().position(is_it);
        }
        if !policy::is_passable_method(request.method) {
            return Err(Denial::MethodRefused.into());
        }
        let path = normal_path(request.target)?;
        check_connection(&request.headers)?;
        if let Some(metadata) = resource.metadata.as_ref().filter(|one| one.is_asked_for(request.method, &path)) {
            return Err(Stop::Described(metadata.answer(request.method)));
        }
        if let Some(keys) = resource.view.keys(request.method, &path) {
            return Err(Stop::Described(keys));
        }
        let (preflight, rules) = (resource.settings.preflight, &resource.settings.rules);
        if preflight == Preflight::Pass && is_preflight(request.method, &path, &request.headers, rules) {
            return Ok(Route { resource, path, rule: None });
        }
        let matches = |rule: &Rule| rule.matches(request.method, &path);
        let call = if rules.iter().any(|rule| rule.mcp.is_some() && matches(rule)) {
            Some(Call::read(&request.headers)?)
        } else {
            None
        };
        let decides = |rule: &Rule| matches(rule) && call.as_ref().is_none_or(|call| rule.is_about(call));
        let rule = rules.iter().position(decides).ok_or(Denial::NoRule)?;
        context.rule = Some(rule);
        Ok(Route { resource, path, rule: Some(rule) })
    }
}
