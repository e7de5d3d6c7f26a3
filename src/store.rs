//! What the rules need remembered, in the protocol's verbs.
//!
//! Invariant: a call that was acknowledged is on disk, and every method is one atomic step with respect to every other
//! call for the same key. What opens a door is stored as a digest or sealed.

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::replay::{ReplayKey, Seen};
use crate::secret::{CodeKind, Digest, SessionKind};

mod memory;
mod record;

pub use record::{
    CodeRecord, EndedBy, Grant, GrantHandle, KeyRecord, LastAlive, Previous, RefreshState, Rotation, SenderConstraint,
    SessionRecord, TransactionId,
};

/// Something that we depend on could not answer: nobody's doing, worth a retry. 503 with `Retry-After`.
///
/// The cause is logged where it was met; nothing of it reaches a caller.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unavailable {
    /// The store or guard did not answer, or answered something that we do not understand.
    #[error("a dependency does not answer")]
    Down,
    /// A bound was reached; live records are never dropped to make room.
    #[error("a bound was reached")]
    Full,
}

/// What became of a code that was to be recorded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Recorded {
    /// It is on disk.
    First,
    /// Its transaction has given a code before.
    TransactionSpent,
}

/// What became of a code that was to be redeemed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Redeemed {
    /// This call spent it; the grant is recorded.
    First,
    /// It was spent before, for this grant.
    Replayed(GrantHandle),
    /// There is no such code, or its time is over.
    Unknown,
}

/// What became of a refresh token that was to be moved on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Rotated {
    /// This call moved it.
    Moved,
    /// The grant is no longer as it was read: somebody else moved it, or it ended.
    Overtaken,
}

/// Where state lives. `memory` and `sqlite` differ in how they hold a lock, not in what they decide; one conformance
/// suite runs over both.
///
/// Every method fails with [`Unavailable`] and nothing else: "not found" and "replayed" are answers. Expiry is judged by
/// the `now` of the request. New records are turned away rather than live ones dropped.
#[async_trait]
pub trait Store: Send + Sync {
    /// Records a code that an approved transaction turned into. A transaction gives one code, however often its consent
    /// form is posted.
    async fn record_code(&self, code: &CodeRecord) -> Result<Recorded, Unavailable>;

    /// Reads a code, spent or not, without spending it.
    async fn code(&self, code: Digest<CodeKind>) -> Result<Option<CodeRecord>, Unavailable>;

    /// Spends the code and records the grant it turns into, or does neither. Of any number of concurrent calls for one
    /// code, exactly one is told [`Redeemed::First`].
    async fn redeem_code(&self, code: Digest<CodeKind>, grant: &Grant, now: Timestamp)
    -> Result<Redeemed, Unavailable>;

    /// Reads a grant, ended or not.
    async fn grant(&self, handle: GrantHandle) -> Result<Option<Grant>, Unavailable>;

    /// Moves a grant to its next refresh token, if it still is as the caller read it and has not ended.
    async fn rotate(&self, rotation: &Rotation) -> Result<Rotated, Unavailable>;

    /// Slides the idle limit of a grant whose refresh token stays the same.
    async fn extend_grant(&self, handle: GrantHandle, idle_expires_at: Timestamp) -> Result<(), Unavailable>;

    /// Ends a grant; does nothing if it has ended. Serialises with [`Store::rotate`].
    async fn end_grant(&self, handle: GrantHandle, why: EndedBy, now: Timestamp) -> Result<(), Unavailable>;

    /// Spends the `jti` of a client assertion until `expires` (RFC 7523 §3-7): durable, so a restart does not re-open it.
    async fn spend_assertion(&self, key: ReplayKey, expires: Timestamp, now: Timestamp) -> Result<Seen, Unavailable>;

    /// Records the session of a browser that signed in.
    async fn open_session(&self, session: &SessionRecord) -> Result<(), Unavailable>;

    /// Reads a session whose time is not over.
    async fn session(&self, token: Digest<SessionKind>, now: Timestamp) -> Result<Option<SessionRecord>, Unavailable>;

    /// Forgets a session.
    async fn end_session(&self, token: Digest<SessionKind>) -> Result<(), Unavailable>;

    /// The signing keys, dropped ones excluded, by generation.
    async fn signing_keys(&self) -> Result<Vec<KeyRecord>, Unavailable>;

    /// Adds a signing key and, in the same step, puts the new schedule of earlier keys in place. `false` if that
    /// generation exists: another replica was first, and its keys are to be read.
    async fn add_signing_key(&self, key: &KeyRecord, rescheduled: &[KeyRecord]) -> Result<bool, Unavailable>;

    /// Records a sealed root key unless there is one, and gives the one that is there now.
    async fn root_key(&self, sealed: &[u8]) -> Result<Vec<u8>, Unavailable>;

    /// When an earlier life of this installation was last known to run; `None` for a fresh store.
    async fn last_alive(&self) -> Result<Option<LastAlive>, Unavailable>;

    /// Notes that this life runs, or stops in good order.
    async fn note_alive(&self, alive: LastAlive) -> Result<(), Unavailable>;

    /// Removes at most `limit` records that nothing living depends on; gives how many it removed.
    async fn sweep(&self, now: Timestamp, limit: u32) -> Result<u32, Unavailable>;
}
