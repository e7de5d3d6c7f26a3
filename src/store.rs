//! What the rules need remembered, in the protocol's verbs.
//!
//! Invariant: a call that was acknowledged is on disk, and every method is one atomic step with respect to every other
//! call for the same key. What opens a door is stored as a digest or sealed.

use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::ident::{ClientId, Subject};
use crate::replay::{ReplayKey, Seen};
use crate::secret::{
    AccessTokenKind, BrowserKind, CodeKind, DeviceCodeKind, Digest, RequestUriKind, SessionKind, UserCodeKind,
};
pub use crate::unavailable::Unavailable;

mod endings;
mod handles;
mod memory;
mod postgres;
mod record;
mod shares;
mod sqlite;
mod status;

pub use endings::{Ended, Endings, NEWS_EVERY, NEWS_WAITERS, NEWS_WAITERS_PER_ADDRESS, Waiter};
pub use handles::RecordedTokens;
pub use memory::MemoryStore;
pub use postgres::{PostgresError, PostgresSettings, PostgresStore, PostgresUrl, PostgresUrlFault};
pub use record::{
    ALIVE_EVERY, AccessTokenRecord, ClientRecord, CodeRecord, Decision, DeviceRecord, EndedBy, Grant, GrantHandle,
    GrantOrigin, GrantQuery, KeyRecord, LastAlive, Pace, PersonRecord, Previous, PushedRequest, RefreshState,
    Rescheduled, Rotation, SenderConstraint, SessionClient, SessionId, SessionRecord, TokenName, TransactionId,
};
pub use sqlite::{BackupError, OpenError, SqliteStore};
pub use status::{STATUS_BLOCK, STATUS_BLOCKS, StatusBlock};

/// How many grants one step ends at most where all of somebody end: it takes milliseconds.
const ENDED_AT_ONCE: u32 = 500;

/// What one step has ended of many grants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SomeEnded {
    /// How many this step has ended itself.
    pub ended: u64,
    /// The last grant that it has looked at, if there may be more behind it.
    pub behind: Option<GrantHandle>,
}

impl SomeEnded {
    /// What a step has ended that has looked at these grants, `limit` at most.
    pub(super) fn of(page: &[Grant], limit: u32, ended: u64) -> Self {
        let is_full = u32::try_from(page.len()).is_ok_and(|looked_at| looked_at >= limit);
        Self { ended, behind: page.last().filter(|_| is_full).map(|grant| grant.handle) }
    }
}

/// Ends the first of the live grants that a query asks for, `at_most` so many of them, step by step: no statement meets its time
/// limit, and a writer is nobody's for long. If it fails on the way, those stay ended that have.
pub(crate) async fn end_step_by_step<S: Store + ?Sized>(
    store: &S,
    mut query: GrantQuery,
    (why, now): (EndedBy, Timestamp),
    at_most: u64,
) -> Result<SomeEnded, Unavailable> {
    let (mut ended, mut left) = (0, at_most);
    while left > 0 {
        let limit = u32::try_from(left).unwrap_or(u32::MAX).min(ENDED_AT_ONCE);
        let step = store.end_some_grants(&query, why, now, limit).await?;
        ended += step.ended;
        query.after = step.behind;
        left = if step.behind.is_some() { left - u64::from(limit) } else { 0 };
    }
    Ok(SomeEnded { ended, behind: query.after })
}

/// How much a store holds at most, and for how long after its end. A full store answers [`Unavailable::Full`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Authorization codes, those that were spent or expired and are still kept included. 200,000 by default: three
    /// hundred sign-ins a second. As many transactions that ended without a code are remembered besides.
    pub codes: u64,
    /// Grants, ended ones that are still kept included. 1,000,000 by default: about half a gigabyte.
    pub grants: u64,
    /// Live grants of one person at one client. At one more, the oldest ends: nobody can fill the store alone, and nobody
    /// is kept out by what he began long ago. 100 by default.
    pub grants_per_person: u64,
    /// Devices that wait for a person, those whose time was over and that are still kept included. 3,000 by default. The
    /// chance that somebody guesses a user code of anybody grows with this number, see `activation/guesses.rs`.
    pub devices: u64,
    /// Pushed authorization requests, those that were answered or expired and are still kept included. 200,000 by default:
    /// nearly three hundred a second.
    pub pushed_requests: u64,
    /// Pushed authorization requests of one client that wait for their browsers. 20,000 by default: no client can fill the
    /// store alone.
    pub pushed_requests_per_client: u64,
    /// Clients that have registered themselves. 10,000 by default.
    pub clients: u64,
    /// Sessions of browsers. 1,000,000 by default.
    pub sessions: u64,
    /// Clients at which sessions have signed their people in, all sessions together. 2,000,000 by default.
    pub session_clients: u64,
    /// People whom somebody else vouches for, disabled ones included. 1,000,000 by default.
    pub people: u64,
    /// `jti` of client assertions. 1,000,000 by default: three thousand assertions of five minutes a second.
    pub assertions: u64,
    /// Revoked access tokens that no grant ends with, until they expire. 1,000,000 by default.
    pub revocations: u64,
    /// Access tokens that are handles, until they expire. 1,000,000 by default, about 600 bytes each: three thousand a second
    /// of five minutes. Those that are being issued when the last of them is recorded come on top.
    pub access_tokens: u64,
    /// How long codes, grants, pushed requests and devices are kept after their end. Ten minutes by default. No authorization transaction and no
    /// access token may live longer: a transaction whose code was forgotten could give another one, and a code that was
    /// forgotten could no longer end the grant whose tokens are still good when it is replayed (RFC 6749 §4.1.2).
    pub kept: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            codes: 200_000,
            grants: 1_000_000,
            grants_per_person: 100,
            devices: 3_000,
            pushed_requests: 200_000,
            pushed_requests_per_client: 20_000,
            clients: 10_000,
            sessions: 1_000_000,
            session_clients: 2_000_000,
            people: 1_000_000,
            assertions: 1_000_000,
            revocations: 1_000_000,
            access_tokens: 1_000_000,
            kept: Duration::from_mins(10),
        }
    }
}

impl Limits {
    /// The last moment at which a code is kept.
    pub(crate) fn code_due(&self, code: &CodeRecord) -> Timestamp {
        code.expires_at + self.kept
    }

    /// The last moment at which a pushed request is kept: while a transaction that it began may be answered.
    pub(crate) fn pushed_request_due(&self, request: &PushedRequest) -> Timestamp {
        request.expires_at + self.kept
    }

    /// How many live grants a person may have at a client beside a new one.
    pub(crate) fn others_per_person(&self) -> u64 {
        self.grants_per_person.saturating_sub(1)
    }

    /// The last moment at which a device is kept: for a while it is told that its code has expired.
    pub(crate) fn device_due(&self, device: &DeviceRecord) -> Timestamp {
        device.expires_at + self.kept
    }

    /// The last moment at which a grant is kept.
    pub(crate) fn grant_due(&self, grant: &Grant) -> Timestamp {
        let over = grant.idle_expires_at.min(grant.expires_at);
        grant.ended.map_or(over, |(ended_at, _)| ended_at.min(over)) + self.kept
    }
}

/// What became of a code that was to be recorded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Recorded {
    /// It is on disk.
    First,
    /// Its transaction has given a code before, or the pushed request that began it was answered otherwise.
    TransactionSpent,
}

/// What became of a pushed authorization request that was to be recorded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Pushed {
    /// It is on disk.
    First,
    /// As many requests of its client wait as may.
    TooMany,
}

/// What became of a device that was to be recorded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Begun {
    /// It is on disk.
    First,
    /// Another device that is still kept has this user code.
    UserCodeTaken,
}

/// What a device that polled finds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Polled {
    /// No decision yet, and the poll was in time.
    Pending,
    /// No decision yet, and the poll came too early: from now on the interval is longer.
    TooSoon,
    /// A decision, or that there is no such device for this client, or not any more: nothing was changed.
    NotPending,
}

impl Polled {
    /// What a pending device is told whose poll was in time, or was not.
    fn of(in_time: bool) -> Self {
        if in_time { Self::Pending } else { Self::TooSoon }
    }
}

/// What became of a code that was to be redeemed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Redeemed {
    /// This call spent it; the grant is recorded.
    First,
    /// It was spent before, for this grant.
    Replayed(GrantHandle),
    /// There is no such code, or its time is over: `now` has reached its `expires_at`.
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

/// Where state lives. `memory`, `sqlite` and `postgres` differ in how they hold a lock, not in what they decide; one
/// conformance suite runs over all.
///
/// Every method fails with [`Unavailable`] and nothing else: "not found" and "replayed" are answers. Expiry is judged by
/// the `now` of the request. New records are turned away rather than live ones dropped, but for the oldest grants of a
/// person who has very many.
#[async_trait]
pub trait Store: Send + Sync {
    /// Records a pushed authorization request, unless as many of its client wait as may
    /// ([`Limits::pushed_requests_per_client`]).
    async fn push_request(&self, request: &PushedRequest, now: Timestamp) -> Result<Pushed, Unavailable>;

    /// Reads a pushed authorization request, answered or not.
    async fn pushed_request(&self, request_uri: Digest<RequestUriKind>) -> Result<Option<PushedRequest>, Unavailable>;

    /// Marks the pushed request of a transaction as answered without a code. `false` if it was answered before, or is not
    /// kept. Of any number of concurrent calls, and of calls of [`Store::record_code`] for the same transaction, exactly one
    /// answers it.
    async fn answer_pushed_request(&self, transaction: TransactionId) -> Result<bool, Unavailable>;

    /// Ends a transaction without a code, and answers the pushed request that began it; [`Recorded::TransactionSpent`] if it
    /// gave a code or was ended before. Until `expires_at`, when its time is over anyway, it gives none.
    async fn end_transaction(&self, transaction: TransactionId, expires_at: Timestamp)
    -> Result<Recorded, Unavailable>;

    /// Records a code that an approved transaction turned into. A transaction gives one code, however often its consent
    /// form is posted. If a pushed request began it, that is answered in the same step; if it was before, there is no code.
    async fn record_code(&self, code: &CodeRecord) -> Result<Recorded, Unavailable>;

    /// Reads a code, spent or not, without spending it.
    async fn code(&self, code: Digest<CodeKind>) -> Result<Option<CodeRecord>, Unavailable>;

    /// Spends the code and records the grant it turns into, or does neither. Of any number of concurrent calls for one
    /// code, exactly one is told [`Redeemed::First`]. The oldest grants of that person at that client that would be more
    /// than [`Limits::grants_per_person`] end in the same step.
    async fn redeem_code(&self, code: Digest<CodeKind>, grant: &Grant, now: Timestamp)
    -> Result<Redeemed, Unavailable>;

    /// Removes a code that was not spent and whose time is not over: a code that only tells our own pages who signed in
    /// and turns into no grant. Of any number of concurrent calls for one code, exactly one is told `true`.
    async fn take_code(&self, code: Digest<CodeKind>, now: Timestamp) -> Result<bool, Unavailable>;

    /// Records a device that begins to wait, unless another one that is kept has its user code.
    async fn record_device(&self, device: &DeviceRecord) -> Result<Begun, Unavailable>;

    /// Reads a device, decided on or not, without counting a poll.
    async fn device(&self, code: Digest<DeviceCodeKind>) -> Result<Option<DeviceRecord>, Unavailable>;

    /// Counts a poll of a device that is pending and belongs to this client ([`Pace::poll`]).
    async fn poll_device(
        &self,
        code: Digest<DeviceCodeKind>,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<Polled, Unavailable>;

    /// Claims the pending device of a user code for a browser, and gives it; `None` if there is none, or another browser
    /// was first. The same browser may claim it again.
    async fn claim_device(
        &self,
        user_code: Digest<UserCodeKind>,
        browser: Digest<BrowserKind>,
        now: Timestamp,
    ) -> Result<Option<DeviceRecord>, Unavailable>;

    /// Records what a person decided in the browser that has claimed the device. `false` if it is not pending any more, or
    /// not claimed by this browser: the first decision counts.
    async fn decide_device(
        &self,
        code: Digest<DeviceCodeKind>,
        browser: Digest<BrowserKind>,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<bool, Unavailable>;

    /// The devices that nobody has decided on and that still have time, by their digests: at most `limit` of those behind
    /// `after`.
    async fn pending_devices(
        &self,
        after: Option<Digest<DeviceCodeKind>>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<DeviceRecord>, Unavailable>;

    /// Turns a pending device away, whoever has claimed it. `false` if it is not pending any more.
    async fn decline_device(&self, code: Digest<DeviceCodeKind>, now: Timestamp) -> Result<bool, Unavailable>;

    /// Spends the code of an approved device and records the grant it turns into, or does neither: `false` if there is no
    /// such code, if it was spent, or if its time is over. Of any number of concurrent calls for one code, exactly one is
    /// told `true`. The oldest grants of that person at that client end as in [`Store::redeem_code`].
    async fn redeem_device(
        &self,
        code: Digest<DeviceCodeKind>,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<bool, Unavailable>;

    /// Reads a grant, ended or not.
    async fn grant(&self, handle: GrantHandle) -> Result<Option<Grant>, Unavailable>;

    /// Moves a grant to its next refresh token, if it still is as the caller read it and has not ended.
    async fn rotate(&self, rotation: &Rotation) -> Result<Rotated, Unavailable>;

    /// Slides the idle limit of a grant whose refresh token stays the same and is used `now`; does nothing if it has ended.
    async fn extend_grant(
        &self,
        handle: GrantHandle,
        idle_expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), Unavailable>;

    /// Ends a grant; does nothing if it has ended. Serialises with [`Store::rotate`].
    async fn end_grant(&self, handle: GrantHandle, why: EndedBy, now: Timestamp) -> Result<(), Unavailable>;

    /// The live grants of a person, the newest first, and at most `limit`.
    async fn grants_of(&self, subject: &Subject, now: Timestamp, limit: u32) -> Result<Vec<Grant>, Unavailable>;

    /// The live grants that a query asks for, by their handles, and at most `limit`.
    async fn list_grants(&self, query: &GrantQuery, now: Timestamp, limit: u32) -> Result<Vec<Grant>, Unavailable>;

    /// Ends all live grants of a client step by step, and gives how many. If it fails on the way, those stay ended that have.
    async fn end_grants_of_client(&self, client: &ClientId, why: EndedBy, now: Timestamp) -> Result<u64, Unavailable> {
        let query = GrantQuery { client_id: Some(client.clone()), ..GrantQuery::default() };
        end_step_by_step(self, query, (why, now), u64::MAX).await.map(|all| all.ended)
    }

    /// Ends all live grants of a person in the same way, and gives how many.
    async fn end_grants_of(&self, subject: &Subject, why: EndedBy, now: Timestamp) -> Result<u64, Unavailable> {
        let query = GrantQuery { subject: Some(subject.clone()), ..GrantQuery::default() };
        end_step_by_step(self, query, (why, now), u64::MAX).await.map(|all| all.ended)
    }

    /// Ends at most `limit` of the live grants that a query asks for, and no more than one step does: those with the lowest
    /// handles. For who ends very many of them and has little time for each call.
    async fn end_some_grants(
        &self,
        query: &GrantQuery,
        why: EndedBy,
        now: Timestamp,
        limit: u32,
    ) -> Result<SomeEnded, Unavailable>;

    /// Records a client that registers itself, under a name that nobody has.
    async fn register_client(&self, client: &ClientRecord) -> Result<(), Unavailable>;

    /// Reads a client that has registered itself.
    async fn registered_client(&self, id: &ClientId) -> Result<Option<ClientRecord>, Unavailable>;

    /// The clients that have registered themselves, by their names: at most `limit` of those behind `after`.
    async fn registered_clients(&self, after: Option<&ClientId>, limit: u32) -> Result<Vec<ClientRecord>, Unavailable>;

    /// Replaces what a client has registered, its secret, and when it is forgotten. `false` if there is no such client.
    async fn update_client(&self, client: &ClientRecord) -> Result<bool, Unavailable>;

    /// Ends all live grants of a client that has registered itself in the same way, removes it, ends those that have begun
    /// meanwhile, and gives how many it has ended itself. `None` if there is no such client. Of any number of concurrent calls
    /// exactly one removes it.
    async fn delete_client(&self, id: &ClientId, now: Timestamp) -> Result<Option<u64>, Unavailable>;

    /// Spends the `jti` of a client assertion until `expires` (RFC 7523 §3-7): durable, so a restart does not re-open it.
    /// After that moment the same key may be spent again; an assertion that old is refused by its `exp`.
    async fn spend_assertion(&self, key: ReplayKey, expires: Timestamp, now: Timestamp) -> Result<Seen, Unavailable>;

    /// Revokes an access token that belongs to no grant of its client (RFC 7009 §2.1); what it was revoked for is over when
    /// it `expires`.
    async fn revoke_token(&self, token: TokenName, expires: Timestamp, now: Timestamp) -> Result<(), Unavailable>;

    /// Whether an access token was revoked by its name.
    async fn is_token_revoked(&self, token: TokenName) -> Result<bool, Unavailable>;

    /// What has ended since a moment, that one included, and is still kept: grants, and access tokens that were revoked by
    /// name. A store with a clock of its own tells, too, what was ended within as long before `now` by that clock: whoever
    /// ended it may have been slow, or its clock wrong.
    async fn ended_since(&self, since: Timestamp, now: Timestamp) -> Result<Ended, Unavailable>;

    /// Leases a block of places in status lists to one caller, until `over`: by then whatever was issued with its places must
    /// be over, but for grants, which keep theirs for as long as they are kept. The block whose lease was over first is taken
    /// once more, and a new one is begun if there is none, or if little is left in those.
    async fn lease_status_block(&self, now: Timestamp, over: Timestamp) -> Result<StatusBlock, Unavailable>;

    /// Fails with [`Unavailable::Full`] if there is no room for another access token that is a handle. Asked before anything
    /// is spent for one: a code whose token could not be recorded would be lost.
    async fn check_room_for_access_token(&self) -> Result<(), Unavailable>;

    /// Records an access token that is a handle, for which there was room a moment ago.
    async fn record_access_token(&self, token: &AccessTokenRecord) -> Result<(), Unavailable>;

    /// Reads an access token by its handle, revoked or not, until it is swept.
    async fn access_token(&self, handle: Digest<AccessTokenKind>) -> Result<Option<AccessTokenRecord>, Unavailable>;

    /// Records the session of a browser that signed in.
    async fn open_session(&self, session: &SessionRecord) -> Result<(), Unavailable>;

    /// Reads a session whose time is not over: `now` is before its `idle_expires_at` and its `expires_at`.
    async fn session(&self, token: Digest<SessionKind>, now: Timestamp) -> Result<Option<SessionRecord>, Unavailable>;

    /// Slides the idle limit of a session; does nothing if there is none.
    async fn extend_session(&self, token: Digest<SessionKind>, idle_expires_at: Timestamp) -> Result<(), Unavailable>;

    /// The sessions of a person whose time is not over, those first whose person signed in last, and at most `limit`.
    async fn sessions_of(
        &self,
        subject: &Subject,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<SessionRecord>, Unavailable>;

    /// Forgets a session.
    async fn end_session(&self, token: Digest<SessionKind>) -> Result<(), Unavailable>;

    /// Forgets all sessions of a person.
    async fn end_sessions_of(&self, subject: &Subject) -> Result<(), Unavailable>;

    /// Notes that a session has signed its person in at a client, in the place of what was noted for the two before.
    async fn join_session(&self, client: &SessionClient) -> Result<(), Unavailable>;

    /// Reads what was noted for a session and a client, if its time is not over.
    async fn session_client(
        &self,
        session: SessionId,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<Option<SessionClient>, Unavailable>;

    /// Takes out what was noted for a session, and gives at most `limit` of it, whose time is not over. Of any number of
    /// concurrent calls exactly one is given a client.
    async fn leave_session(
        &self,
        session: SessionId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<SessionClient>, Unavailable>;

    /// The same for all sessions of a person.
    async fn leave_sessions_of(
        &self,
        subject: &Subject,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<SessionClient>, Unavailable>;

    /// Records a person who signs in, or takes over what is newer about them ([`PersonRecord`]). `false` if they are
    /// disabled: nothing was changed.
    async fn remember_person(&self, person: &PersonRecord) -> Result<bool, Unavailable>;

    /// Reads a person, disabled or not.
    async fn person(&self, subject: &Subject) -> Result<Option<PersonRecord>, Unavailable>;

    /// Disables a person, known or not: they can neither sign in nor get tokens until they are enabled again.
    async fn disable_person(&self, subject: &Subject, now: Timestamp) -> Result<(), Unavailable>;

    /// Enables a person again; does nothing if they are not disabled.
    async fn enable_person(&self, subject: &Subject) -> Result<(), Unavailable>;

    /// The signing keys by generation, among them those whose time is over until they are swept.
    async fn signing_keys(&self) -> Result<Vec<KeyRecord>, Unavailable>;

    /// Adds a signing key and, in the same step, puts the new schedule of earlier keys in place. `false` if that
    /// generation exists, or an earlier key is not as it was read any more: somebody else was first, and the keys are to be
    /// read. So one that was withdrawn meanwhile stays so.
    async fn add_signing_key(&self, key: &KeyRecord, rescheduled: &[Rescheduled]) -> Result<bool, Unavailable>;

    /// Puts another schedule of a signing key in place. `false` if it is not the one that was read any more: somebody else
    /// was first, and the keys are to be read.
    async fn reschedule_signing_key(&self, read: &KeyRecord, next: &KeyRecord) -> Result<bool, Unavailable>;

    /// Puts a private key and its secret that are sealed otherwise in the place of those that were read; the schedule stays as
    /// it is now. `false` if there is no such key with these seals any more.
    async fn reseal_signing_key(&self, read: &KeyRecord, next: &KeyRecord) -> Result<bool, Unavailable>;

    /// Records a sealed root key unless there is one, and gives the one that is there now.
    async fn root_key(&self, sealed: &[u8]) -> Result<Vec<u8>, Unavailable>;

    /// Puts the root key, sealed otherwise, in the place of the one that was read. `false` if it is sealed as `read` no more.
    async fn reseal_root_key(&self, read: &[u8], sealed: &[u8]) -> Result<bool, Unavailable>;

    /// When an earlier life of this installation was last known to run; `None` for a fresh store.
    async fn last_alive(&self) -> Result<Option<LastAlive>, Unavailable>;

    /// Notes that this life runs, or stops in good order.
    async fn note_alive(&self, alive: LastAlive) -> Result<(), Unavailable>;

    /// Removes at most `limit` records that nothing living depends on, of each kind as many if there are that many; gives how
    /// many it removed. Codes, grants, pushed
    /// requests and devices stay for [`Limits::kept`] after their end, and the newest signing key stays for good, so that generations never repeat.
    /// Clients that may be forgotten stay while they have a grant. People stay while something that they signed in for may live, and those who are disabled for good: who is
    /// forgotten could sign in again.
    async fn sweep(&self, now: Timestamp, limit: u32) -> Result<u32, Unavailable>;
}
