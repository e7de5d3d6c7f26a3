//! The authorization code grant at the token endpoint (RFC 6749 §4.1.3, RFC 7636 §4.6, RFC 9449 §10).

use super::{Approval, Authorization, Exchange};
use crate::dpop::ProofFault;
use crate::oauth::client::GrantType;
use crate::oauth::params::Parameters;
use crate::oauth::pkce::{CodeChallenge, CodeVerifier};
use crate::oauth::{AuthorizationServer, Error, Refusal, id_token, own_token};
use crate::secret::AuthorizationCode;
use crate::store::{CodeRecord, EndedBy, GrantHandle, GrantOrigin, Redeemed};

/// A token request of this grant.
pub(in crate::oauth) struct Request<'a> {
    code: AuthorizationCode,
    redirect_uri: Option<&'a str>,
    verifier: Option<&'a str>,
    parameters: &'a Parameters,
}

/// Reads the parameters. A malformed code is one that we never issued.
pub(in crate::oauth) fn parse(parameters: &Parameters) -> Result<Request<'_>, Refusal> {
    let code = parameters.get("code").ok_or(Refusal::CodeMissing)?;
    Ok(Request {
        code: code.parse().map_err(|_| Refusal::CodeUnknown)?,
        redirect_uri: parameters.get("redirect_uri"),
        verifier: parameters.get("code_verifier"),
        parameters,
    })
}

impl Request<'_> {
    /// Judges the code's bindings, then spends the proof, then spends the code and records the grant in one step.
    ///
    /// A replay counts only once the request is right in every other respect (OAuth 2.1, "Reuse of Authorization Codes"):
    /// whoever holds a stolen code, but not the key and the verifier, cannot end the rightful owner's grant with it.
    pub(in crate::oauth) async fn redeem(
        self,
        exchange: &Exchange<'_>,
        server: &AuthorizationServer,
    ) -> Result<Authorization, Error> {
        let code = self.code.digest();
        let record = server.store.code(code).await?.ok_or(Refusal::CodeUnknown)?;
        record.check_client(exchange)?;
        record.check_fresh(exchange)?;
        record.check_redirect_uri(self.redirect_uri)?;
        record.check_verifier(self.verifier)?;
        record.check_key(exchange)?;
        let scopes = server.narrowed(self.parameters.get("scope"), &record.scopes, exchange.client)?;
        let resource = server.granted_resource(self.parameters, &record.resource)?;
        let details = server.narrowed_details(self.parameters, &record.details, exchange.client)?;
        let person = server.check_person(&record.subject).await?.ok_or(Refusal::CodeUnknown)?;
        let told = id_token::told(&person, &record.claims, exchange.client);

        server.spend(exchange).await?;
        let nonce = record.nonce.clone();
        let (grant, refresh_token) = server.begin_grant(record.into_approval(), exchange).await?;
        match server.store.redeem_code(code, &grant, exchange.now).await? {
            Redeemed::First => {}
            Redeemed::Replayed(earlier) => {
                server.end_replayed(earlier, exchange).await?;
                return Err(Refusal::CodeReplayed.into());
            }
            Redeemed::Unknown => return Err(Refusal::CodeUnknown.into()),
        }
        Ok(Authorization {
            client_id: grant.client_id,
            subject: grant.subject,
            scopes,
            resource,
            details,
            auth_time: Some(grant.auth_time),
            acr: grant.acr,
            binding: exchange.binding(),
            nonce,
            told,
            session: grant.session,
            refresh_token: exchange.client.may_use(GrantType::RefreshToken).then_some(refresh_token),
            grant: Some(grant.handle),
            delegation: None,
            outcome: "issued",
        })
    }
}

impl CodeRecord {
    fn into_approval(self) -> Approval {
        let Self { subject, auth_time, acr, scopes, resource, details, claims, session, .. } = self;
        let origin = GrantOrigin::Browser;
        Approval { subject, auth_time, acr, scopes, resource, details, claims, session, origin }
    }

    fn check_client(&self, exchange: &Exchange<'_>) -> Result<(), Refusal> {
        if self.client_id == exchange.client.id {
            return Ok(());
        }
        own_token::log_foreign(&exchange.client.id, "authorization code", None);
        Err(Refusal::CodeClientMismatch)
    }

    /// A spent code is judged on: its replay must be told from its expiry.
    fn check_fresh(&self, exchange: &Exchange<'_>) -> Result<(), Refusal> {
        let fresh = exchange.now < self.expires_at || self.spent_for.is_some();
        if fresh { Ok(()) } else { Err(Refusal::CodeUnknown) }
    }

    /// RFC 6749 §4.1.3: identical, if it is sent. OAuth 2.1 drops the parameter, and PKCE is mandatory here.
    fn check_redirect_uri(&self, sent: Option<&str>) -> Result<(), Refusal> {
        let same = sent.is_none_or(|sent| sent == self.redirect_uri);
        if same { Ok(()) } else { Err(Refusal::RedirectUriMismatch) }
    }

    /// RFC 7636 §4.6: BASE64URL(SHA256(verifier)) is the challenge. A malformed verifier is a wrong one, and so is one for a
    /// code that has no challenge: somebody has taken it out of the request (RFC 9700 §2.1.1, §4.8.2).
    fn check_verifier(&self, verifier: Option<&str>) -> Result<(), Refusal> {
        let (challenge, verifier) = match (self.challenge, verifier) {
            (None, None) => return Ok(()),
            (None, Some(_)) => return Err(Refusal::VerifierMismatch),
            (Some(_), None) => return Err(Refusal::VerifierMissing),
            (Some(challenge), Some(verifier)) => (CodeChallenge::from_bytes(challenge), verifier),
        };
        let met = verifier.parse::<CodeVerifier>().is_ok_and(|verifier| challenge.is_met_by(&verifier));
        if met { Ok(()) } else { Err(Refusal::VerifierMismatch) }
    }

    /// RFC 9449 §10: if `dpop_jkt` bound the code to a key, a proof by it is due.
    fn check_key(&self, exchange: &Exchange<'_>) -> Result<(), Refusal> {
        match (self.dpop_jkt, exchange.key()) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(ProofFault::Missing.into()),
            (Some(bound), Some(key)) if bound == key => Ok(()),
            (Some(_), Some(_)) => Err(Refusal::CodeKeyMismatch),
        }
    }
}

impl AuthorizationServer {
    /// Ends the grant of a code that came twice, if whoever brings it now holds the key that the grant is bound to.
    async fn end_replayed(&self, earlier: GrantHandle, exchange: &Exchange<'_>) -> Result<(), Error> {
        if let Some(grant) = self.store.grant(earlier).await?.filter(|grant| grant.check_key(exchange).is_ok()) {
            self.end_grant(&grant, EndedBy::CodeReuse, exchange.now).await?;
        }
        Ok(())
    }
}
