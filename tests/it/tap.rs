//! A store with a tap on it: whoever holds the tap sees each call before and after it, may hold it up, and may fail it.

use std::sync::Arc;

use async_trait::async_trait;
use tollgate::clock::Timestamp;
use tollgate::ident::{ClientId, Subject};
use tollgate::replay::{ReplayKey, Seen};
use tollgate::secret::{
    AccessTokenKind, BrowserKind, CodeKind, DeviceCodeKind, Digest, RequestUriKind, SessionKind, UserCodeKind,
};
use tollgate::store::{
    AccessTokenRecord, Begun, ClientRecord, CodeRecord, Decision, DeviceRecord, Ended, EndedBy, Grant, GrantHandle,
    GrantQuery, KeyRecord, LastAlive, PersonRecord, Polled, Pushed, PushedRequest, Recorded, Redeemed, Rescheduled,
    Rotated, Rotation, SessionClient, SessionId, SessionRecord, SomeEnded, StatusBlock, Store, TokenName,
    TransactionId, Unavailable,
};

/// What is done around each call.
#[async_trait]
pub trait Tap: Send + Sync {
    /// Before the call; an error takes the place of the call.
    async fn before(&self, call: &'static str) -> Result<(), Unavailable>;

    /// After it; an error takes the place of the answer, as when an answer is lost on its way.
    async fn after(&self, call: &'static str) -> Result<(), Unavailable> {
        let _ = call;
        Ok(())
    }
}

/// The store with the tap.
pub struct TappedStore {
    pub inner: Arc<dyn Store>,
    pub tap: Arc<dyn Tap>,
}

/// Runs one call of the inner store between the two ends of the tap.
macro_rules! tapped {
    ($self:ident.$call:ident($($argument:expr),*)) => {{
        $self.tap.before(stringify!($call)).await?;
        let answer = $self.inner.$call($($argument),*).await?;
        $self.tap.after(stringify!($call)).await?;
        Ok(answer)
    }};
}

#[async_trait]
impl Store for TappedStore {
    async fn push_request(&self, request: &PushedRequest, now: Timestamp) -> Result<Pushed, Unavailable> {
        tapped!(self.push_request(request, now))
    }

    async fn pushed_request(&self, request_uri: Digest<RequestUriKind>) -> Result<Option<PushedRequest>, Unavailable> {
        tapped!(self.pushed_request(request_uri))
    }

    async fn answer_pushed_request(&self, transaction: TransactionId) -> Result<bool, Unavailable> {
        tapped!(self.answer_pushed_request(transaction))
    }

    async fn end_transaction(
        &self,
        transaction: TransactionId,
        expires_at: Timestamp,
    ) -> Result<Recorded, Unavailable> {
        tapped!(self.end_transaction(transaction, expires_at))
    }

    async fn record_code(&self, code: &CodeRecord) -> Result<Recorded, Unavailable> {
        tapped!(self.record_code(code))
    }

    async fn code(&self, code: Digest<CodeKind>) -> Result<Option<CodeRecord>, Unavailable> {
        tapped!(self.code(code))
    }

    async fn redeem_code(
        &self,
        code: Digest<CodeKind>,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<Redeemed, Unavailable> {
        tapped!(self.redeem_code(code, grant, now))
    }

    async fn take_code(&self, code: Digest<CodeKind>, now: Timestamp) -> Result<bool, Unavailable> {
        tapped!(self.take_code(code, now))
    }

    async fn record_device(&self, device: &DeviceRecord) -> Result<Begun, Unavailable> {
        tapped!(self.record_device(device))
    }

    async fn device(&self, code: Digest<DeviceCodeKind>) -> Result<Option<DeviceRecord>, Unavailable> {
        tapped!(self.device(code))
    }

    async fn poll_device(
        &self,
        code: Digest<DeviceCodeKind>,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<Polled, Unavailable> {
        tapped!(self.poll_device(code, client, now))
    }

    async fn claim_device(
        &self,
        user_code: Digest<UserCodeKind>,
        browser: Digest<BrowserKind>,
        now: Timestamp,
    ) -> Result<Option<DeviceRecord>, Unavailable> {
        tapped!(self.claim_device(user_code, browser, now))
    }

    async fn decide_device(
        &self,
        code: Digest<DeviceCodeKind>,
        browser: Digest<BrowserKind>,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<bool, Unavailable> {
        tapped!(self.decide_device(code, browser, decision, now))
    }

    async fn pending_devices(
        &self,
        after: Option<Digest<DeviceCodeKind>>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<DeviceRecord>, Unavailable> {
        tapped!(self.pending_devices(after, now, limit))
    }

    async fn decline_device(&self, code: Digest<DeviceCodeKind>, now: Timestamp) -> Result<bool, Unavailable> {
        tapped!(self.decline_device(code, now))
    }

    async fn redeem_device(
        &self,
        code: Digest<DeviceCodeKind>,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<bool, Unavailable> {
        tapped!(self.redeem_device(code, grant, now))
    }

    async fn grant(&self, handle: GrantHandle) -> Result<Option<Grant>, Unavailable> {
        tapped!(self.grant(handle))
    }

    async fn rotate(&self, rotation: &Rotation) -> Result<Rotated, Unavailable> {
        tapped!(self.rotate(rotation))
    }

    async fn extend_grant(
        &self,
        handle: GrantHandle,
        idle_expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), Unavailable> {
        tapped!(self.extend_grant(handle, idle_expires_at, now))
    }

    async fn end_grant(&self, handle: GrantHandle, why: EndedBy, now: Timestamp) -> Result<(), Unavailable> {
        tapped!(self.end_grant(handle, why, now))
    }

    async fn grants_of(&self, subject: &Subject, now: Timestamp, limit: u32) -> Result<Vec<Grant>, Unavailable> {
        tapped!(self.grants_of(subject, now, limit))
    }

    async fn list_grants(&self, query: &GrantQuery, now: Timestamp, limit: u32) -> Result<Vec<Grant>, Unavailable> {
        tapped!(self.list_grants(query, now, limit))
    }

    async fn end_grants_of_client(&self, client: &ClientId, why: EndedBy, now: Timestamp) -> Result<u64, Unavailable> {
        tapped!(self.end_grants_of_client(client, why, now))
    }

    async fn end_grants_of(&self, subject: &Subject, why: EndedBy, now: Timestamp) -> Result<u64, Unavailable> {
        tapped!(self.end_grants_of(subject, why, now))
    }

    async fn end_some_grants(
        &self,
        query: &GrantQuery,
        why: EndedBy,
        now: Timestamp,
        limit: u32,
    ) -> Result<SomeEnded, Unavailable> {
        tapped!(self.end_some_grants(query, why, now, limit))
    }

    async fn register_client(&self, client: &ClientRecord) -> Result<(), Unavailable> {
        tapped!(self.register_client(client))
    }

    async fn registered_client(&self, id: &ClientId) -> Result<Option<ClientRecord>, Unavailable> {
        tapped!(self.registered_client(id))
    }

    async fn registered_clients(&self, after: Option<&ClientId>, limit: u32) -> Result<Vec<ClientRecord>, Unavailable> {
        tapped!(self.registered_clients(after, limit))
    }

    async fn update_client(&self, client: &ClientRecord) -> Result<bool, Unavailable> {
        tapped!(self.update_client(client))
    }

    async fn delete_client(&self, id: &ClientId, now: Timestamp) -> Result<Option<u64>, Unavailable> {
        tapped!(self.delete_client(id, now))
    }

    async fn spend_assertion(&self, key: ReplayKey, expires: Timestamp, now: Timestamp) -> Result<Seen, Unavailable> {
        tapped!(self.spend_assertion(key, expires, now))
    }

    async fn revoke_token(&self, token: TokenName, expires: Timestamp, now: Timestamp) -> Result<(), Unavailable> {
        tapped!(self.revoke_token(token, expires, now))
    }

    async fn ended_since(&self, since: Timestamp, now: Timestamp) -> Result<Ended, Unavailable> {
        tapped!(self.ended_since(since, now))
    }

    async fn is_token_revoked(&self, token: TokenName) -> Result<bool, Unavailable> {
        tapped!(self.is_token_revoked(token))
    }

    async fn lease_status_block(&self, now: Timestamp, over: Timestamp) -> Result<StatusBlock, Unavailable> {
        tapped!(self.lease_status_block(now, over))
    }

    async fn check_room_for_access_token(&self) -> Result<(), Unavailable> {
        tapped!(self.check_room_for_access_token())
    }

    async fn record_access_token(&self, token: &AccessTokenRecord) -> Result<(), Unavailable> {
        tapped!(self.record_access_token(token))
    }

    async fn access_token(&self, handle: Digest<AccessTokenKind>) -> Result<Option<AccessTokenRecord>, Unavailable> {
        tapped!(self.access_token(handle))
    }

    async fn open_session(&self, session: &SessionRecord) -> Result<(), Unavailable> {
        tapped!(self.open_session(session))
    }

    async fn session(&self, token: Digest<SessionKind>, now: Timestamp) -> Result<Option<SessionRecord>, Unavailable> {
        tapped!(self.session(token, now))
    }

    async fn extend_session(&self, token: Digest<SessionKind>, idle_expires_at: Timestamp) -> Result<(), Unavailable> {
        tapped!(self.extend_session(token, idle_expires_at))
    }

    async fn sessions_of(
        &self,
        subject: &Subject,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<SessionRecord>, Unavailable> {
        tapped!(self.sessions_of(subject, now, limit))
    }

    async fn end_session(&self, token: Digest<SessionKind>) -> Result<(), Unavailable> {
        tapped!(self.end_session(token))
    }

    async fn end_sessions_of(&self, subject: &Subject) -> Result<(), Unavailable> {
        tapped!(self.end_sessions_of(subject))
    }

    async fn join_session(&self, client: &SessionClient) -> Result<(), Unavailable> {
        tapped!(self.join_session(client))
    }

    async fn session_client(
        &self,
        session: SessionId,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<Option<SessionClient>, Unavailable> {
        tapped!(self.session_client(session, client, now))
    }

    async fn leave_session(
        &self,
        session: SessionId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<SessionClient>, Unavailable> {
        tapped!(self.leave_session(session, now, limit))
    }

    async fn leave_sessions_of(
        &self,
        subject: &Subject,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<SessionClient>, Unavailable> {
        tapped!(self.leave_sessions_of(subject, now, limit))
    }

    async fn remember_person(&self, person: &PersonRecord) -> Result<bool, Unavailable> {
        tapped!(self.remember_person(person))
    }

    async fn person(&self, subject: &Subject) -> Result<Option<PersonRecord>, Unavailable> {
        tapped!(self.person(subject))
    }

    async fn disable_person(&self, subject: &Subject, now: Timestamp) -> Result<(), Unavailable> {
        tapped!(self.disable_person(subject, now))
    }

    async fn enable_person(&self, subject: &Subject) -> Result<(), Unavailable> {
        tapped!(self.enable_person(subject))
    }

    async fn signing_keys(&self) -> Result<Vec<KeyRecord>, Unavailable> {
        tapped!(self.signing_keys())
    }

    async fn add_signing_key(&self, key: &KeyRecord, rescheduled: &[Rescheduled]) -> Result<bool, Unavailable> {
        tapped!(self.add_signing_key(key, rescheduled))
    }

    async fn reschedule_signing_key(&self, read: &KeyRecord, next: &KeyRecord) -> Result<bool, Unavailable> {
        tapped!(self.reschedule_signing_key(read, next))
    }

    async fn reseal_signing_key(&self, read: &KeyRecord, next: &KeyRecord) -> Result<bool, Unavailable> {
        tapped!(self.reseal_signing_key(read, next))
    }

    async fn root_key(&self, sealed: &[u8]) -> Result<Vec<u8>, Unavailable> {
        tapped!(self.root_key(sealed))
    }

    async fn reseal_root_key(&self, read: &[u8], sealed: &[u8]) -> Result<bool, Unavailable> {
        tapped!(self.reseal_root_key(read, sealed))
    }

    async fn last_alive(&self) -> Result<Option<LastAlive>, Unavailable> {
        tapped!(self.last_alive())
    }

    async fn note_alive(&self, alive: LastAlive) -> Result<(), Unavailable> {
        tapped!(self.note_alive(alive))
    }

    async fn sweep(&self, now: Timestamp, limit: u32) -> Result<u32, Unavailable> {
        tapped!(self.sweep(now, limit))
    }
}
