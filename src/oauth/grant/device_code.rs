//! The device grant at the token endpoint (RFC 8628 §3.4, §3.5).
//!
//! | the device code is | then |
//! |---|---|
//! | unknown, used or another client's | `invalid_grant`, at any pace |
//! | bound to another key | `invalid_grant`; no poll is counted |
//! | over | `expired_token`, until it is forgotten |
//! | undecided | `authorization_pending`, or `slow_down` if the poll was too early ([`Pace`](crate::store::Pace)) |
//! | declined | `access_denied` |
//! | approved | tokens, at any pace, made now for a person who was looked up again |
//!
//! Each poll brings a proof of its own, and `use_dpop_nonce` counts as none.

use super::{Approval, Authorization, Exchange};
use crate::dpop::ProofFault;
use crate::ident::Resources;
use crate::jose::Members;
use crate::oauth::client::GrantType;
use crate::oauth::params::Parameters;
use crate::oauth::{AuthorizationServer, Error, Refusal, own_token};
use crate::secret::{DeviceCode, DeviceCodeKind, Digest};
use crate::store::{Decision, DeviceRecord, GrantOrigin, Polled};
use crate::token::{AuthorizationDetails, RequestedClaims};

/// A token request of this grant.
pub(in crate::oauth) struct Request<'a> {
    code: DeviceCode,
    parameters: &'a Parameters,
}

/// Reads the parameters. A malformed code is one that we never issued.
pub(in crate::oauth) fn parse(parameters: &Parameters) -> Result<Request<'_>, Refusal> {
    let code = parameters.get("device_code").ok_or(Refusal::DeviceCodeMissing)?;
    Ok(Request { code: code.parse().map_err(|_| Refusal::DeviceCodeUnknown)?, parameters })
}

impl Request<'_> {
    /// Judges the bindings; then counts a poll, or spends the proof, then spends the code and records the grant in one
    /// step.
    pub(in crate::oauth) async fn redeem(
        self,
        exchange: &Exchange<'_>,
        server: &AuthorizationServer,
    ) -> Result<Authorization, Error> {
        let code = self.code.digest();
        let record = server.store.device(code).await?.ok_or(Refusal::DeviceCodeUnknown)?;
        record.check_client(exchange)?;
        record.check_key(exchange)?;
        record.check_fresh(exchange)?;
        let (subject, auth_time, acr) = match record.decision {
            None => return Err(server.count_poll(code, exchange).await?.into()),
            Some(Decision::Decline) => return Err(Refusal::DeviceDeclined.into()),
            Some(Decision::Approve { subject, auth_time, acr }) => (subject, auth_time, acr),
        };
        let scopes = server.narrowed(self.parameters.get("scope"), &record.scopes, exchange.client)?;
        let granted = Resources::of([&record.resource]).ok_or(Refusal::ResourceUnknown)?;
        let resource = server.granted_resource(self.parameters, &granted)?;
        server.check_person(&subject).await?.ok_or(Refusal::DeviceSubjectDisabled)?;

        server.spend(exchange).await?;
        let approval = Approval {
            subject,
            auth_time,
            acr,
            scopes: record.scopes,
            resource: granted,
            details: AuthorizationDetails::default(),
            claims: RequestedClaims::default(),
            session: None,
            origin: GrantOrigin::Device { address: record.address },
        };
        let (grant, refresh_token) = server.begin_grant(approval, exchange).await?;
        if !server.store.redeem_device(code, &grant, exchange.now).await? {
            return Err(Refusal::DeviceCodeUnknown.into());
        }
        Ok(Authorization {
            client_id: grant.client_id,
            subject: grant.subject,
            scopes,
            resource,
            details: AuthorizationDetails::default(), // the device authorization endpoint takes none
            auth_time: Some(grant.auth_time),
            acr: grant.acr,
            binding: exchange.binding(),
            nonce: None,
            told: Members::new(),
            session: None,
            refresh_token: exchange.client.may_use(GrantType::RefreshToken).then_some(refresh_token),
            grant: Some(grant.handle),
            delegation: None,
            outcome: "issued",
        })
    }
}

impl AuthorizationServer {
    /// Spends the proof of a poll that finds no decision, counts the poll, and gives what the device is told.
    async fn count_poll(&self, code: Digest<DeviceCodeKind>, exchange: &Exchange<'_>) -> Result<Refusal, Error> {
        self.spend(exchange).await?;
        match self.store.poll_device(code, &exchange.client.id, exchange.now).await? {
            Polled::TooSoon => Ok(Refusal::PolledTooSoon),
            // What has changed since the record was read, the next poll will find.
            Polled::Pending | Polled::NotPending => Ok(Refusal::DecisionPending),
        }
    }
}

impl DeviceRecord {
    fn check_client(&self, exchange: &Exchange<'_>) -> Result<(), Refusal> {
        if self.client_id == exchange.client.id {
            return Ok(());
        }
        own_token::log_foreign(&exchange.client.id, "device code", None);
        Err(Refusal::DeviceCodeClientMismatch)
    }

    /// If the device authorization request named a key, proofs by it are due.
    fn check_key(&self, exchange: &Exchange<'_>) -> Result<(), Refusal> {
        match (self.dpop_jkt, exchange.key()) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(ProofFault::Missing.into()),
            (Some(bound), Some(key)) if bound == key => Ok(()),
            (Some(_), Some(_)) => Err(Refusal::DeviceCodeKeyMismatch),
        }
    }

    fn check_fresh(&self, exchange: &Exchange<'_>) -> Result<(), Refusal> {
        if exchange.now < self.expires_at { Ok(()) } else { Err(Refusal::DeviceCodeExpired) }
    }
}
