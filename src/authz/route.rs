//! What a request is about: a resource, a path, a rule. Nothing of it depends on who asks.

use std::borrow::Cow;
use std::sync::Arc;

use super::mcp::Call;
use super::path::normal_path;
use super::preflight::is_preflight;
use super::{
    Answer, Context, Denial, Enforcer, Preflight, Request, Resource, Rule, Single, Stop, check_connection, policy,
};
use crate::clock::Timestamp;

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
        let (there, only) = self.at_host(request)?;
        let settled = only.map(|only| context.settle(only, request));
        if !policy::is_passable_method(request.method) {
            return Err(Denial::MethodRefused.into());
        }
        let path = normal_path(request.target)?;
        check_connection(&request.headers)?;
        // A document is not below its resource (RFC 9728 §3.1), so a resource that a route names is not the one meant.
        let (alone, now) = (there.len() == 1, context.now);
        let found = there.iter().find_map(|one| Some((one, one.document(request, &path, alone, now)?)));
        if let Some((described, answer)) = found {
            context.settle(described, request);
            return Err(Stop::Described(answer));
        }
        let resource = if let Some(only) = settled {
            only
        } else {
            let covering = there.iter().filter(|one| one.settings.paths.covers(&path));
            let deepest = covering.max_by_key(|one| one.settings.paths.depth());
            context.settle(deepest.ok_or(Denial::NoRule)?, request)
        };
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

    /// Finds the resources of the origin that is asked for, and the one of them that it must be whatever the path is: the one
    /// that the proxy's configuration names, else the only one. The host chooses the origin (RFC 9110 §7.2).
    ///
    /// A proxy in front may have rewritten the host, so with a name the host need not be that of the origin; but it must
    /// be one host, for the upstream chooses by it as well.
    ///
    /// Choice: a resource has one host and no pattern of hosts, since it is a URI (RFC 8707 §2, RFC 9728 §3.3). Tokens are for
    /// it, metadata is found at it and `htu` is compared with it. Where one service has many hosts, the proxy names the resource.
    fn at_host(&self, request: &Request<'_>) -> Result<AtHost<'_>, Denial> {
        let Some(name) = request.resource else {
            let asked = |there: &&Vec<Arc<Resource>>| {
                there.first().is_some_and(|first| first.settings.origin.is_named_by(request.host))
            };
            let there = self.origins.iter().find(asked).ok_or(Denial::HostUnknown)?;
            return Ok((there, <&[_; 1]>::try_from(there.as_slice()).ok().map(|[only]| only)));
        };
        let named =
            |there: &[Arc<Resource>]| there.iter().position(|resource| resource.settings.audience.as_str() == name);
        let found = self.origins.iter().find_map(|there| Some((there, named(there)?)));
        let (there, place) = found.ok_or(Denial::ResourceUnknown)?;
        if request.host.is_empty() || request.host.contains([',', '@', '/', ' ']) {
            return Err(Denial::HostUnknown);
        }
        Ok((there, there.get(place)))
    }
}

/// The resources of an origin, and the one of them that it must be, if that is known.
type AtHost<'a> = (&'a [Arc<Resource>], Option<&'a Arc<Resource>>);

impl Context {
    /// Notes which resource a request is about, and which of the origins whose scripts may read its answers asks.
    fn settle(&mut self, resource: &Arc<Resource>, request: &Request<'_>) -> Arc<Resource> {
        let origins = &resource.settings.cors_origins;
        let asks = (!origins.is_empty()).then(|| request.headers.single("origin"));
        self.origin = match asks {
            Some(Single::One(origin)) => origins.iter().position(|one| one.to_string().as_bytes() == origin),
            Some(Single::Absent | Single::Several) | None => None,
        };
        Arc::clone(self.resource.insert(Arc::clone(resource)))
    }
}

impl Resource {
    /// The document of its own that is asked for: its metadata (RFC 9728), or the keys for its upstream.
    fn document(&self, request: &Request<'_>, path: &str, alone: bool, now: Timestamp) -> Option<Answer> {
        let metadata = self.metadata.as_ref().filter(|one| one.is_asked_for(request.method, path, alone));
        metadata.map(|metadata| metadata.answer(request)).or_else(|| self.view.keys(request, path, now))
    }
}
