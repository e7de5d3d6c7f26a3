//! The token endpoint (RFC 6749 §3.2), in this order:
//!
//! 1. limits, content type, repeated parameters (the door and [`Parameters`]);
//! 2. the proof: shape, key, signature, method, URI, age (RFC 9449 §4.3), and its nonce, without a memory;
//! 3. how often this client has asked, and this address ([`rates`](super::rates)); client authentication, which spends an assertion;
//! 4. the grant type, and whether the client may use it;
//! 5. the grant and its bindings, scope, resource, the person;
//! 6. the proof's `jti`;
//! 7. one atomic step that consumes and records;
//! 8. the signature, or the record of an access token that is a handle.
//!
//! Invariant: whoever fails a step has lost nothing that a later step spends. So `use_dpop_nonce` costs neither a code,
//! nor a refresh token, nor an assertion.

use std::net::IpAddr;

use super::client::GrantType;
use super::client_authentication::Credentials;
use super::grant::{
    Authorization, Exchange, authorization_code, client_credentials, device_code, refresh_token, token_exchange,
};
use super::issue::TokenResponse;
use super::params::Parameters;
use super::{AuthorizationServer, Error, NonceMode, Profile, Refusal, metadata};
use crate::certificate::ClientCertificate;
use crate::clock::Timestamp;
use crate::dpop::{self, Expected, Htu, NonceRule, NonceText, ProofFault, Remedy, VerifiedProof};
use crate::ident::ClientId;

/// A request to the token endpoint, or to another one at which clients authenticate, as the door hands it on.
pub struct TokenRequest<'a> {
    /// The parameters of the body.
    pub parameters: &'a Parameters,
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
    /// Every `DPoP` header.
    pub proofs: &'a [&'a str],
    /// The certificate of its connection (RFC 8705).
    pub certificate: Option<&'a ClientCertificate>,
    /// The address that it came from.
    pub address: IpAddr,
}

impl TokenRequest<'_> {
    /// What the client is known by.
    pub(super) fn credentials(&self) -> Credentials<'_> {
        let Self { parameters, authorization, certificate, address, proofs: _ } = *self;
        Credentials { authorization, parameters, certificate, address }
    }
}

/// The answer, and the nonce to send along (RFC 9449 §8, §8.2).
pub struct TokenAnswer {
    /// What the client gets.
    pub result: Result<TokenResponse, Error>,
    /// `DPoP-Nonce`.
    pub nonce: Option<NonceText>,
    /// Who asked for what, as far as it is known; for the event.
    pub asked: Asked,
}

/// Who asked for what, as far as a request got.
#[derive(Debug, Default)]
pub struct Asked {
    /// The client, once it is authenticated.
    pub client: Option<ClientId>,
    /// The grant type, if there is such a one.
    pub grant_type: Option<GrantType>,
}

/// What a proof at an endpoint of ours must have been made for.
pub(super) struct Occasion<'a> {
    /// The method of the request.
    pub(super) method: &'a str,
    /// The endpoint.
    pub(super) target: &'a Htu<'a>,
    /// Its path, below the issuer.
    pub(super) path: &'a str,
    /// The access token beside the proof, where the endpoint takes one (RFC 9449 §4.3-11).
    pub(super) access_token: Option<&'a str>,
}

impl<'a> Occasion<'a> {
    /// A POST to an endpoint at which clients authenticate.
    pub(super) fn post(target: &'a Htu<'a>, path: &'a str) -> Self {
        Self { method: "POST", target, path, access_token: None }
    }
}

impl AuthorizationServer {
    /// Answers a token request.
    pub async fn token(&self, request: TokenRequest<'_>, now: Timestamp) -> TokenAnswer {
        let proof = self.verify_proof(request.proofs, &Occasion::post(&self.token_endpoint(), metadata::TOKEN), now);
        let offered = self.offer_nonce(proof.as_ref().ok().and_then(Option::as_ref), now);
        let grant_type = request.parameters.get("grant_type").and_then(GrantType::named);
        let mut asked = Asked { client: None, grant_type };
        let result = match proof {
            Ok(proof) => self.exchange(&request, proof.as_ref(), now, &mut asked).await,
            Err(refusal) => Err(refusal.into()),
        };
        let nonce = self.demanded_nonce(&result, now).or(offered);
        TokenAnswer { result, nonce, asked }
    }

    async fn exchange(
        &self,
        request: &TokenRequest<'_>,
        proof: Option<&VerifiedProof>,
        now: Timestamp,
        asked: &mut Asked,
    ) -> Result<TokenResponse, Error> {
        let grant_type = request.parameters.get("grant_type").ok_or(Refusal::GrantTypeMissing)?;
        let client = self.authenticate(request.credentials(), now).await?;
        asked.client = Some(client.id.clone());
        let grant_type = GrantType::named(grant_type).ok_or(Refusal::GrantTypeUnsupported)?;
        if !client.may_use(grant_type) {
            return Err(Refusal::GrantTypeNotAllowed.into());
        }
        if proof.is_none() && (client.dpop_bound_access_tokens || self.settings.dpop.required) {
            return Err(Refusal::Proof(ProofFault::Missing).into());
        }
        if proof.is_none() && client.certificate_bound_access_tokens && request.certificate.is_none() {
            return Err(Refusal::CertificateMissing.into());
        }
        let signer = self.keys.signer(now)?; // before a code, a refresh token or a proof is spent
        self.check_room(&client, now).await?; // so is this
        let exchange = Exchange { client: &client, proof, certificate: request.certificate, now };
        let authorization = self.redeem(grant_type, request.parameters, &exchange).await?;
        Ok(self.issue(&authorization, &exchange, &signer).await?)
    }

    async fn redeem(
        &self,
        grant_type: GrantType,
        parameters: &Parameters,
        exchange: &Exchange<'_>,
    ) -> Result<Authorization, Error> {
        match grant_type {
            GrantType::AuthorizationCode => authorization_code::parse(parameters)?.redeem(exchange, self).await,
            GrantType::RefreshToken => refresh_token::parse(parameters)?.redeem(exchange, self).await,
            GrantType::ClientCredentials => client_credentials::parse(parameters).redeem(exchange, self).await,
            GrantType::DeviceCode => device_code::parse(parameters)?.redeem(exchange, self).await,
            GrantType::TokenExchange => token_exchange::parse(parameters)?.redeem(exchange, self).await,
        }
    }

    /// Verifies the proof of a request to one of our own endpoints; `None` if there is none.
    pub(super) fn verify_proof(
        &self,
        proofs: &[&str],
        occasion: &Occasion<'_>,
        now: Timestamp,
    ) -> Result<Option<VerifiedProof>, Refusal> {
        let proof = match proofs {
            [] => return Ok(None),
            [proof] => proof,
            [_, ..] => return Err(ProofFault::Repeated.into()),
        };
        let window = self.settings.dpop.window;
        let alias = self.settings.mtls_url(occasion.path);
        let alias = alias.as_deref().and_then(|url| Htu::parse(url).ok());
        let verify = |nonce| {
            let Occasion { method, target, access_token, .. } = *occasion;
            let at = |target| {
                let expected = Expected { method, target, access_token, window, nonce };
                dpop::verify(proof, &expected, &*self.proof_keys, now)
            };
            // An endpoint with two addresses is meant by either (RFC 8705 §5).
            let verified = match (at(target), &alias) {
                (Err(ProofFault::TargetMismatch), Some(alias)) => at(alias),
                (verified, _) => verified,
            };
            verified.map_err(|fault| self.curable(fault))
        };
        let passes = |proof: VerifiedProof| {
            if self.fence.admits(&proof) { Ok(proof) } else { Err(Refusal::Proof(ProofFault::BeforeRestart)) }
        };
        let verified = match self.settings.dpop.nonce {
            NonceMode::Off => match verify(NonceRule::Off).and_then(passes) {
                // Until the fence is gone a nonce that this life has made shows that the proof is younger than it.
                Err(Refusal::Proof(ProofFault::BeforeRestart)) => {
                    verify(NonceRule::Optional(&self.nonces)).and_then(passes)
                }
                verified => verified,
            },
            NonceMode::Optional => verify(NonceRule::Optional(&self.nonces)).and_then(passes),
            NonceMode::Required => verify(NonceRule::Required(&self.nonces)).and_then(passes),
        };
        verified.map(Some)
    }

    /// A client whose clock is wrong can recover with a nonce, where there are nonces (RFC 9449 §11.1). Under FAPI 2.0 it is
    /// refused, because that says how wrong a clock may be (§5.3.2.1-13), unless it knows a nonce already.
    fn curable(&self, fault: ProofFault) -> Refusal {
        match (fault, self.settings.dpop.nonce, self.settings.profile) {
            (ProofFault::Stale | ProofFault::Early, NonceMode::Optional, Profile::Default) => {
                ProofFault::NonceMissing.into()
            }
            (fault, _, _) => fault.into(),
        }
    }

    /// The nonce without which the same request would be refused again (RFC 9449 §8).
    pub(super) fn demanded_nonce<T>(&self, result: &Result<T, Error>, now: Timestamp) -> Option<NonceText> {
        let demanded =
            matches!(result, Err(Error::Refused(Refusal::Proof(fault))) if fault.remedy() == Remedy::FreshNonce);
        demanded.then(|| self.nonces.issue(now))
    }

    /// The nonce to offer with any answer: the client has none yet, or its own is past half of its life.
    pub(super) fn offer_nonce(&self, proof: Option<&VerifiedProof>, now: Timestamp) -> Option<NonceText> {
        let proof = proof?;
        let due = match (self.settings.dpop.nonce, proof.nonce_made()) {
            (NonceMode::Off, _) => false,
            (NonceMode::Optional | NonceMode::Required, None) => true,
            (NonceMode::Optional | NonceMode::Required, Some(made)) => self.nonces.is_ageing(made, now),
        };
        due.then(|| self.nonces.issue(now))
    }
}
