//! Judges what protected services get to see.

use std::sync::Arc;
use std::time::Duration;

use super::check::Judge;
use super::file::{ClaimsHeaderFile, InternalJwtFile, UpstreamAuthorizationWord, UpstreamFile};
use super::given::Given;
use super::mistake::Mistake;
use super::named_file;
use crate::authz::{ClaimsHeader, IdentityHeader, UpstreamAuthorization, UpstreamKeys, UpstreamTokens, UpstreamView};
use crate::ident::Audience;
use crate::jose::Algorithm;

/// Which claims the protected service is told by default, and in which headers.
const DEFAULT_HEADERS: [(&str, &str); 3] =
    [("x-auth-client", "client_id"), ("x-auth-scope", "scope"), ("x-auth-subject", "sub")];

/// The header that is added where the tokens of several issuers count: two may call people the same.
const ISSUER_HEADER: (&str, &str) = ("x-auth-issuer", "iss");

/// How long tokens for an upstream count at most, and by default.
const LONGEST: Duration = Duration::from_mins(1);

/// Claims that tokens for an upstream have of their own.
const OWN_CLAIMS: [&str; 7] = ["iss", "aud", "exp", "iat", "nbf", "jti", "sub_iss"];

/// Judges what the service gets to see that is this resource, with tokens of so many issuers.
pub(super) fn view(
    judge: &mut Judge<'_>,
    given: Option<&Given<UpstreamFile>>,
    resource: Option<&Audience>,
    issuers: usize,
) -> UpstreamView {
    let absent = UpstreamFile::default();
    let file = given.map_or(&absent, |given| &given.value);
    let word = file.authorization.as_ref().map(|given| given.value);
    if let Some(unused) = file.internal_jwt.as_ref().filter(|_| word != Some(UpstreamAuthorizationWord::InternalJwt)) {
        let mistake = Mistake::about(&unused.place, "is for `authorization: internal_jwt` only");
        judge.report(mistake.help("say that as well, or leave this out"));
    }
    let authorization = match word {
        Some(UpstreamAuthorizationWord::Remove) | None => UpstreamAuthorization::Remove,
        Some(UpstreamAuthorizationWord::Bearer) => UpstreamAuthorization::Bearer,
        Some(UpstreamAuthorizationWord::Keep) => UpstreamAuthorization::Keep,
        Some(UpstreamAuthorizationWord::InternalJwt) => {
            let tokens = tokens(judge, file.internal_jwt.as_ref(), resource);
            tokens.map_or(UpstreamAuthorization::Remove, UpstreamAuthorization::Internal)
        }
    };
    let headers = headers(judge, file, issuers);
    let claims = file.claims_header.as_ref().and_then(|given| claims_header(judge, given, &headers));
    // Who reads the default headers elsewhere must not be told here by the caller, wherever the map names others.
    let known = DEFAULT_HEADERS.into_iter().chain([ISSUER_HEADER]);
    let withheld = known.filter_map(|(name, claim)| IdentityHeader::new(name, claim).ok()).collect();
    UpstreamView { authorization, headers, claims, withheld }
}

fn headers(judge: &mut Judge<'_>, file: &UpstreamFile, issuers: usize) -> Vec<IdentityHeader> {
    let Some(headers) = &file.headers else {
        let several = Some(ISSUER_HEADER).filter(|_| issuers > 1);
        let headers = DEFAULT_HEADERS.into_iter().chain(several);
        return headers.filter_map(|(name, claim)| IdentityHeader::new(name, claim).ok()).collect();
    };
    let mut kept = Vec::new();
    for (name, claim) in &headers.value {
        match IdentityHeader::new(name, &claim.value) {
            Ok(header) => kept.push(header),
            Err(fault) => judge.report(Mistake::about(&claim.place, fault)),
        }
    }
    kept
}

fn claims_header(
    judge: &mut Judge<'_>,
    given: &Given<ClaimsHeaderFile>,
    others: &[IdentityHeader],
) -> Option<ClaimsHeader> {
    let Given { value: file, place } = given;
    let name = judge.required(place, "name", file.name.as_ref())?;
    if others.iter().any(|other| other.name() == name.value) {
        judge.report(Mistake::about(&name.place, format!("is `{}`, which carries another claim", name.value)));
    }
    let claims = file.claims.iter().flat_map(|given| &given.value).map(|claim| claim.value.clone()).collect();
    match ClaimsHeader::new(&name.value, claims) {
        Ok(header) => Some(header),
        Err(fault) => {
            judge.report(Mistake::about(&name.place, fault));
            None
        }
    }
}

/// Judges tokens for an upstream. `None` only if there are mistakes.
fn tokens(
    judge: &mut Judge<'_>,
    given: Option<&Given<InternalJwtFile>>,
    resource: Option<&Audience>,
) -> Option<UpstreamTokens> {
    let absent = InternalJwtFile::default();
    let file = given.map_or(&absent, |given| &given.value);
    let lifetime = judge.duration(file.lifetime.as_ref(), LONGEST, Some(LONGEST));
    let claims = file.claims.iter().flat_map(|given| &given.value);
    for claim in claims.clone().filter(|claim| OWN_CLAIMS.contains(&claim.value.as_str())) {
        judge.report(Mistake::about(
            &claim.place,
            format!("is `{}`, which these tokens have of their own", claim.value),
        ));
    }
    let claims = claims.map(|claim| claim.value.clone()).collect();
    let key = file.key_file.as_ref().map(|path| named_file::signing_key(judge, path, Algorithm::Es256));
    let others = file.other_key_files.iter().flat_map(|given| &given.value);
    let other_keys = others.filter_map(|path| named_file::signing_key(judge, path, Algorithm::Es256)).map(Arc::new);
    let other_keys = other_keys.collect();
    if let Some(others) = file.other_key_files.as_ref().filter(|_| file.key_file.is_none()) {
        let mistake = Mistake::about(&others.place, "stands without `key_file`, beside which these are published");
        judge.report(mistake.help("name the key that signs in `key_file`"));
    }
    let audience = file.audience.as_ref().map(|given| given.value.0.clone()).or_else(|| resource.cloned())?;
    let keys = match key {
        Some(key) => Some(UpstreamKeys::always(Arc::new(key?), other_keys)),
        None => None,
    };
    Some(UpstreamTokens { audience, lifetime, claims, keys })
}
