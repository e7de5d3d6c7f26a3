//! A store in one SQLite file, for an installation of one machine.
//!
//! One thread writes, and commits many calls at once: a durable commit waits for the disk, so the calls that arrive in
//! the meantime share the next one. Two threads read. Nothing of it blocks the threads that serve requests.
//!
//! Invariant: a call is answered after the commit that holds it, with `synchronous=FULL`; a `kill -9` at any moment loses
//! nothing that was answered.

use std::fs::File;
use std::path::Path;

use async_trait::async_trait;

use self::readers::Readers;
use self::writer::Writer;
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
mod backup;
mod clients;
mod codes;
mod column;
mod devices;
mod ended_transactions;
mod file;
mod grants;
mod installation;
mod limit;
mod people;
mod pushed_requests;
mod readers;
mod revocations;
mod session_clients;
mod sessions;
mod signing_keys;
mod status_blocks;
mod sweep;
mod writer;

pub use backup::BackupError;
pub use file::OpenError;

/// Keeps everything in one SQLite file.
pub struct SqliteStore {
    limits: Limits,
    readers: Readers, // closed before the writer, so that the last connection is one that may tidy up
    writer: Writer,
    _lock: Option<File>, // let go of last
}

impl SqliteStore {
    /// Opens the file at `path` for the process that serves from it. There may be one: what was spent is remembered in part
    /// by the process alone (the replay guard), so a second one would let it be spent again. Otherwise like
    /// [`SqliteStore::open`].
    ///
    /// # Errors
    /// [`OpenError::InUse`] while another one serves; the others as for [`SqliteStore::open`].
    pub fn open_to_serve(path: &Path, limits: Limits) -> Result<Self, OpenError> {
        let lock = file::lock(path)?;
        Ok(Self { _lock: Some(lock), ..Self::open(path, limits)? })
    }

    /// Opens the file at `path`, beside a process that serves from it or not. The file, which is created with mode 0600 if its directory exists, and its schema is
    /// brought up to date. Blocks while it does so.
    ///
    /// # Errors
    /// [`OpenError`] says what is in the way.
    pub fn open(path: &Path, limits: Limits) -> Result<Self, OpenError> {
        let connection = file::open_for_writing(path)?;
        let readers = Readers::start(path)?;
        let writer = Writer::start(connection).map_err(OpenError::Thread)?;
        Ok(Self { limits, readers, writer, _lock: None })
    }

    /// Copies the file at `path`, beside a process that serves from it or not, to the new file `to`; gives the size of the
    /// copy in bytes. Blocks while it does so.
    ///
    /// # Errors
    /// [`BackupError`] says what is in the way; then there is no copy.
    pub fn back_up(path: &Path, to: &Path) -> Result<u64, BackupError> {
        backup::copy(path, to)
    }
}

/// Why a step failed. It becomes [`Unavailable`] at one place, where the cause is logged.
#[derive(Debug)]
enum Fault {
    /// A bound was reached.
    Full,
    /// SQLite said no, or a row holds what we do not understand.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Fault {
    /// Logs the cause, which callers never see.
    fn report(self, call: &'static str) -> Unavailable {
        match self {
            Self::Full => {
                tracing::error!(call, "the store is full: `{call}` was turned away");
                Unavailable::Full
            }
            Self::Sqlite(error) => {
                tracing::error!(call, %error, "the store did not do `{call}`");
                Unavailable::Down
            }
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn push_request(&self, request: &PushedRequest, now: Timestamp) -> Result<Pushed, Unavailable> {
        let (request, limits) = (request.clone(), self.limits);
        self.writer
            .run("push_request", move |connection| pushed_requests::record(connection, &request, &limits, now))
            .await
    }

    async fn pushed_request(&self, request_uri: Digest<RequestUriKind>) -> Result<Option<PushedRequest>, Unavailable> {
        self.readers.read("pushed_request", move |connection| pushed_requests::read(connection, request_uri)).await
    }

    async fn answer_pushed_request(&self, transaction: TransactionId) -> Result<bool, Unavailable> {
        self.writer
            .run("answer_pushed_request", move |connection| pushed_requests::spend(connection, transaction))
            .await
    }

    async fn end_transaction(
        &self,
        transaction: TransactionId,
        expires_at: Timestamp,
    ) -> Result<Recorded, Unavailable> {
        let limit = self.limits.codes;
        self.writer
            .run("end_transaction", move |connection| {
                ended_transactions::end(connection, transaction, expires_at, limit)
            })
            .await
    }

    async fn record_code(&self, code: &CodeRecord) -> Result<Recorded, Unavailable> {
        let (code, limit) = (code.clone(), self.limits.codes);
        self.writer.run("record_code", move |connection| codes::record(connection, &code, limit)).await
    }

    async fn code(&self, code: Digest<CodeKind>) -> Result<Option<CodeRecord>, Unavailable> {
        self.readers.read("code", move |connection| codes::read(connection, code)).await
    }

    async fn redeem_code(
        &self,
        code: Digest<CodeKind>,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<Redeemed, Unavailable> {
        let (grant, limits) = (grant.clone(), self.limits);
        self.writer.run("redeem_code", move |connection| codes::redeem(connection, code, &grant, &limits, now)).await
    }

    async fn take_code(&self, code: Digest<CodeKind>, now: Timestamp) -> Result<bool, Unavailable> {
        self.writer.run("take_code", move |connection| codes::take(connection, code, now)).await
    }

    async fn record_device(&self, device: &DeviceRecord) -> Result<Begun, Unavailable> {
        let (device, limit) = (device.clone(), self.limits.devices);
        self.writer.run("record_device", move |connection| devices::record(connection, &device, limit)).await
    }

    async fn device(&self, code: Digest<DeviceCodeKind>) -> Result<Option<DeviceRecord>, Unavailable> {
        self.readers.read("device", move |connection| devices::read(connection, code)).await
    }

    async fn poll_device(
        &self,
        code: Digest<DeviceCodeKind>,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<Polled, Unavailable> {
        let client = client.clone();
        self.writer.run("poll_device", move |connection| devices::poll(connection, code, &client, now)).await
    }

    async fn claim_device(
        &self,
        user_code: Digest<UserCodeKind>,
        browser: Digest<BrowserKind>,
        now: Timestamp,
    ) -> Result<Option<DeviceRecord>, Unavailable> {
        self.writer.run("claim_device", move |connection| devices::claim(connection, user_code, browser, now)).await
    }

    async fn decide_device(
        &self,
        code: Digest<DeviceCodeKind>,
        browser: Digest<BrowserKind>,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<bool, Unavailable> {
        let decision = decision.clone();
        self.writer
            .run("decide_device", move |connection| devices::decide(connection, code, browser, &decision, now))
            .await
    }

    async fn pending_devices(
        &self,
        after: Option<Digest<DeviceCodeKind>>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<DeviceRecord>, Unavailable> {
        self.readers.read("pending_devices", move |connection| devices::pending(connection, after, now, limit)).await
    }

    async fn decline_device(&self, code: Digest<DeviceCodeKind>, now: Timestamp) -> Result<bool, Unavailable> {
        self.writer.run("decline_device", move |connection| devices::decline(connection, code, now)).await
    }

    async fn redeem_device(
        &self,
        code: Digest<DeviceCodeKind>,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<bool, Unavailable> {
        let (grant, limits) = (grant.clone(), self.limits);
        self.writer
            .run("redeem_device", move |connection| devices::redeem(connection, code, &grant, &limits, now))
            .await
    }

    async fn grant(&self, handle: GrantHandle) -> Result<Option<Grant>, Unavailable> {
        self.readers.read("grant", move |connection| grants::read(connection, handle)).await
    }

    async fn rotate(&self, rotation: &Rotation) -> Result<Rotated, Unavailable> {
        let rotation = rotation.clone();
        self.writer.run("rotate", move |connection| grants::rotate(connection, &rotation)).await
    }

    async fn extend_grant(
        &self,
        handle: GrantHandle,
        idle_expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), Unavailable> {
        self.writer
            .run("extend_grant", move |connection| grants::extend(connection, handle, idle_expires_at, now))
            .await
    }

    async fn end_grant(&self, handle: GrantHandle, why: EndedBy, now: Timestamp) -> Result<(), Unavailable> {
        self.writer.run("end_grant", move |connection| grants::end(connection, handle, why, now)).await.map(drop)
    }

    async fn grants_of(&self, subject: &Subject, now: Timestamp, limit: u32) -> Result<Vec<Grant>, Unavailable> {
        let subject = subject.clone();
        self.readers.read("grants_of", move |connection| grants::of(connection, &subject, now, limit)).await
    }

    async fn list_grants(&self, query: &GrantQuery, now: Timestamp, limit: u32) -> Result<Vec<Grant>, Unavailable> {
        let query = query.clone();
        self.readers.read("list_grants", move |connection| grants::list(connection, &query, now, limit)).await
    }

    async fn end_some_grants(
        &self,
        query: &GrantQuery,
        why: EndedBy,
        now: Timestamp,
        limit: u32,
    ) -> Result<SomeEnded, Unavailable> {
        let limit = limit.min(ENDED_AT_ONCE);
        let page = self.list_grants(query, now, limit).await?;
        if page.is_empty() {
            return Ok(SomeEnded::of(&page, limit, 0));
        }
        let handles: Vec<_> = page.iter().map(|grant| grant.handle).collect();
        let end = move |connection: &_| grants::end_each(connection, &handles, why, now);
        let ended = self.writer.run("end_some_grants", end).await?;
        Ok(SomeEnded::of(&page, limit, ended))
    }

    async fn register_client(&self, client: &ClientRecord) -> Result<(), Unavailable> {
        let (client, limit) = (client.clone(), self.limits.clients);
        self.writer.run("register_client", move |connection| clients::register(connection, &client, limit)).await
    }

    async fn registered_client(&self, id: &ClientId) -> Result<Option<ClientRecord>, Unavailable> {
        let id = id.clone();
        self.readers.read("registered_client", move |connection| clients::read(connection, &id)).await
    }

    async fn registered_clients(&self, after: Option<&ClientId>, limit: u32) -> Result<Vec<ClientRecord>, Unavailable> {
        let after = after.cloned();
        self.readers
            .read("registered_clients", move |connection| clients::list(connection, after.as_ref(), limit))
            .await
    }

    async fn update_client(&self, client: &ClientRecord) -> Result<bool, Unavailable> {
        let client = client.clone();
        self.writer.run("update_client", move |connection| clients::update(connection, &client)).await
    }

    async fn delete_client(&self, id: &ClientId, now: Timestamp) -> Result<Option<u64>, Unavailable> {
        if self.registered_client(id).await?.is_none() {
            return Ok(None);
        }
        let before = self.end_grants_of_client(id, EndedBy::ClientDeleted, now).await?;
        let client = id.clone();
        let is_gone = self.writer.run("delete_client", move |connection| clients::delete(connection, &client)).await?;
        let meanwhile = self.end_grants_of_client(id, EndedBy::ClientDeleted, now).await?;
        Ok(is_gone.then_some(before + meanwhile))
    }

    async fn spend_assertion(&self, key: ReplayKey, expires: Timestamp, now: Timestamp) -> Result<Seen, Unavailable> {
        let limit = self.limits.assertions;
        self.writer
            .run("spend_assertion", move |connection| assertions::spend(connection, key, expires, limit, now))
            .await
    }

    async fn revoke_token(&self, token: TokenName, expires: Timestamp, now: Timestamp) -> Result<(), Unavailable> {
        let limit = self.limits.revocations;
        self.writer
            .run("revoke_token", move |connection| revocations::record(connection, token, (now, expires), limit))
            .await
    }

    async fn is_token_revoked(&self, token: TokenName) -> Result<bool, Unavailable> {
        self.readers.read("is_token_revoked", move |connection| revocations::holds(connection, token)).await
    }

    async fn ended_since(&self, since: Timestamp, _: Timestamp) -> Result<Ended, Unavailable> {
        let read = move |connection: &_| {
            let (grants, tokens) =
                (grants::ended_since(connection, since)?, revocations::recorded_since(connection, since)?);
            Ok(Ended { grants, tokens, unfinished: None })
        };
        self.readers.read("ended_since", read).await
    }

    async fn lease_status_block(&self, now: Timestamp, over: Timestamp) -> Result<StatusBlock, Unavailable> {
        self.writer.run("lease_status_block", move |connection| status_blocks::lease(connection, now, over)).await
    }

    async fn check_room_for_access_token(&self) -> Result<(), Unavailable> {
        let limit = self.limits.access_tokens;
        let check = move |connection: &_| access_tokens::check_room(connection, limit);
        self.readers.read("check_room_for_access_token", check).await
    }

    async fn record_access_token(&self, token: &AccessTokenRecord) -> Result<(), Unavailable> {
        let token = token.clone();
        self.writer.run("record_access_token", move |connection| access_tokens::record(connection, &token)).await
    }

    async fn access_token(&self, handle: Digest<AccessTokenKind>) -> Result<Option<AccessTokenRecord>, Unavailable> {
        self.readers.read("access_token", move |connection| access_tokens::read(connection, handle)).await
    }

    async fn open_session(&self, session: &SessionRecord) -> Result<(), Unavailable> {
        let (session, limit) = (session.clone(), self.limits.sessions);
        self.writer.run("open_session", move |connection| sessions::open(connection, &session, limit)).await
    }

    async fn session(&self, token: Digest<SessionKind>, now: Timestamp) -> Result<Option<SessionRecord>, Unavailable> {
        self.readers.read("session", move |connection| sessions::read(connection, token, now)).await
    }

    async fn extend_session(&self, token: Digest<SessionKind>, idle_expires_at: Timestamp) -> Result<(), Unavailable> {
        self.writer.run("extend_session", move |connection| sessions::extend(connection, token, idle_expires_at)).await
    }

    async fn sessions_of(
        &self,
        subject: &Subject,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<SessionRecord>, Unavailable> {
        let subject = subject.clone();
        self.readers.read("sessions_of", move |connection| sessions::of(connection, &subject, now, limit)).await
    }

    async fn end_session(&self, token: Digest<SessionKind>) -> Result<(), Unavailable> {
        self.writer.run("end_session", move |connection| sessions::end(connection, token)).await
    }

    async fn end_sessions_of(&self, subject: &Subject) -> Result<(), Unavailable> {
        let subject = subject.clone();
        self.writer.run("end_sessions_of", move |connection| sessions::end_of(connection, &subject)).await
    }

    async fn join_session(&self, client: &SessionClient) -> Result<(), Unavailable> {
        let (client, limit) = (client.clone(), self.limits.session_clients);
        self.writer.run("join_session", move |connection| session_clients::join(connection, &client, limit)).await
    }

    async fn session_client(
        &self,
        session: SessionId,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<Option<SessionClient>, Unavailable> {
        let client = client.clone();
        self.readers
            .read("session_client", move |connection| session_clients::read(connection, session, &client, now))
            .await
    }

    async fn leave_session(
        &self,
        session: SessionId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<SessionClient>, Unavailable> {
        self.writer
            .run("leave_session", move |connection| session_clients::leave(connection, session, now, limit))
            .await
    }

    async fn leave_sessions_of(
        &self,
        subject: &Subject,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<SessionClient>, Unavailable> {
        let subject = subject.clone();
        self.writer
            .run("leave_sessions_of", move |connection| session_clients::leave_all_of(connection, &subject, now, limit))
            .await
    }

    async fn remember_person(&self, person: &PersonRecord) -> Result<bool, Unavailable> {
        let (person, limit) = (person.clone(), self.limits.people);
        self.writer.run("remember_person", move |connection| people::remember(connection, &person, limit)).await
    }

    async fn person(&self, subject: &Subject) -> Result<Option<PersonRecord>, Unavailable> {
        let subject = subject.clone();
        self.readers.read("person", move |connection| people::read(connection, &subject)).await
    }

    async fn disable_person(&self, subject: &Subject, now: Timestamp) -> Result<(), Unavailable> {
        let (subject, limit) = (subject.clone(), self.limits.people);
        self.writer.run("disable_person", move |connection| people::disable(connection, &subject, now, limit)).await
    }

    async fn enable_person(&self, subject: &Subject) -> Result<(), Unavailable> {
        let subject = subject.clone();
        self.writer.run("enable_person", move |connection| people::enable(connection, &subject)).await
    }

    async fn signing_keys(&self) -> Result<Vec<KeyRecord>, Unavailable> {
        self.readers.read("signing_keys", signing_keys::read).await
    }

    async fn add_signing_key(&self, key: &KeyRecord, rescheduled: &[Rescheduled]) -> Result<bool, Unavailable> {
        let (key, rescheduled) = (key.clone(), rescheduled.to_vec());
        self.writer.run("add_signing_key", move |connection| signing_keys::add(connection, &key, &rescheduled)).await
    }

    async fn reschedule_signing_key(&self, read: &KeyRecord, next: &KeyRecord) -> Result<bool, Unavailable> {
        let (read, next) = (read.clone(), next.clone());
        self.writer
            .run("reschedule_signing_key", move |connection| signing_keys::replace_schedule(connection, &read, &next))
            .await
    }

    async fn reseal_signing_key(&self, read: &KeyRecord, next: &KeyRecord) -> Result<bool, Unavailable> {
        let (read, next) = (read.clone(), next.clone());
        self.writer.run("reseal_signing_key", move |connection| signing_keys::reseal(connection, &read, &next)).await
    }

    async fn root_key(&self, sealed: &[u8]) -> Result<Vec<u8>, Unavailable> {
        let sealed = sealed.to_vec();
        self.writer.run("root_key", move |connection| installation::root_key(connection, &sealed)).await
    }

    async fn reseal_root_key(&self, read: &[u8], sealed: &[u8]) -> Result<bool, Unavailable> {
        let (read, sealed) = (read.to_vec(), sealed.to_vec());
        self.writer
            .run("reseal_root_key", move |connection| installation::reseal_root_key(connection, &read, &sealed))
            .await
    }

    async fn last_alive(&self) -> Result<Option<LastAlive>, Unavailable> {
        self.readers.read("last_alive", installation::last_alive).await
    }

    async fn note_alive(&self, alive: LastAlive) -> Result<(), Unavailable> {
        self.writer.run("note_alive", move |connection| installation::note_alive(connection, alive)).await
    }

    async fn sweep(&self, now: Timestamp, limit: u32) -> Result<u32, Unavailable> {
        let kept = self.limits.kept;
        self.writer.run("sweep", move |connection| sweep::sweep(connection, now, kept, limit)).await
    }
}
