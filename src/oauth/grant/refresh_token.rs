//! The refresh token grant (RFC 6749 §6, RFC 9449 §5, RFC 9700 §4.14.2).
//!
//! Tokens rotate by state, not by a stopwatch: the previous token keeps working until its successor is used, and gives the
//! same successor to everybody who presents it. So a lost answer, a retry after a day and sixty-four tabs at once all go
//! on with one and the same token. Only a proven fork, an old token after its successor was used, ends the grant.
//!
//! A grant that began without a proof is bound by the first refresh that brings one, and stays bound (RFC 9449 §5).
//!
//! | the token is | and | then |
//! |---|---|---|
//! | current | the client does not rotate | stable: the same token |
//! | current | | rotated: its successor; a conditional write |
//! | previous | the grant is bound to a key or proof, or the rotation is fresh | repeated: the same successor; no write but to bind |
//! | previous | unbound, later | replaced: another successor, the unused one is dead; a conditional write |
//! | older | as first read | forked: the grant ends |
//! | older | only after a write was lost to somebody else | overtaken: refused, the grant lives |

use std::time::Duration;

use super::{Authorization, Exchange};
use crate::clock::Timestamp;
use crate::dpop::ProofFault;
use crate::oauth::client::RefreshTokenRotation;
use crate::oauth::params::Parameters;
use crate::oauth::{AuthorizationServer, Error, Refusal, id_token, own_token};
use crate::secret::RefreshToken;
use crate::store::{
    EndedBy, Grant, GrantHandle, Previous, RefreshState, Rotated, Rotation, SenderConstraint, Unavailable,
};

/// How long an unbound token may be repeated with the same answer. Without a key, detection is all there is: two parties
/// must not be able to walk in step for ever.
const UNBOUND_REPEAT: Duration = Duration::from_secs(10);

/// How often a write that was lost to somebody else is judged again.
const ATTEMPTS: u32 = 3;

/// A token request of this grant.
pub(in crate::oauth) struct Request<'a> {
    token: RefreshToken,
    parameters: &'a Parameters,
}

/// Reads the parameters. A malformed token is one that we never issued.
pub(in crate::oauth) fn parse(parameters: &Parameters) -> Result<Request<'_>, Refusal> {
    let token = parameters.get("refresh_token").ok_or(Refusal::RefreshTokenMissing)?;
    Ok(Request { token: token.parse().map_err(|_| Refusal::RefreshTokenUnknown)?, parameters })
}

/// Which token of its grant a genuine token is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Position {
    Current,
    Previous,
    Older,
}

/// What became of the refresh token, and the token to answer with.
struct Moved {
    outcome: &'static str,
    token: RefreshToken,
}

impl Request<'_> {
    /// Judges the bindings, then spends the proof, then moves the grant to its next token.
    pub(in crate::oauth) async fn redeem(
        self,
        exchange: &Exchange<'_>,
        server: &AuthorizationServer,
    ) -> Result<Authorization, Error> {
        let handle = GrantHandle(self.token.handle());
        let grant = server.store.grant(handle).await?.ok_or(Refusal::RefreshTokenUnknown)?;
        let position = position(&grant, &self.token).ok_or(Refusal::RefreshTokenUnknown)?;
        grant.check_client(exchange)?;
        grant.check_alive(exchange.now)?;
        let Some(person) = server.check_person(&grant.subject).await? else {
            server.end_grant(&grant, EndedBy::UserDisabled, exchange.now).await?;
            return Err(Refusal::SubjectDisabled.into());
        };
        grant.check_key(exchange)?;
        let scopes = server.narrowed(self.parameters.get("scope"), &grant.scopes, exchange.client)?;
        let resource = server.granted_resource(self.parameters, &grant.resource)?;
        let details = server.narrowed_details(self.parameters, &grant.details, exchange.client)?;

        let told = id_token::told(&person, &grant.claims, exchange.client);

        server.spend(exchange).await?;
        let authorization = |grant: Grant, moved: Moved| Authorization {
            client_id: grant.client_id,
            subject: grant.subject,
            scopes,
            resource,
            details,
            auth_time: Some(grant.auth_time),
            acr: grant.acr,
            binding: exchange.binding(),
            nonce: None, // OpenID Connect Core §12.2: none with a refresh
            told,
            session: grant.session,
            refresh_token: Some(moved.token),
            grant: Some(handle),
            delegation: None,
            outcome: moved.outcome,
        };
        if position == Position::Older {
            server.end_grant(&grant, EndedBy::Fork, exchange.now).await?; // it came after its successor was used
            return Err(Refusal::RefreshTokenForked.into());
        }
        let (grant, moved) = self.advance(grant, exchange, server).await?;
        Ok(authorization(grant, moved))
    }

    /// Moves the grant on, judging it again whenever somebody else was first.
    async fn advance(
        self,
        mut grant: Grant,
        exchange: &Exchange<'_>,
        server: &AuthorizationServer,
    ) -> Result<(Grant, Moved), Error> {
        for _ in 0..ATTEMPTS {
            if let Some(moved) = self.try_advance(&grant, exchange, server).await? {
                return Ok((grant, moved));
            }
            grant = server.store.grant(grant.handle).await?.ok_or(Refusal::RefreshTokenUnknown)?;
            grant.check_alive(exchange.now)?;
            grant.check_key(exchange)?; // whoever was first may have bound the grant
        }
        Err(Unavailable::Down.into())
    }

    /// One step of the state machine; `None` when the grant was no longer as it was read.
    async fn try_advance(
        &self,
        grant: &Grant,
        exchange: &Exchange<'_>,
        server: &AuthorizationServer,
    ) -> Result<Option<Moved>, Error> {
        let now = exchange.now;
        let idle_expires_at = grant.expires_at.min(now + server.settings.lifetimes.refresh_token_idle);
        let state = &grant.refresh;
        match (position(grant, &self.token).ok_or(Refusal::RefreshTokenUnknown)?, &state.previous) {
            // An unbound grant stays so whatever proof comes: a token that does not change is not written, and its client
            // authenticates.
            (Position::Current, _) if exchange.client.rotation == RefreshTokenRotation::Never => {
                server.slide(grant, idle_expires_at, now).await?;
                Ok(Some(Moved { outcome: "stable", token: self.again()? }))
            }
            (Position::Current, _) => {
                let previous = (self.token.n(), self.token.hash());
                self.write("rotated", grant, previous, idle_expires_at, (exchange, server)).await
            }
            (Position::Previous, Some(previous)) if repeats(grant, previous, now) => {
                let token = self.token.successor(state.current_n, &previous.seed, &state.tag_key);
                if !token.is_hashed_as(&state.current_hash) {
                    return Err(Unavailable::Down.into()); // the row contradicts itself
                }
                let sender_constraint = grant.bound_by(exchange);
                if sender_constraint != grant.sender_constraint {
                    let idle_expires_at = grant.idle_expires_at;
                    let binding = grant.rotation(state.clone(), sender_constraint, (idle_expires_at, now));
                    if server.store.rotate(&binding).await? == Rotated::Overtaken {
                        return Ok(None);
                    }
                }
                tracing::info!(client.id = %exchange.client.id, grant.id = ?grant.handle,
                    age_ms = now.millis() - previous.rotated_at_millis, "a refresh was repeated");
                Ok(Some(Moved { outcome: "repeated", token }))
            }
            (Position::Previous, Some(previous)) => {
                let previous = (previous.n, previous.hash);
                self.write("replaced", grant, previous, idle_expires_at, (exchange, server)).await
            }
            (Position::Previous, None) | (Position::Older, _) => Err(Refusal::RefreshTokenOvertaken.into()),
        }
    }

    /// The conditional write: the successor becomes current, `previous` the token before it.
    async fn write(
        &self,
        outcome: &'static str,
        grant: &Grant,
        (previous_n, previous_hash): (u64, [u8; 32]),
        idle_expires_at: Timestamp,
        (exchange, server): (&Exchange<'_>, &AuthorizationServer),
    ) -> Result<Option<Moved>, Error> {
        let state = &grant.refresh;
        let (n, seed) = (state.current_n + 1, server.entropy.draw());
        let token = self.token.successor(n, &seed, &state.tag_key);
        let previous = Previous { n: previous_n, hash: previous_hash, seed, rotated_at_millis: exchange.now.millis() };
        let next =
            RefreshState { tag_key: state.tag_key, current_n: n, current_hash: token.hash(), previous: Some(previous) };
        let rotation = grant.rotation(next, grant.bound_by(exchange), (idle_expires_at, exchange.now));
        match server.store.rotate(&rotation).await? {
            Rotated::Moved => Ok(Some(Moved { outcome, token })),
            Rotated::Overtaken => Ok(None),
        }
    }

    /// The same token once more, for a client that does not rotate.
    fn again(&self) -> Result<RefreshToken, Error> {
        self.token.reveal().parse().map_err(|_| Unavailable::Down.into())
    }
}

impl AuthorizationServer {
    /// Slides the idle limit of a token that stays the same, but only when it would move by more than a tenth: an
    /// ordinary refresh then writes nothing.
    async fn slide(&self, grant: &Grant, idle_expires_at: Timestamp, now: Timestamp) -> Result<(), Unavailable> {
        let moves_by = idle_expires_at.since(grant.idle_expires_at);
        if moves_by * 10 > idle_expires_at.since(now) {
            self.store.extend_grant(grant.handle, idle_expires_at, now).await?;
        }
        Ok(())
    }
}

/// Whether a token is one of this grant with which its client could refresh, if the grant lives.
pub(in crate::oauth) fn would_refresh(grant: &Grant, token: &RefreshToken) -> bool {
    matches!(position(grant, token), Some(Position::Current | Position::Previous))
}

/// Which token of the grant this is; `None` if we never issued it, or the store was set back to before it was issued.
fn position(grant: &Grant, token: &RefreshToken) -> Option<Position> {
    let state = &grant.refresh;
    if !token.is_genuine(&state.tag_key) {
        return None;
    }
    if token.n() == state.current_n {
        return token.is_hashed_as(&state.current_hash).then_some(Position::Current);
    }
    let is_previous =
        state.previous.as_ref().is_some_and(|previous| previous.n == token.n() && token.is_hashed_as(&previous.hash));
    match () {
        () if is_previous => Some(Position::Previous),
        () if token.n() < state.current_n => Some(Position::Older),
        () => None,
    }
}

/// Whether the previous token gives the same successor again.
fn repeats(grant: &Grant, previous: &Previous, now: Timestamp) -> bool {
    let bound = match grant.sender_constraint {
        SenderConstraint::Dpop
        | SenderConstraint::DpopKey(_)
        | SenderConstraint::Certificate
        | SenderConstraint::ThisCertificate(_) => true,
        SenderConstraint::None => false,
    };
    bound || now <= Timestamp::from_millis(previous.rotated_at_millis) + UNBOUND_REPEAT
}

impl Grant {
    fn check_client(&self, exchange: &Exchange<'_>) -> Result<(), Refusal> {
        if self.client_id == exchange.client.id {
            return Ok(());
        }
        own_token::log_foreign(&exchange.client.id, "refresh token", Some(self.handle));
        Err(Refusal::RefreshTokenClientMismatch)
    }

    fn check_alive(&self, now: Timestamp) -> Result<(), Refusal> {
        if self.is_live(now) { Ok(()) } else { Err(Refusal::GrantEnded) }
    }

    /// What the grant is bound to from now on: a proof binds what was unbound, and nothing unbinds.
    fn bound_by(&self, exchange: &Exchange<'_>) -> SenderConstraint {
        match self.sender_constraint {
            SenderConstraint::None => exchange.sender_constraint(),
            bound @ (SenderConstraint::Dpop
            | SenderConstraint::DpopKey(_)
            | SenderConstraint::Certificate
            | SenderConstraint::ThisCertificate(_)) => bound,
        }
    }

    /// A move of this grant, as it was read.
    fn rotation(
        &self,
        next: RefreshState,
        sender_constraint: SenderConstraint,
        (idle_expires_at, used_at): (Timestamp, Timestamp),
    ) -> Rotation {
        let RefreshState { current_n: read_n, current_hash: read_hash, .. } = self.refresh;
        Rotation { handle: self.handle, read_n, read_hash, next, sender_constraint, used_at, idle_expires_at }
    }

    /// A bound grant never yields an unbound token (RFC 9449 §5, RFC 8705 §4).
    pub(super) fn check_key(&self, exchange: &Exchange<'_>) -> Result<(), Refusal> {
        match self.sender_constraint {
            SenderConstraint::None => Ok(()),
            SenderConstraint::Dpop => exchange.key().map(|_| ()).ok_or(ProofFault::Missing.into()),
            SenderConstraint::DpopKey(bound) => match exchange.key().ok_or(ProofFault::Missing)? {
                key if key == bound => Ok(()),
                _ => Err(Refusal::RefreshTokenKeyMismatch),
            },
            // A certificate that the client is no longer registered to bind to would leave the access token unbound.
            SenderConstraint::Certificate => exchange.binding().map(|_| ()).ok_or(Refusal::CertificateMissing),
            SenderConstraint::ThisCertificate(bound) => {
                exchange.binding().ok_or(Refusal::CertificateMissing)?;
                match exchange.certificate().ok_or(Refusal::CertificateMissing)? {
                    certificate if certificate == bound => Ok(()),
                    _ => Err(Refusal::RefreshTokenKeyMismatch),
                }
            }
        }
    }
}
