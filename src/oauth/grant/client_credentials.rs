//! The client credentials grant (RFC 6749 §4.4): a client that speaks for itself.

use super::{Authorization, Exchange};
use crate::ident::Subject;
use crate::jose::Members;
use crate::oauth::params::Parameters;
use crate::oauth::{AuthorizationServer, Error, Refusal};

/// A token request of this grant.
pub(in crate::oauth) struct Request<'a> {
    parameters: &'a Parameters,
}

/// Reads the parameters.
pub(in crate::oauth) fn parse(parameters: &Parameters) -> Request<'_> {
    Request { parameters }
}

impl Request<'_> {
    /// Judges scope and resource, then spends the proof. Gives no refresh token (RFC 6749 §4.4.3), and the subject is the
    /// client (RFC 9068 §2.2): no person has such a subject, start-up sees to that.
    pub(in crate::oauth) async fn redeem(
        self,
        exchange: &Exchange<'_>,
        server: &AuthorizationServer,
    ) -> Result<Authorization, Error> {
        if exchange.client.is_public() {
            return Err(Refusal::GrantTypeNotAllowed.into()); // RFC 6749 §4.4: "MUST only be used by confidential clients"
        }
        let scopes = server.narrowed(self.parameters.get("scope"), &exchange.client.scopes, exchange.client)?;
        let resource = server.resource(self.parameters)?;
        let details = server.requested_details(self.parameters, exchange.client)?;
        let subject: Subject = exchange.client.id.as_str().parse().expect("a client_id is a name");
        server.spend(exchange).await?;
        Ok(Authorization {
            client_id: exchange.client.id.clone(),
            subject,
            scopes,
            resource,
            details,
            auth_time: None,
            acr: None,
            binding: exchange.binding(),
            nonce: None,
            told: Members::new(),
            session: None,
            refresh_token: None,
            grant: None,
            delegation: None,
            outcome: "issued",
        })
    }
}
