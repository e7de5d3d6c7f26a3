//! What stores keep.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::certificate::CertificateThumbprint;
use crate::clock::Timestamp;
use crate::ident::{Acr, Audience, ClientId, Resources, Subject};
use crate::jose::{Algorithm, Members, Thumbprint, object};
use crate::scope::Scopes;
use crate::secret::{
    AccessTokenKind, BrowserKind, ClientSecretHash, CodeKind, DeviceCodeKind, Digest, RegistrationTokenKind,
    RequestUriKind, SessionKind, UserCodeKind,
};
use crate::token::{AuthorizationDetails, RequestedClaims};

/// The name of a grant: 16 random bytes, or its place in a status list and 8 of them. Not a secret; it opens nothing.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct GrantHandle(pub [u8; 16]);

/// Prints eight random hexadecimal digits, enough to correlate.
impl fmt::Debug for GrantHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("grant ")?;
        self.0[4..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The name of an access token: the SHA-256 of its `jti`, of which a place in a status list takes some. Opens nothing.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TokenName(pub [u8; 32]);

/// An access token that is a handle, as stored: what a JWT in its place would say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccessTokenRecord {
    /// The SHA-256 of the handle.
    pub digest: Digest<AccessTokenKind>,
    /// Its claims (RFC 9068 §2.2), a JSON object.
    pub claims: String,
    /// The last moment at which anybody may take it, clocks that differ included.
    pub expires_at: Timestamp,
}

impl AccessTokenRecord {
    /// The claims, parsed; `None` if they are not what a store of ours has recorded.
    #[must_use]
    pub fn members(&self) -> Option<Members> {
        object(self.claims.as_bytes()).ok()
    }
}

/// The name of an authorization transaction: 16 random bytes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TransactionId(pub [u8; 16]);

/// The name of a session, which outlives a new sign-in of the same person in the same browser. Opens nothing.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SessionId(pub [u8; 16]);

impl SessionId {
    /// The name of a session that was given none when it began.
    pub(crate) fn of(digest: Digest<SessionKind>) -> Self {
        let [name @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *digest.as_bytes();
        Self(name)
    }
}

/// An authorization code, as stored: what it was issued for, and what it turned into.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CodeRecord {
    /// The SHA-256 of the code.
    pub digest: Digest<CodeKind>,
    /// The transaction that was approved.
    pub transaction: TransactionId,
    /// Whom it was issued to (RFC 6749 §4.1.3).
    pub client_id: ClientId,
    /// The redirect URI of the request, byte for byte.
    pub redirect_uri: String,
    /// The PKCE S256 challenge (RFC 7636 §4.2); `None` for a client that may go without.
    pub challenge: Option<[u8; 32]>,
    /// The person who approved.
    pub subject: Subject,
    /// When that person signed in.
    pub auth_time: Timestamp,
    /// How well that person was recognised, if it is known.
    pub acr: Option<Acr>,
    /// What was approved.
    pub scopes: Scopes,
    /// The resources that access tokens may be for (RFC 8707).
    pub resource: Resources,
    /// What was approved in detail (RFC 9396).
    pub details: AuthorizationDetails,
    /// The key to which `dpop_jkt` bound the code (RFC 9449 §10).
    pub dpop_jkt: Option<Thumbprint>,
    /// `nonce` of the request, for the ID token (OpenID Connect Core §3.1.2.1).
    pub nonce: Option<String>,
    /// What the client is told about the person beside what the scopes say (OpenID Connect Core §5.5).
    pub claims: RequestedClaims,
    /// The session in which it was approved, if there is one.
    pub session: Option<SessionId>,
    /// When it stops being redeemable.
    pub expires_at: Timestamp,
    /// The grant it was redeemed for.
    pub spent_for: Option<GrantHandle>,
}

/// A client that has registered itself (RFC 7591), as stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientRecord {
    /// `client_id`.
    pub id: ClientId,
    /// What it has registered, in JSON.
    pub metadata: String,
    /// The hash of its `client_secret`, if it has one.
    pub secret: Option<ClientSecretHash>,
    /// The SHA-256 of its registration access token (RFC 7592 §3).
    pub registration_token: Digest<RegistrationTokenKind>,
    /// `client_id_issued_at`.
    pub registered_at: Timestamp,
    /// From when on it is forgotten if it has no grant. `None`: never.
    pub disposable_from: Option<Timestamp>,
}

/// An authorization request that a client has pushed (RFC 9126 §2), as stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PushedRequest {
    /// The SHA-256 of its `request_uri`.
    pub digest: Digest<RequestUriKind>,
    /// The transaction that it begins, however often its page is loaded.
    pub transaction: TransactionId,
    /// Who pushed it, and may use it.
    pub client_id: ClientId,
    /// Its parameters, as a form: judged once, and without what the client authenticated with.
    pub parameters: String,
    /// When its `request_uri` stops being good.
    pub expires_at: Timestamp,
    /// Whether it was answered, with a code or an error. Its parameters are gone then.
    pub spent: bool,
}

impl PushedRequest {
    /// Whether a browser may still come with it.
    #[must_use]
    pub fn is_waiting(&self, now: Timestamp) -> bool {
        !self.spent && now < self.expires_at
    }
}

/// What access and refresh tokens of a grant are bound to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SenderConstraint {
    /// Nothing: bearer tokens.
    None,
    /// A DPoP proof, by any key: the refresh token of a confidential client (RFC 9449 §5).
    Dpop,
    /// DPoP proofs by this key, for life: the refresh token of a public client (RFC 9449 §5).
    DpopKey(Thumbprint),
    /// A client certificate, whichever: the refresh token of a confidential client (RFC 8705 §3).
    Certificate,
    /// This certificate, for life: the refresh token of a public client (RFC 8705 §4).
    ThisCertificate(CertificateThumbprint),
}

/// Why a grant ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EndedBy {
    /// An old refresh token was presented after its successor had been used.
    Fork,
    /// Its code was presented again, with everything else right (RFC 6749 §4.1.2).
    CodeReuse,
    /// It, or a token of it, was revoked (RFC 7009).
    Revoked,
    /// The person may no longer sign in.
    UserDisabled,
    /// Somebody who looks after the installation has ended it.
    Administrator,
    /// The person has begun too many newer ones at the same client ([`Limits::grants_per_person`](super::Limits)).
    Superseded,
    /// The client has unregistered itself (RFC 7592 §2.3).
    ClientDeleted,
}

impl EndedBy {
    /// The name in stores and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::CodeReuse => "code_reuse",
            Self::Revoked => "revoked",
            Self::UserDisabled => "user_disabled",
            Self::Administrator => "administrator",
            Self::Superseded => "superseded",
            Self::ClientDeleted => "client_deleted",
        }
    }
}

/// A stored name that this version does not know.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown name in a stored record")]
pub struct UnknownName;

impl FromStr for EndedBy {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let all = [
            Self::Fork,
            Self::CodeReuse,
            Self::Revoked,
            Self::UserDisabled,
            Self::Administrator,
            Self::Superseded,
            Self::ClientDeleted,
        ];
        all.into_iter().find(|why| why.name() == name).ok_or(UnknownName)
    }
}

/// What a person granted a client: one row, of which the refresh tokens are columns.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    /// Its name.
    pub handle: GrantHandle,
    /// The client.
    pub client_id: ClientId,
    /// The person.
    pub subject: Subject,
    /// As granted; never narrowed by a refresh.
    pub scopes: Scopes,
    /// The resources that access tokens may be for; each is for one.
    pub resource: Resources,
    /// What was granted in detail (RFC 9396); never narrowed by a refresh.
    pub details: AuthorizationDetails,
    /// What the client is told about the person beside what the scopes say (OpenID Connect Core §5.5).
    pub claims: RequestedClaims,
    /// The session in which it began, if it began in one.
    pub session: Option<SessionId>,
    /// How it began.
    pub origin: GrantOrigin,
    /// When the person signed in.
    pub auth_time: Timestamp,
    /// How well the person was recognised, if it is known.
    pub acr: Option<Acr>,
    /// What its tokens are bound to. A refresh may bind what was unbound; nothing loosens it.
    pub sender_constraint: SenderConstraint,
    /// Its refresh tokens.
    pub refresh: RefreshState,
    /// When it began.
    pub created_at: Timestamp,
    /// When the client was last seen to use it. A refresh token that does not change is not written at every use.
    pub used_at: Timestamp,
    /// When it ends if nobody refreshes; slides.
    pub idle_expires_at: Timestamp,
    /// When it ends for good; fixed at approval.
    pub expires_at: Timestamp,
    /// When and why it ended.
    pub ended: Option<(Timestamp, EndedBy)>,
}

/// Which live grants are asked for: those of a person, of a client, of both, or all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GrantQuery {
    /// Only those of this person.
    pub subject: Option<Subject>,
    /// Only those of this client.
    pub client_id: Option<ClientId>,
    /// Only those behind this one, by their handles.
    pub after: Option<GrantHandle>,
}

impl GrantQuery {
    /// Whether a grant is one of them.
    pub(crate) fn asks_for(&self, grant: &Grant) -> bool {
        self.subject.as_ref().is_none_or(|subject| grant.subject == *subject)
            && self.client_id.as_ref().is_none_or(|client| grant.client_id == *client)
            && self.after.is_none_or(|after| grant.handle.0 > after.0)
    }
}

/// How a grant began.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GrantOrigin {
    /// With an authorization code: in a browser.
    Browser,
    /// With a device code (RFC 8628).
    Device {
        /// Where the device asked from.
        address: IpAddr,
    },
    /// Before this was noted.
    Unknown,
}

impl Grant {
    /// Whether it has not ended and its time is not over: `now` is before its limits.
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.ended.is_none() && now < self.expires_at && now < self.idle_expires_at
    }
}

/// Which refresh tokens of a grant are known: the current one and the one before.
#[derive(Clone, Eq, PartialEq, Zeroize, ZeroizeOnDrop)]
pub struct RefreshState {
    /// Key of the tags by which any token ever issued for the grant is recognised.
    pub tag_key: [u8; 32],
    /// How many successors there were.
    pub current_n: u64,
    /// SHA-256 of the secret of the current token.
    pub current_hash: [u8; 32],
    /// SHA-256 of the secret of the token before, once there is one; its number is `current_n - 1`.
    pub previous: Option<Previous>,
}

/// The refresh token before the current one.
#[derive(Clone, Eq, PartialEq, Zeroize, ZeroizeOnDrop)]
pub struct Previous {
    /// Its number.
    pub n: u64,
    /// SHA-256 of its secret.
    pub hash: [u8; 32],
    /// From this and its secret, its successor is derived again.
    pub seed: [u8; 32],
    /// When the current token was made from it, in milliseconds since the epoch.
    pub rotated_at_millis: i64,
}

impl fmt::Debug for RefreshState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RefreshState(n = {})", self.current_n)
    }
}

impl fmt::Debug for Previous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Previous(n = {})", self.n)
    }
}

/// A move of a grant to its next refresh token, or to a binding. It happens only while the grant's `current_n` and `current_hash` are
/// those that were read and the grant has not ended.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The grant.
    pub handle: GrantHandle,
    /// `current_n` as the caller read it.
    pub read_n: u64,
    /// `current_hash` as the caller read it.
    pub read_hash: [u8; 32],
    /// What the refresh tokens are to be: `tag_key` never changes.
    pub next: RefreshState,
    /// What its tokens are bound to from now on.
    pub sender_constraint: SenderConstraint,
    /// When the grant is used by it.
    pub used_at: Timestamp,
    /// The new idle limit.
    pub idle_expires_at: Timestamp,
}

/// A device that waits for a person (RFC 8628 §3.2): what it asked for, and what became of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeviceRecord {
    /// The SHA-256 of the device code.
    pub digest: Digest<DeviceCodeKind>,
    /// The keyed hash of the user code.
    pub user_code: Digest<UserCodeKind>,
    /// Whom it was issued to.
    pub client_id: ClientId,
    /// What is asked for.
    pub scopes: Scopes,
    /// The resource that access tokens are for (RFC 8707).
    pub resource: Audience,
    /// The key to which the request bound the tokens, if it did.
    pub dpop_jkt: Option<Thumbprint>,
    /// Where the request came from.
    pub address: IpAddr,
    /// When.
    pub created_at: Timestamp,
    /// When the codes end.
    pub expires_at: Timestamp,
    /// When the device may poll.
    pub pace: Pace,
    /// The browser in which a signed-in person entered the user code: no other can decide.
    pub claimed_by: Option<Digest<BrowserKind>>,
    /// What the person decided.
    pub decision: Option<Decision>,
}

/// What a person decided about a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// To let it in.
    Approve {
        /// Who decided.
        subject: Subject,
        /// When that person signed in.
        auth_time: Timestamp,
        /// How well that person was recognised, if it is known.
        acr: Option<Acr>,
    },
    /// Not to.
    Decline,
}

/// How often a device may poll (RFC 8628 §3.2 `interval`, §3.5 `slow_down`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace {
    /// The time between two polls.
    pub interval: Duration,
    /// From when on the next poll is in time.
    pub next_poll: Timestamp,
}

impl Pace {
    /// What a poll that is too early adds to the interval (RFC 8628 §3.5).
    const SLOW_DOWN: Duration = Duration::from_secs(5);

    /// How much earlier a poll may arrive: networks shorten the time between two requests as often as they lengthen it.
    const SLACK: Duration = Duration::from_millis(500);

    /// Notes a poll that finds no decision yet, and tells whether it was in time. One that comes too early lengthens the
    /// interval "for this and all subsequent requests" (RFC 8628 §3.5).
    #[must_use]
    pub fn poll(&mut self, now: Timestamp) -> bool {
        let in_time = now + Self::SLACK >= self.next_poll;
        if !in_time {
            self.interval = self.interval.saturating_add(Self::SLOW_DOWN);
        }
        self.next_poll = now + self.interval;
        in_time
    }
}

impl DeviceRecord {
    /// Whether nobody has decided, and there is still time.
    #[must_use]
    pub fn is_pending(&self, now: Timestamp) -> bool {
        self.decision.is_none() && now < self.expires_at
    }

    /// Whether a browser may claim it: nobody else has.
    pub(crate) fn is_open_to(&self, browser: Digest<BrowserKind>, now: Timestamp) -> bool {
        self.is_pending(now) && self.claimed_by.is_none_or(|claimed_by| claimed_by == browser)
    }
}

/// A browser that signed in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionRecord {
    /// SHA-256 of the secret in its cookie.
    pub digest: Digest<SessionKind>,
    /// Its name, which stays when the same person signs in again.
    pub id: SessionId,
    /// Who signed in.
    pub subject: Subject,
    /// When.
    pub auth_time: Timestamp,
    /// How well they were recognised, if it is known.
    pub acr: Option<Acr>,
    /// When the session is over unless it is used; slides.
    pub idle_expires_at: Timestamp,
    /// When the session is over, used or not.
    pub expires_at: Timestamp,
}

impl SessionRecord {
    /// Whether its time is not over: `now` is before both of its ends.
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires_at && now < self.idle_expires_at
    }
}

/// A client at which a session has signed its person in: what the person approved last, and whom to tell of the end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionClient {
    /// The session.
    pub session: SessionId,
    /// The client.
    pub client_id: ClientId,
    /// The person.
    pub subject: Subject,
    /// What was approved.
    pub scopes: Scopes,
    /// The resources that access tokens may be for, as [`CodeRecord::resource`] has them.
    pub resource: Resources,
    /// What was approved in detail.
    pub details: AuthorizationDetails,
    /// What the client is told about the person beside what the scopes say.
    pub claims: RequestedClaims,
    /// When it is over: no session lasts longer.
    pub expires_at: Timestamp,
}

/// A person whom somebody else vouches for: what was said of them when they were last seen.
#[derive(Clone, Eq, PartialEq)]
pub struct PersonRecord {
    /// `sub` of their tokens.
    pub subject: Subject,
    /// What they are called on pages.
    pub name: String,
    /// Their e-mail address.
    pub email: Option<String>,
    /// What else is known about them. At most [`PersonRecord::CLAIMS_LIMIT`] bytes of JSON.
    pub claims: Members,
    /// Whether they may not sign in, nor get tokens.
    pub disabled: bool,
    /// When they last signed in.
    pub last_seen: Timestamp,
    /// Until when something that they signed in for may live: sessions, and grants that began in them.
    pub needed_until: Timestamp,
}

impl PersonRecord {
    /// The longest `claims`, in bytes of JSON.
    pub const CLAIMS_LIMIT: usize = 8 * 1_024;

    /// Somebody who was disabled before anybody saw them.
    pub(crate) fn unseen(subject: &Subject, now: Timestamp) -> Self {
        Self {
            subject: subject.clone(),
            name: subject.to_string(),
            email: None,
            claims: Members::new(),
            disabled: true,
            last_seen: now,
            needed_until: now,
        }
    }

    /// Takes over what is newer in another record of the same person, but never whether they are disabled.
    pub(crate) fn update(&mut self, newer: &Self) {
        self.name.clone_from(&newer.name);
        self.email.clone_from(&newer.email);
        self.claims.clone_from(&newer.claims);
        self.last_seen = newer.last_seen;
        self.needed_until = self.needed_until.max(newer.needed_until);
    }
}

/// The subject only: names are nobody's business in a log.
impl fmt::Debug for PersonRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PersonRecord({}, disabled = {})", self.subject, self.disabled)
    }
}

/// A signing key: sealed, with its schedule. Its state follows from the schedule and the time, so that every replica
/// computes the same one from the same row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyRecord {
    /// Counts up; unique.
    pub generation: u64,
    /// The thumbprint of the public half.
    pub kid: String,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// The PKCS #8 private key, sealed under the key-encryption key.
    pub sealed: Vec<u8>,
    /// The secret that nonces, forms and cookies are made under while it signs, sealed likewise; `None` in a record that a
    /// version has made which had no such secrets.
    pub secret: Option<Vec<u8>>,
    /// From when on it is in the key set.
    pub published_at: Timestamp,
    /// From when on it signs.
    pub sign_from: Timestamp,
    /// Until when it signs.
    pub retire_at: Timestamp,
    /// Until when it is in the key set.
    pub drop_at: Timestamp,
}

impl KeyRecord {
    /// Takes over the schedule of another record; nothing else of it.
    pub(crate) fn reschedule(&mut self, schedule: &Self) {
        self.published_at = schedule.published_at;
        self.sign_from = schedule.sign_from;
        self.retire_at = schedule.retire_at;
        self.drop_at = schedule.drop_at;
    }

    /// Takes over the seals of another record; nothing else of it.
    pub(crate) fn reseal(&mut self, sealed: &Self) {
        self.sealed.clone_from(&sealed.sealed);
        self.secret.clone_from(&sealed.secret);
    }
}

/// The last sign of life of an installation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LastAlive {
    /// When.
    pub at: Timestamp,
    /// Whether it was a stop in good order, after which nothing was accepted.
    pub stopped: bool,
}

/// How often a life notes that it runs. One that was killed may have run for so long after its last note.
pub const ALIVE_EVERY: Duration = Duration::from_secs(5);

impl LastAlive {
    /// The latest moment at which a proof that this life accepted can have been made. `started` is when the next life
    /// began: one that did not stop in good order may have run until then, whatever became of its notes. `skew` is how far
    /// ahead of our clock a proof may be made.
    #[must_use]
    pub fn proofs_until(self, started: Timestamp, skew: Duration) -> Timestamp {
        if self.stopped { self.at + skew } else { started.max(self.at + ALIVE_EVERY) + skew }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_polls_too_soon_slows_down_for_good() {
        let start = Timestamp::from_seconds(1_760_000_000);
        let mut pace = Pace { interval: Duration::from_secs(5), next_poll: start };
        for (millis, in_time, interval) in [
            (0, true, 5),
            (4_500, true, 5),
            (8_999, false, 10),
            (17_000, false, 15),
            (31_500, true, 15),
            (46_499, true, 15),
            (60_998, false, 20),
        ] {
            let at = start + Duration::from_millis(millis);
            assert_eq!((pace.poll(at), pace.interval.as_secs()), (in_time, interval), "{millis} ms");
        }
    }

    #[test]
    fn a_life_that_was_killed_may_have_run_until_the_next_began() {
        let (at, skew) = (Timestamp::from_seconds(1_760_000_000), Duration::from_secs(10));
        let after = |seconds| at + Duration::from_secs(seconds);
        let killed = LastAlive { at, stopped: false };
        assert_eq!(killed.proofs_until(after(60), skew), after(70), "even if its notes failed");
        assert_eq!(killed.proofs_until(after(1), skew), after(15));
        assert_eq!(killed.proofs_until(at.before(skew), skew), after(15), "even if the clock was set back");
        assert_eq!(LastAlive { at, stopped: true }.proofs_until(after(60), skew), after(10));
    }
}
