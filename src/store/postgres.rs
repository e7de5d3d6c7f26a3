//! A store in a PostgreSQL database, which many processes may serve from.
//!
//! Every call that changes something is one statement and so one round trip; a refresh is two, one to read the grant and
//! one to move it on. The condition of an update is the lock: of any number of calls for the same row, one finds it
//! as it must be. Where one row does not tell, a trigger or function of the schema says why it waits.
//!
//! Invariant: what was acknowledged is on disk there, and on every synchronous standby. Whether a statement was committed
//! whose answer was lost nobody knows: it is not sent again, and the call fails.

use async_trait::async_trait;

use self::database::Database;
use super::{
    AccessTokenRecord, Begun, ClientRecord, CodeRecord, Decision, DeviceRecord, ENDED_AT_ONCE, Ended, EndedBy, Grant,
    GrantHandle, GrantQuery, KeyRecord, LastAlive, Limits, PersonRecord, Polled, Pushed, PushedRequest, Recorded,
    Redeemed, Rescheduled, Rotated, Rotation, SessionClient, SessionId, SessionRecord, SomeEnded, StatusBlock, Store,
    TokenName, TransactionId, Unavailable,
};
use crate::clock::Timestamp;
use crate::ident::{ClientId, Subject};
use crate::replay::{ReplayKey, Seen};
use crate::secret::{
    AccessTokenKind, BrowserKind, CodeKind, DeviceCodeKind, Digest, RequestUriKind, SessionKind, UserCodeKind,
};

mod access_tokens;
mod assertions;
mod clients;
mod codes;
mod column;
mod connect;
mod database;
mod devices;
mod ended_transactions;
mod grants;
mod hosts;
mod installation;
mod limit;
mod people;
mod pushed_requests;
mod revocations;
mod schema;
mod session_clients;
mod sessions;
mod settings;
mod signing_keys;
mod status_blocks;
mod sweep;
mod unfinished;

pub use connect::PostgresError;
pub use settings::{PostgresSettings, PostgresUrl, PostgresUrlFault};

/// Keeps everything in a PostgreSQL database.
pub struct PostgresStore {
    limits: Limits,
    database: Database,
    /// The name of this process among those that serve.
    life: String,
}

impl PostgresStore {
    /// Connects to a database, and brings its schema up to date.
    ///
    /// # Errors
    /// [`PostgresError`] says what is in the way.
    pub async fn open(settings: &PostgresSettings, limits: Limits) -> Result<Self, PostgresError> {
        let database = connect::open(settings).await?;
        let life = installation::begin_life(&database).await;
        let life =
            life.map_err(|fault| PostgresError::Unreachable { url: settings.url.clone(), cause: fault.to_string() })?;
        Ok(Self { limits, database, life })
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn push_request(&self, request: &PushedRequest, now: Timestamp) -> Result<Pushed, Unavailable> {
        let answer = pushed_requests::record(&self.database, request, &self.limits, now).await;
        answer.map_err(|fault| fault.report("push_request"))
    }

    async fn pushed_request(&self, request_uri: Digest<RequestUriKind>) -> Result<Option<PushedRequest>, Unavailable> {
        let answer = pushed_requests::read(&self.database, request_uri).await;
        answer.map_err(|fault| fault.report("pushed_request"))
    }

    async fn answer_pushed_request(&self, transaction: TransactionId) -> Result<bool, Unavailable> {
        let answer = pushed_requests::spend(&self.database, transaction).await;
        answer.map_err(|fault| fault.report("answer_pushed_request"))
    }

    async fn end_transaction(
        &self,
        transaction: TransactionId,
        expires_at: Timestamp,
    ) -> Result<Recorded, Unavailable> {
        let answer = ended_transactions::end(&self.database, transaction, expires_at, self.limits.codes).await;
        answer.map_err(|fault| fault.report("end_transaction"))
    }

    async fn record_code(&self, code: &CodeRecord) -> Result<Recorded, Unavailable> {
        let answer = codes::record(&self.database, code, self.limits.codes).await;
        answer.map_err(|fault| fault.report("record_code"))
    }

    async fn code(&self, code: Digest<CodeKind>) -> Result<Option<CodeRecord>, Unavailable> {
        let answer = codes::read(&self.database, code).await;
        answer.map_err(|fault| fault.report("code"))
    }

    async fn redeem_code(
        &self,
        code: Digest<CodeKind>,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<Redeemed, Unavailable> {
        let answer = codes::redeem(&self.database, code, grant, &self.limits, now).await;
        answer.map_err(|fault| fault.report("redeem_code"))
    }

    async fn take_code(&self, code: Digest<CodeKind>, now: Timestamp) -> Result<bool, Unavailable> {
        let answer = codes::take(&self.database, code, now).await;
        answer.map_err(|fault| fault.report("take_code"))
    }

    async fn record_device(&self, device: &DeviceRecord) -> Result<Begun, Unavailable> {
        let answer = devices::record(&self.database, device, self.limits.devices).await;
        answer.map_err(|fault| fault.report("record_device"))
    }

    async fn device(&self, code: Digest<DeviceCodeKind>) -> Result<Option<DeviceRecord>, Unavailable> {
        let answer = devices::read(&self.database, code).await;
        answer.map_err(|fault| fault.report("device"))
    }

    async fn poll_device(
        &self,
        code: Digest<DeviceCodeKind>,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<Polled, Unavailable> {
        let answer = devices::poll(&self.database, code, client, now).await;
        answer.map_err(|fault| fault.report("poll_device"))
    }

    async fn claim_device(
        &self,
        user_code: Digest<UserCodeKind>,
        browser: Digest<BrowserKind>,
        now: Timestamp,
    ) -> Result<Option<DeviceRecord>, Unavailable> {
        let answer = devices::claim(&self.database, user_code, browser, now).await;
        answer.map_err(|fault| fault.report("claim_device"))
    }

    async fn decide_device(
        &self,
        code: Digest<DeviceCodeKind>,
        browser: Digest<BrowserKind>,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<bool, Unavailable> {
        let answer = devices::decide(&self.database, code, browser, decision, now).await;
        answer.map_err(|fault| fault.report("decide_device"))
    }

    async fn pending_devices(
        &self,
        after: Option<Digest<DeviceCodeKind>>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<DeviceRecord>, Unavailable> {
        let answer = devices::pending(&self.database, after, now, limit).await;
        answer.map_err(|fault| fault.report("pending_devices"))
    }

    async fn decline_device(&self, code: Digest<DeviceCodeKind>, now: Timestamp) -> Result<bool, Unavailable> {
        let answer = devices::decline(&self.database, code, now).await;
        answer.map_err(|fault| fault.report("decline_device"))
    }

    async fn redeem_device(
        &self,
        code: Digest<DeviceCodeKind>,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<bool, Unavailable> {
        let answer = devices::redeem(&self.database, code, grant, &self.limits, now).await;
        answer.map_err(|fault| fault.report("redeem_device"))
    }

    async fn grant(&self, handle: GrantHandle) -> Result<Option<Grant>, Unavailable> {
        let answer = grants::read(&self.database, handle).await;
        answer.map_err(|fault| fault.report("grant"))
    }

    async fn rotate(&self, rotation: &Rotation) -> Result<Rotated, Unavailable> {
        let answer = grants::rotate(&self.database, rotation).await;
        answer.map_err(|fault| fault.report("rotate"))
    }

    async fn extend_grant(
        &self,
        handle: GrantHandle,
        idle_expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), Unavailable> {
        let answer = grants::extend(&self.database, handle, idle_expires_at, now).await;
        answer.map_err(|fault| fault.report("extend_grant"))
    }

    async fn end_grant(&self, handle: GrantHandle, why: EndedBy, now: Timestamp) -> Result<(), Unavailable> {
        let answer = grants::end(&self.database, handle, why, now).await;
        answer.map_err(|fault| fault.report("end_grant"))
    }

    async fn grants_of(&self, subject: &Subject, now: Timestamp, limit: u32) -> Result<Vec<Grant>, Unavailable> {
        let answer = grants::of(&self.database, subject, now, limit).await;
        answer.map_err(|fault| fault.report("grants_of"))
    }

    async fn list_grants(&self, query: &GrantQuery, now: Timestamp, limit: u32) -> Result<Vec<Grant>, Unavailable> {
        let answer = grants::list(&self.database, query, now, limit).await;
        answer.map_err(|fault| fault.report("list_grants"))
    }

    async fn end_some_grants(
        &self,
        query: &GrantQuery,
        why: EndedBy,
        now: Timestamp,
        limit: u32,
    ) -> Result<SomeEnded, Unavailable> {
        let answer = grants::end_page(&self.database, query, (why, now), limit.min(ENDED_AT_ONCE)).await;
        answer.map_err(|fault| fault.report("end_some_grants"))
    }

    async fn spend_assertion(&self, key: ReplayKey, expires: Timestamp, now: Timestamp) -> Result<Seen, Unavailable> {
        let answer = assertions::spend(&self.database, key, expires, self.limits.assertions, now).await;
        answer.map_err(|fault| fault.report("spend_assertion"))
    }

    async fn register_client(&self, client: &ClientRecord) -> Result<(), Unavailable> {
        let answer = clients::register(&self.database, client, self.limits.clients).await;
        answer.map_err(|fault| fault.report("register_client"))
    }

    async fn registered_client(&self, id: &ClientId) -> Result<Option<ClientRecord>, Unavailable> {
        let answer = clients::read(&self.database, id).await;
        answer.map_err(|fault| fault.report("registered_client"))
    }

    async fn registered_clients(&self, after: Option<&ClientId>, limit: u32) -> Result<Vec<ClientRecord>, Unavailable> {
        let answer = clients::list(&self.database, after, limit).await;
        answer.map_err(|fault| fault.report("registered_clients"))
    }

    async fn update_client(&self, client: &ClientRecord) -> Result<bool, Unavailable> {
        let answer = clients::update(&self.database, client).await;
        answer.map_err(|fault| fault.report("update_client"))
    }

    async fn delete_client(&self, id: &ClientId, now: Timestamp) -> Result<Option<u64>, Unavailable> {
        if self.registered_client(id).await?.is_none() {
            return Ok(None);
        }
        let before = self.end_grants_of_client(id, EndedBy::ClientDeleted, now).await?;
        let is_gone = clients::delete(&self.database, id).await.map_err(|fault| fault.report("delete_client"))?;
        let meanwhile = self.end_grants_of_client(id, EndedBy::ClientDeleted, now).await?;
        Ok(is_gone.then_some(before + meanwhile))
    }

    async fn revoke_token(&self, token: TokenName, expires: Timestamp, now: Timestamp) -> Result<(), Unavailable> {
        let answer = revocations::record(&self.database, token, (now, expires), self.limits.revocations).await;
        answer.map_err(|fault| fault.report("revoke_token"))
    }

    async fn is_token_revoked(&self, token: TokenName) -> Result<bool, Unavailable> {
        let answer = revocations::holds(&self.database, token).await;
        answer.map_err(|fault| fault.report("is_token_revoked"))
    }

    async fn ended_since(&self, since: Timestamp, now: Timestamp) -> Result<Ended, Unavailable> {
        // Before the endings are read: what commits in between is among them.
        let unfinished = unfinished::longest(&self.database).await.map_err(|fault| fault.report("ended_since"))?;
        let within = i64::try_from(now.since(since).as_millis()).unwrap_or(i64::MAX);
        let grants = grants::ended_since(&self.database, (since, within)).await;
        let grants = grants.map_err(|fault| fault.report("ended_since"))?;
        let tokens = revocations::recorded_since(&self.database, (since, within)).await;
        let tokens = tokens.map_err(|fault| fault.report("ended_since"))?;
        Ok(Ended { grants, tokens, unfinished })
    }

    async fn lease_status_block(&self, now: Timestamp, over: Timestamp) -> Result<StatusBlock, Unavailable> {
        let answer = status_blocks::lease(&self.database, now, over).await;
        answer.map_err(|fault| fault.report("lease_status_block"))
    }

    async fn check_room_for_access_token(&self) -> Result<(), Unavailable> {
        let answer = access_tokens::check_room(&self.database, self.limits.access_tokens).await;
        answer.map_err(|fault| fault.report("check_room_for_access_token"))
    }

    async fn record_access_token(&self, token: &AccessTokenRecord) -> Result<(), Unavailable> {
        let answer = access_tokens::record(&self.database, token).await;
        answer.map_err(|fault| fault.report("record_access_token"))
    }

    async fn access_token(&self, handle: Digest<AccessTokenKind>) -> Result<Option<AccessTokenRecord>, Unavailable> {
        let answer = access_tokens::read(&self.database, handle).await;
        answer.map_err(|fault| fault.report("access_token"))
    }

    async fn open_session(&self, session: &SessionRecord) -> Result<(), Unavailable> {
        let answer = sessions::open(&self.database, session, self.limits.sessions).await;
        answer.map_err(|fault| fault.report("open_session"))
    }

    async fn session(&self, token: Digest<SessionKind>, now: Timestamp) -> Result<Option<SessionRecord>, Unavailable> {
        let answer = sessions::read(&self.database, token, now).await;
        answer.map_err(|fault| fault.report("session"))
    }

    async fn extend_session(&self, token: Digest<SessionKind>, idle_expires_at: Timestamp) -> Result<(), Unavailable> {
        let answer = sessions::extend(&self.database, token, idle_expires_at).await;
        answer.map_err(|fault| fault.report("extend_session"))
    }

    async fn sessions_of(
        &self,
        subject: &Subject,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<SessionRecord>, Unavailable> {
        let answer = sessions::of(&self.database, subject, now, limit).await;
        answer.map_err(|fault| fault.report("sessions_of"))
    }

    async fn end_session(&self, token: Digest<SessionKind>) -> Result<(), Unavailable> {
        let answer = sessions::end(&self.database, token).await;
        answer.map_err(|fault| fault.report("end_session"))
    }

    async fn end_sessions_of(&self, subject: &Subject) -> Result<(), Unavailable> {
        let answer = sessions::end_of(&self.database, subject).await;
        answer.map_err(|fault| fault.report("end_sessions_of"))
    }

    async fn join_session(&self, client: &SessionClient) -> Result<(), Unavailable> {
        let answer = session_clients::join(&self.database, client, self.limits.session_clients).await;
        answer.map_err(|fault| fault.report("join_session"))
    }

    async fn session_client(
        &self,
        session: SessionId,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<Option<SessionClient>, Unavailable> {
        let answer = session_clients::read(&self.database, session, client, now).await;
        answer.map_err(|fault| fault.report("session_client"))
    }

    async fn leave_session(
        &self,
        session: SessionId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<SessionClient>, Unavailable> {
        let answer = session_clients::leave(&self.database, session, now, limit).await;
        answer.map_err(|fault| fault.report("leave_session"))
    }

    async fn leave_sessions_of(
        &self,
        subject: &Subject,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<SessionClient>, Unavailable> {
        let answer = session_clients::leave_all_of(&self.database, subject, now, limit).await;
        answer.map_err(|fault| fault.report("leave_sessions_of"))
    }

    async fn remember_person(&self, person: &PersonRecord) -> Result<bool, Unavailable> {
        let answer = people::remember(&self.database, person, self.limits.people).await;
        answer.map_err(|fault| fault.report("remember_person"))
    }

    async fn person(&self, subject: &Subject) -> Result<Option<PersonRecord>, Unavailable> {
        let answer = people::read(&self.database, subject).await;
        answer.map_err(|fault| fault.report("person"))
    }

    async fn disable_person(&self, subject: &Subject, now: Timestamp) -> Result<(), Unavailable> {
        let answer = people::disable(&self.database, subject, now, self.limits.people).await;
        answer.map_err(|fault| fault.report("disable_person"))
    }

    async fn enable_person(&self, subject: &Subject) -> Result<(), Unavailable> {
        let answer = people::enable(&self.database, subject).await;
        answer.map_err(|fault| fault.report("enable_person"))
    }

    async fn signing_keys(&self) -> Result<Vec<KeyRecord>, Unavailable> {
        let answer = signing_keys::read(&self.database).await;
        answer.map_err(|fault| fault.report("signing_keys"))
    }

    async fn add_signing_key(&self, key: &KeyRecord, rescheduled: &[Rescheduled]) -> Result<bool, Unavailable> {
        let answer = signing_keys::add(&self.database, key, rescheduled).await;
        answer.map_err(|fault| fault.report("add_signing_key"))
    }

    async fn reschedule_signing_key(&self, read: &KeyRecord, next: &KeyRecord) -> Result<bool, Unavailable> {
        let answer = signing_keys::reschedule(&self.database, read, next).await;
        answer.map_err(|fault| fault.report("reschedule_signing_key"))
    }

    async fn reseal_signing_key(&self, read: &KeyRecord, next: &KeyRecord) -> Result<bool, Unavailable> {
        let answer = signing_keys::reseal(&self.database, read, next).await;
        answer.map_err(|fault| fault.report("reseal_signing_key"))
    }

    async fn root_key(&self, sealed: &[u8]) -> Result<Vec<u8>, Unavailable> {
        let answer = installation::root_key(&self.database, sealed).await;
        answer.map_err(|fault| fault.report("root_key"))
    }

    async fn reseal_root_key(&self, read: &[u8], sealed: &[u8]) -> Result<bool, Unavailable> {
        let answer = installation::reseal_root_key(&self.database, read, sealed).await;
        answer.map_err(|fault| fault.report("reseal_root_key"))
    }

    async fn last_alive(&self) -> Result<Option<LastAlive>, Unavailable> {
        let answer = installation::last_alive(&self.database).await;
        answer.map_err(|fault| fault.report("last_alive"))
    }

    async fn note_alive(&self, alive: LastAlive) -> Result<(), Unavailable> {
        let answer = installation::note_alive(&self.database, &self.life, alive).await;
        answer.map_err(|fault| fault.report("note_alive"))
    }

    async fn sweep(&self, now: Timestamp, limit: u32) -> Result<u32, Unavailable> {
        let answer = sweep::sweep(&self.database, now, self.limits.kept, limit).await;
        answer.map_err(|fault| fault.report("sweep"))
    }
}
