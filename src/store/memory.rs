//! A store in the memory of this process: for `tollgate dev` and tests. A restart forgets everything.
//!
//! One lock around everything makes each call the atomic step that [`Store`] promises.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::shares::Shares;
use super::status::BLOCKS_TRIED;
use super::{
    AccessTokenRecord, Begun, ClientRecord, CodeRecord, Decision, DeviceRecord, ENDED_AT_ONCE, Ended, EndedBy, Grant,
    GrantHandle, GrantQuery, KeyRecord, LastAlive, Limits, PersonRecord, Polled, Pushed, PushedRequest, Recorded,
    Redeemed, Rescheduled, Rotated, Rotation, STATUS_BLOCKS, SessionClient, SessionId, SessionRecord, SomeEnded,
    StatusBlock, Store, TokenName, TransactionId, Unavailable,
};
use crate::clock::Timestamp;
use crate::ident::{ClientId, Subject};
use crate::replay::{ReplayKey, Seen};
use crate::secret::{
    AccessTokenKind, BrowserKind, CodeKind, DeviceCodeKind, Digest, RequestUriKind, SessionKind, UserCodeKind,
};

/// Keeps everything in memory, up to its [`Limits`].
pub struct MemoryStore {
    limits: Limits,
    held: Mutex<Held>,
}

/// Everything that is held.
#[derive(Default)]
struct Held {
    pushed_requests: Shelf<[u8; 32], PushedRequest>,
    /// The pushed requests by their transactions.
    begun_by: HashMap<TransactionId, [u8; 32]>,
    /// The pushed requests of a client that were not answered, by their end.
    waiting: HashMap<ClientId, BTreeSet<(Timestamp, [u8; 32])>>,
    codes: Shelf<[u8; 32], CodeRecord>,
    transactions: HashMap<TransactionId, [u8; 32]>,
    /// The transactions that ended without a code, until their time is over.
    ended_transactions: Shelf<[u8; 16], Timestamp>,
    devices: Shelf<[u8; 32], DeviceRecord>,
    user_codes: HashMap<[u8; 32], [u8; 32]>,
    grants: Shelf<[u8; 16], Grant>,
    /// The grants of a person at a client that were not seen to have ended, by their age.
    begun: HashMap<(Subject, ClientId), ByAge>,
    /// The clients that have registered themselves.
    clients: HashMap<ClientId, ClientRecord>,
    sessions: Shelf<[u8; 32], SessionRecord>,
    session_clients: Shelf<([u8; 16], ClientId), SessionClient>,
    people: Shelf<Subject, PersonRecord>,
    assertions: Shelf<[u8; 32], Timestamp>,
    revocations: Shelf<[u8; 32], Revocation>,
    access_tokens: Shelf<[u8; 32], AccessTokenRecord>,
    /// When the lease of each block of places is over.
    status_blocks: Vec<Timestamp>,
    keys: BTreeMap<u64, KeyRecord>,
    root_key: Option<Vec<u8>>,
    last_alive: Option<LastAlive>,
}

/// An access token that was revoked by name.
struct Revocation {
    /// When.
    at: Timestamp,
    /// When it would have expired.
    expires: Timestamp,
}

/// Handles of grants, by when they began.
type ByAge = BTreeSet<(Timestamp, [u8; 16])>;

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, held: Mutex::default() }
    }

    /// No call leaves a half-made change behind, so a poisoned lock is as good as a whole one.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends those live grants, and gives how many.
    fn end_live(&self, held: &mut Held, is_one: impl Fn(&Grant) -> bool, (now, why): (Timestamp, EndedBy)) -> u64 {
        let Shelf { records, due } = &mut held.grants;
        let mut ended = 0;
        for grant in records.values_mut().filter(|grant| is_one(grant) && grant.is_live(now)) {
            grant.ended = Some((now, why));
            due.insert((self.limits.grant_due(grant), grant.handle.0));
            ended += 1;
        }
        ended
    }
}

impl Held {
    /// Marks the pushed request of a transaction as answered; `None` if there is none, `Some(false)` if it was before.
    fn answer_pushed_request(&mut self, transaction: TransactionId) -> Option<bool> {
        let digest = self.begun_by.get(&transaction)?;
        let request = self.pushed_requests.records.get_mut(digest)?;
        if request.spent {
            return Some(false);
        }
        request.spent = true;
        request.parameters.clear();
        waits_no_longer(&mut self.waiting, request);
        Some(true)
    }

    /// Whether a transaction gave a code, ended without one, or its pushed request was answered.
    fn is_answered(&self, transaction: TransactionId) -> bool {
        let pushed = self.begun_by.get(&transaction).and_then(|digest| self.pushed_requests.records.get(digest));
        self.transactions.contains_key(&transaction)
            || self.ended_transactions.records.contains_key(&transaction.0)
            || pushed.is_some_and(|request| request.spent)
    }

    /// Takes clients out of sessions, at most `limit` of them, and gives those whose time is not over.
    fn leave(&mut self, goes: impl Fn(&SessionClient) -> bool, now: Timestamp, limit: u32) -> Vec<SessionClient> {
        let clients = &mut self.session_clients;
        let mut keys: Vec<_> =
            clients.records.iter().filter(|(_, client)| goes(client)).map(|(key, _)| key.clone()).collect();
        keys.sort_unstable();
        keys.truncate(at_most(limit));
        let mut left = Vec::new();
        for key in keys {
            left.extend(clients.records.get(&key).filter(|client| now < client.expires_at).cloned());
            clients.remove(&key, |client| client.expires_at);
        }
        left
    }

    /// Ends the oldest grants of a person at a client that are one too many with the `newest`.
    fn supersede(&mut self, newest: &Grant, limits: &Limits, now: Timestamp) {
        let Shelf { records, due } = &mut self.grants;
        let begun = self.begun.entry((newest.subject.clone(), newest.client_id.clone())).or_default();
        begun.retain(|(_, handle)| records.get(handle).is_some_and(|grant| grant.ended.is_none()));
        let live = |handle: &[u8; 16]| records.get(handle).is_some_and(|grant| grant.is_live(now));
        let handles = begun.iter().rev().map(|(_, handle)| *handle).filter(live);
        let too_many: Vec<_> =
            handles.skip(usize::try_from(limits.others_per_person()).unwrap_or(usize::MAX)).collect();
        for handle in too_many {
            if let Some(grant) = records.get_mut(&handle) {
                grant.ended = Some((now, EndedBy::Superseded));
                due.insert((limits.grant_due(grant), handle));
            }
        }
        begun.insert((newest.created_at, newest.handle.0));
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn push_request(&self, request: &PushedRequest, now: Timestamp) -> Result<Pushed, Unavailable> {
        let held = &mut *self.held();
        let after_now = (Bound::Excluded((now, [u8::MAX; 32])), Bound::Unbounded);
        let waiting = held.waiting.get(&request.client_id).map_or(0, |waiting| waiting.range(after_now).count());
        if waiting as u64 >= self.limits.pushed_requests_per_client {
            return Ok(Pushed::TooMany);
        }
        let (digest, due) = (*request.digest.as_bytes(), self.limits.pushed_request_due(request));
        held.pushed_requests.put(digest, request.clone(), due, self.limits.pushed_requests)?;
        held.begun_by.insert(request.transaction, digest);
        held.waiting.entry(request.client_id.clone()).or_default().insert((request.expires_at, digest));
        Ok(Pushed::First)
    }

    async fn pushed_request(&self, request_uri: Digest<RequestUriKind>) -> Result<Option<PushedRequest>, Unavailable> {
        Ok(self.held().pushed_requests.records.get(request_uri.as_bytes()).cloned())
    }

    async fn answer_pushed_request(&self, transaction: TransactionId) -> Result<bool, Unavailable> {
        Ok(self.held().answer_pushed_request(transaction).unwrap_or(false))
    }

    async fn end_transaction(
        &self,
        transaction: TransactionId,
        expires_at: Timestamp,
    ) -> Result<Recorded, Unavailable> {
        let mut held = self.held();
        if held.is_answered(transaction) {
            return Ok(Recorded::TransactionSpent);
        }
        held.ended_transactions.put(transaction.0, expires_at, expires_at, self.limits.codes)?;
        held.answer_pushed_request(transaction);
        Ok(Recorded::First)
    }

    async fn record_code(&self, code: &CodeRecord) -> Result<Recorded, Unavailable> {
        let mut held = self.held();
        if held.is_answered(code.transaction) {
            return Ok(Recorded::TransactionSpent);
        }
        let digest = *code.digest.as_bytes();
        held.codes.put(digest, code.clone(), self.limits.code_due(code), self.limits.codes)?;
        held.answer_pushed_request(code.transaction);
        held.transactions.insert(code.transaction, digest);
        Ok(Recorded::First)
    }

    async fn code(&self, code: Digest<CodeKind>) -> Result<Option<CodeRecord>, Unavailable> {
        Ok(self.held().codes.records.get(code.as_bytes()).cloned())
    }

    async fn redeem_code(
        &self,
        code: Digest<CodeKind>,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<Redeemed, Unavailable> {
        let held = &mut *self.held();
        let Some(record) = held.codes.records.get_mut(code.as_bytes()) else { return Ok(Redeemed::Unknown) };
        if let Some(earlier) = record.spent_for {
            return Ok(Redeemed::Replayed(earlier));
        }
        if now >= record.expires_at {
            return Ok(Redeemed::Unknown);
        }
        held.grants.put(grant.handle.0, grant.clone(), self.limits.grant_due(grant), self.limits.grants)?;
        record.spent_for = Some(grant.handle);
        held.supersede(grant, &self.limits, now);
        Ok(Redeemed::First)
    }

    async fn take_code(&self, code: Digest<CodeKind>, now: Timestamp) -> Result<bool, Unavailable> {
        let held = &mut *self.held();
        let digest = code.as_bytes();
        let fresh = |record: &&CodeRecord| record.spent_for.is_none() && now < record.expires_at;
        let Some(transaction) = held.codes.records.get(digest).filter(fresh).map(|record| record.transaction) else {
            return Ok(false);
        };
        held.codes.remove(digest, |code| self.limits.code_due(code));
        held.transactions.remove(&transaction);
        Ok(true)
    }

    async fn record_device(&self, device: &DeviceRecord) -> Result<Begun, Unavailable> {
        let held = &mut *self.held();
        let (digest, user_code) = (*device.digest.as_bytes(), *device.user_code.as_bytes());
        if held.user_codes.contains_key(&user_code) {
            return Ok(Begun::UserCodeTaken);
        }
        held.devices.put(digest, device.clone(), self.limits.device_due(device), self.limits.devices)?;
        held.user_codes.insert(user_code, digest);
        Ok(Begun::First)
    }

    async fn device(&self, code: Digest<DeviceCodeKind>) -> Result<Option<DeviceRecord>, Unavailable> {
        Ok(self.held().devices.records.get(code.as_bytes()).cloned())
    }

    async fn poll_device(
        &self,
        code: Digest<DeviceCodeKind>,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<Polled, Unavailable> {
        let mut held = self.held();
        let ours = |device: &&mut DeviceRecord| device.client_id == *client && device.is_pending(now);
        let device = held.devices.records.get_mut(code.as_bytes()).filter(ours);
        Ok(device.map_or(Polled::NotPending, |device| Polled::of(device.pace.poll(now))))
    }

    async fn claim_device(
        &self,
        user_code: Digest<UserCodeKind>,
        browser: Digest<BrowserKind>,
        now: Timestamp,
    ) -> Result<Option<DeviceRecord>, Unavailable> {
        let held = &mut *self.held();
        let digest = held.user_codes.get(user_code.as_bytes());
        let device = digest.and_then(|digest| held.devices.records.get_mut(digest));
        Ok(device.filter(|device| device.is_open_to(browser, now)).map(|device| {
            device.claimed_by = Some(browser);
            device.clone()
        }))
    }

    async fn decide_device(
        &self,
        code: Digest<DeviceCodeKind>,
        browser: Digest<BrowserKind>,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<bool, Unavailable> {
        let mut held = self.held();
        let claimed = |device: &&mut DeviceRecord| device.claimed_by == Some(browser) && device.is_pending(now);
        let Some(device) = held.devices.records.get_mut(code.as_bytes()).filter(claimed) else { return Ok(false) };
        device.decision = Some(decision.clone());
        Ok(true)
    }

    async fn pending_devices(
        &self,
        after: Option<Digest<DeviceCodeKind>>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<DeviceRecord>, Unavailable> {
        let held = self.held();
        let behind = |device: &DeviceRecord| after.is_none_or(|after| device.digest.as_bytes() > after.as_bytes());
        let pending = |device: &&DeviceRecord| behind(device) && device.is_pending(now);
        let mut devices: Vec<_> = held.devices.records.values().filter(pending).collect();
        devices.sort_unstable_by_key(|device| *device.digest.as_bytes());
        Ok(devices.into_iter().take(at_most(limit)).cloned().collect())
    }

    async fn decline_device(&self, code: Digest<DeviceCodeKind>, now: Timestamp) -> Result<bool, Unavailable> {
        let mut held = self.held();
        let device = held.devices.records.get_mut(code.as_bytes()).filter(|device| device.is_pending(now));
        let Some(device) = device else { return Ok(false) };
        device.decision = Some(Decision::Decline);
        Ok(true)
    }

    async fn redeem_device(
        &self,
        code: Digest<DeviceCodeKind>,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<bool, Unavailable> {
        let held = &mut *self.held();
        let digest = code.as_bytes();
        let approved = |device: &&DeviceRecord| {
            matches!(device.decision, Some(Decision::Approve { .. })) && now < device.expires_at
        };
        let Some(user_code) = held.devices.records.get(digest).filter(approved).map(|device| device.user_code) else {
            return Ok(false);
        };
        held.grants.put(grant.handle.0, grant.clone(), self.limits.grant_due(grant), self.limits.grants)?;
        held.devices.remove(digest, |device| self.limits.device_due(device));
        held.user_codes.remove(user_code.as_bytes());
        held.supersede(grant, &self.limits, now);
        Ok(true)
    }

    async fn grant(&self, handle: GrantHandle) -> Result<Option<Grant>, Unavailable> {
        Ok(self.held().grants.records.get(&handle.0).cloned())
    }

    async fn rotate(&self, rotation: &Rotation) -> Result<Rotated, Unavailable> {
        let mut held = self.held();
        let as_read = |grant: &&mut Grant| {
            grant.ended.is_none()
                && grant.refresh.current_n == rotation.read_n
                && grant.refresh.current_hash == rotation.read_hash
        };
        let Some(grant) = held.grants.records.get_mut(&rotation.handle.0).filter(as_read) else {
            return Ok(Rotated::Overtaken);
        };
        grant.refresh = rotation.next.clone();
        grant.sender_constraint = rotation.sender_constraint;
        grant.used_at = rotation.used_at;
        grant.idle_expires_at = rotation.idle_expires_at;
        Ok(Rotated::Moved)
    }

    async fn extend_grant(
        &self,
        handle: GrantHandle,
        idle_expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), Unavailable> {
        if let Some(grant) = self.held().grants.records.get_mut(&handle.0).filter(|grant| grant.ended.is_none()) {
            grant.idle_expires_at = idle_expires_at;
            grant.used_at = now;
        }
        Ok(())
    }

    async fn end_grant(&self, handle: GrantHandle, why: EndedBy, now: Timestamp) -> Result<(), Unavailable> {
        let Shelf { records, due } = &mut self.held().grants;
        if let Some(grant) = records.get_mut(&handle.0).filter(|grant| grant.ended.is_none()) {
            grant.ended = Some((now, why));
            due.insert((self.limits.grant_due(grant), handle.0));
        }
        Ok(())
    }

    async fn grants_of(&self, subject: &Subject, now: Timestamp, limit: u32) -> Result<Vec<Grant>, Unavailable> {
        let held = self.held();
        let live = |grant: &&Grant| grant.subject == *subject && grant.is_live(now);
        let mut grants: Vec<_> = held.grants.records.values().filter(live).collect();
        grants.sort_by_key(|grant| Reverse((grant.created_at, grant.handle.0)));
        grants.truncate(at_most(limit));
        Ok(grants.into_iter().cloned().collect())
    }

    async fn list_grants(&self, query: &GrantQuery, now: Timestamp, limit: u32) -> Result<Vec<Grant>, Unavailable> {
        let held = self.held();
        let asked = |grant: &&Grant| query.asks_for(grant) && grant.is_live(now);
        let mut grants: Vec<_> = held.grants.records.values().filter(asked).collect();
        grants.sort_unstable_by_key(|grant| grant.handle.0);
        Ok(grants.into_iter().take(at_most(limit)).cloned().collect())
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
        let Some(last) = page.last() else { return Ok(SomeEnded::of(&page, limit, 0)) };
        let is_listed = |grant: &Grant| query.asks_for(grant) && grant.handle.0 <= last.handle.0;
        let ended = self.end_live(&mut self.held(), is_listed, (now, why));
        Ok(SomeEnded::of(&page, limit, ended))
    }

    async fn register_client(&self, client: &ClientRecord) -> Result<(), Unavailable> {
        let mut held = self.held();
        if held.clients.len() as u64 >= self.limits.clients {
            return Err(Unavailable::Full);
        }
        held.clients.insert(client.id.clone(), client.clone());
        Ok(())
    }

    async fn registered_client(&self, id: &ClientId) -> Result<Option<ClientRecord>, Unavailable> {
        Ok(self.held().clients.get(id).cloned())
    }

    async fn registered_clients(&self, after: Option<&ClientId>, limit: u32) -> Result<Vec<ClientRecord>, Unavailable> {
        let held = self.held();
        let behind = |client: &&ClientRecord| after.is_none_or(|after| client.id.as_str() > after.as_str());
        let mut clients: Vec<_> = held.clients.values().filter(behind).collect();
        clients.sort_unstable_by(|one, other| one.id.as_str().cmp(other.id.as_str()));
        Ok(clients.into_iter().take(at_most(limit)).cloned().collect())
    }

    async fn update_client(&self, client: &ClientRecord) -> Result<bool, Unavailable> {
        let mut held = self.held();
        let Some(registered) = held.clients.get_mut(&client.id) else { return Ok(false) };
        registered.metadata.clone_from(&client.metadata);
        registered.secret.clone_from(&client.secret);
        registered.disposable_from = client.disposable_from;
        Ok(true)
    }

    async fn delete_client(&self, id: &ClientId, now: Timestamp) -> Result<Option<u64>, Unavailable> {
        let mut held = self.held();
        if held.clients.remove(id).is_none() {
            return Ok(None);
        }
        Ok(Some(self.end_live(&mut held, |grant| grant.client_id == *id, (now, EndedBy::ClientDeleted))))
    }

    async fn spend_assertion(&self, key: ReplayKey, expires: Timestamp, now: Timestamp) -> Result<Seen, Unavailable> {
        let mut held = self.held();
        match held.assertions.records.get_mut(key.as_bytes()) {
            Some(until) if now <= *until => Ok(Seen::Replayed),
            Some(until) => {
                *until = expires;
                Ok(Seen::First)
            }
            None => {
                held.assertions.put(*key.as_bytes(), expires, expires, self.limits.assertions)?;
                Ok(Seen::First)
            }
        }
    }

    async fn revoke_token(&self, token: TokenName, expires: Timestamp, now: Timestamp) -> Result<(), Unavailable> {
        let mut held = self.held();
        if held.revocations.records.contains_key(&token.0) {
            return Ok(());
        }
        held.revocations.put(token.0, Revocation { at: now, expires }, expires, self.limits.revocations)
    }

    async fn is_token_revoked(&self, token: TokenName) -> Result<bool, Unavailable> {
        Ok(self.held().revocations.records.contains_key(&token.0))
    }

    async fn ended_since(&self, since: Timestamp, _: Timestamp) -> Result<Ended, Unavailable> {
        let held = self.held();
        let ended = |grant: &Grant| grant.ended.filter(|(at, _)| *at >= since).map(|(at, _)| (grant.handle, at));
        let revoked = held.revocations.records.iter().filter(|(_, revocation)| revocation.at >= since);
        Ok(Ended {
            unfinished: None,
            grants: held.grants.records.values().filter_map(ended).collect(),
            tokens: revoked.map(|(name, revocation)| (TokenName(*name), revocation.expires)).collect(),
        })
    }

    async fn lease_status_block(&self, now: Timestamp, over: Timestamp) -> Result<StatusBlock, Unavailable> {
        let held = &mut *self.held();
        let mut crowded = Vec::new();
        while crowded.len() < BLOCKS_TRIED {
            let ended = (0_u32..).zip(held.status_blocks.iter_mut()).filter(|(_, until)| **until < now);
            let Some((number, until)) = ended.min_by_key(|(number, until)| (**until, *number)) else { break };
            *until = over;
            let (first, behind) = StatusBlock::bounds(number);
            let within = held.grants.records.keys().filter(|handle| (first..behind).contains(handle));
            let block = StatusBlock::new(number, within.map(|handle| GrantHandle(*handle)));
            if !block.is_crowded() {
                return Ok(block);
            }
            crowded.push(block);
        }
        match u32::try_from(held.status_blocks.len()).ok().filter(|number| *number < STATUS_BLOCKS) {
            Some(number) => {
                held.status_blocks.push(over);
                Ok(StatusBlock::new(number, []))
            }
            None => StatusBlock::roomiest(crowded).ok_or(Unavailable::Full),
        }
    }

    async fn check_room_for_access_token(&self) -> Result<(), Unavailable> {
        let held = self.held().access_tokens.records.len() as u64;
        if held < self.limits.access_tokens { Ok(()) } else { Err(Unavailable::Full) }
    }

    async fn record_access_token(&self, token: &AccessTokenRecord) -> Result<(), Unavailable> {
        let key = *token.digest.as_bytes();
        self.held().access_tokens.put(key, token.clone(), token.expires_at, u64::MAX)
    }

    async fn access_token(&self, handle: Digest<AccessTokenKind>) -> Result<Option<AccessTokenRecord>, Unavailable> {
        Ok(self.held().access_tokens.records.get(handle.as_bytes()).cloned())
    }

    async fn open_session(&self, session: &SessionRecord) -> Result<(), Unavailable> {
        let digest = *session.digest.as_bytes();
        self.held().sessions.put(digest, session.clone(), session_due(session), self.limits.sessions)
    }

    async fn session(&self, token: Digest<SessionKind>, now: Timestamp) -> Result<Option<SessionRecord>, Unavailable> {
        let held = self.held();
        Ok(held.sessions.records.get(token.as_bytes()).filter(|session| session.is_live(now)).cloned())
    }

    async fn extend_session(&self, token: Digest<SessionKind>, idle_expires_at: Timestamp) -> Result<(), Unavailable> {
        if let Some(session) = self.held().sessions.records.get_mut(token.as_bytes()) {
            session.idle_expires_at = idle_expires_at;
        }
        Ok(())
    }

    async fn sessions_of(
        &self,
        subject: &Subject,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<SessionRecord>, Unavailable> {
        let held = self.held();
        let live = |session: &&SessionRecord| session.subject == *subject && session.is_live(now);
        let mut sessions: Vec<_> = held.sessions.records.values().filter(live).collect();
        sessions.sort_unstable_by_key(|session| Reverse((session.auth_time, *session.digest.as_bytes())));
        Ok(sessions.into_iter().take(at_most(limit)).cloned().collect())
    }

    async fn end_session(&self, token: Digest<SessionKind>) -> Result<(), Unavailable> {
        self.held().sessions.remove(token.as_bytes(), session_due);
        Ok(())
    }

    async fn join_session(&self, client: &SessionClient) -> Result<(), Unavailable> {
        let clients = &mut self.held().session_clients;
        let key = (client.session.0, client.client_id.clone());
        clients.remove(&key, |client| client.expires_at);
        clients.put(key, client.clone(), client.expires_at, self.limits.session_clients)
    }

    async fn session_client(
        &self,
        session: SessionId,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<Option<SessionClient>, Unavailable> {
        let held = self.held();
        let noted = held.session_clients.records.get(&(session.0, client.clone()));
        Ok(noted.filter(|client| now < client.expires_at).cloned())
    }

    async fn leave_session(
        &self,
        session: SessionId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<SessionClient>, Unavailable> {
        Ok(self.held().leave(|client| client.session == session, now, limit))
    }

    async fn leave_sessions_of(
        &self,
        subject: &Subject,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<SessionClient>, Unavailable> {
        Ok(self.held().leave(|client| client.subject == *subject, now, limit))
    }

    async fn remember_person(&self, person: &PersonRecord) -> Result<bool, Unavailable> {
        let people = &mut self.held().people;
        match people.records.get_mut(&person.subject) {
            Some(known) if known.disabled => Ok(false),
            Some(known) => {
                known.update(person);
                Ok(true)
            }
            None => {
                people.put(person.subject.clone(), person.clone(), person_due(person), self.limits.people)?;
                Ok(true)
            }
        }
    }

    async fn person(&self, subject: &Subject) -> Result<Option<PersonRecord>, Unavailable> {
        Ok(self.held().people.records.get(subject).cloned())
    }

    async fn disable_person(&self, subject: &Subject, now: Timestamp) -> Result<(), Unavailable> {
        let people = &mut self.held().people;
        if let Some(known) = people.records.get_mut(subject) {
            known.disabled = true;
            return Ok(());
        }
        let unseen = PersonRecord::unseen(subject, now);
        people.put(subject.clone(), unseen, Timestamp::MAX, self.limits.people)
    }

    async fn enable_person(&self, subject: &Subject) -> Result<(), Unavailable> {
        let Shelf { records, due } = &mut self.held().people;
        if let Some(known) = records.get_mut(subject) {
            known.disabled = false;
            due.remove(&(Timestamp::MAX, subject.clone()));
            due.insert((person_due(known), subject.clone()));
        }
        Ok(())
    }

    async fn end_sessions_of(&self, subject: &Subject) -> Result<(), Unavailable> {
        let sessions = &mut self.held().sessions;
        sessions.records.retain(|_, session| session.subject != *subject);
        Ok(()) // what is due finds nothing any more, which is fine
    }

    async fn signing_keys(&self) -> Result<Vec<KeyRecord>, Unavailable> {
        Ok(self.held().keys.values().cloned().collect())
    }

    async fn add_signing_key(&self, key: &KeyRecord, rescheduled: &[Rescheduled]) -> Result<bool, Unavailable> {
        let mut held = self.held();
        let is_as_read = |Rescheduled { read, .. }: &Rescheduled| held.keys.get(&read.generation) == Some(read);
        if held.keys.contains_key(&key.generation) || !rescheduled.iter().all(is_as_read) {
            return Ok(false);
        }
        held.keys.insert(key.generation, key.clone());
        for Rescheduled { next, .. } in rescheduled {
            if let Some(earlier) = held.keys.get_mut(&next.generation) {
                earlier.reschedule(next);
            }
        }
        Ok(true)
    }

    async fn reschedule_signing_key(&self, read: &KeyRecord, next: &KeyRecord) -> Result<bool, Unavailable> {
        let mut held = self.held();
        let Some(key) = held.keys.get_mut(&read.generation).filter(|key| key == &read) else { return Ok(false) };
        key.reschedule(next);
        Ok(true)
    }

    async fn reseal_signing_key(&self, read: &KeyRecord, next: &KeyRecord) -> Result<bool, Unavailable> {
        let mut held = self.held();
        let seals = |key: &KeyRecord| (key.kid.clone(), key.sealed.clone(), key.secret.clone());
        let is_read = |key: &&mut KeyRecord| seals(key) == seals(read);
        let Some(key) = held.keys.get_mut(&read.generation).filter(is_read) else { return Ok(false) };
        key.reseal(next);
        Ok(true)
    }

    async fn root_key(&self, sealed: &[u8]) -> Result<Vec<u8>, Unavailable> {
        Ok(self.held().root_key.get_or_insert_with(|| sealed.to_vec()).clone())
    }

    async fn reseal_root_key(&self, read: &[u8], sealed: &[u8]) -> Result<bool, Unavailable> {
        let mut held = self.held();
        let Some(key) = held.root_key.as_mut().filter(|key| key.as_slice() == read) else { return Ok(false) };
        *key = sealed.to_vec();
        Ok(true)
    }

    async fn last_alive(&self) -> Result<Option<LastAlive>, Unavailable> {
        Ok(self.held().last_alive)
    }

    async fn note_alive(&self, alive: LastAlive) -> Result<(), Unavailable> {
        self.held().last_alive = Some(alive);
        Ok(())
    }

    async fn sweep(&self, now: Timestamp, limit: u32) -> Result<u32, Unavailable> {
        let mut held = self.held();
        let mut shares = Shares::of(limit, KINDS.len());
        while let Some(next @ (kind, share)) = shares.deal() {
            let mut left = share;
            KINDS[kind](&mut held, &self.limits, now, &mut left);
            shares.took(next, share - left);
        }
        Ok(shares.removed())
    }
}

/// Removes records of one kind whose time is over before a moment, and counts down by each how many still may go.
type Sweep = fn(&mut Held, &Limits, Timestamp, &mut u32);

/// Every kind.
const KINDS: &[Sweep] = &[
    |held, limits, now, left| {
        held.pushed_requests.sweep(
            now,
            left,
            |request| limits.pushed_request_due(request),
            |request| {
                held.begun_by.remove(&request.transaction);
                waits_no_longer(&mut held.waiting, &request);
            },
        );
    },
    |held, limits, now, left| {
        held.codes.sweep(
            now,
            left,
            |code| limits.code_due(code),
            |code| {
                held.transactions.remove(&code.transaction);
            },
        );
    },
    |held, limits, now, left| {
        held.devices.sweep(
            now,
            left,
            |device| limits.device_due(device),
            |device| {
                held.user_codes.remove(device.user_code.as_bytes());
            },
        );
    },
    |held, limits, now, left| {
        held.grants.sweep(
            now,
            left,
            |grant| limits.grant_due(grant),
            |grant| {
                let of_person = (grant.subject, grant.client_id);
                if let Some(begun_by) = held.begun.get_mut(&of_person) {
                    begun_by.remove(&(grant.created_at, grant.handle.0));
                    if begun_by.is_empty() {
                        held.begun.remove(&of_person);
                    }
                }
            },
        );
    },
    |held, _, now, left| held.sessions.sweep(now, left, session_due, drop),
    |held, _, now, left| held.session_clients.sweep(now, left, |client| client.expires_at, drop),
    |held, _, now, left| held.people.sweep(now, left, person_due, drop),
    |held, _, now, left| held.ended_transactions.sweep(now, left, |until| *until, drop),
    |held, _, now, left| held.assertions.sweep(now, left, |until| *until, drop),
    |held, _, now, left| held.revocations.sweep(now, left, |revocation| revocation.expires, drop),
    |held, _, now, left| held.access_tokens.sweep(now, left, |token| token.expires_at, drop),
    |held, _, now, left| {
        let newest = held.keys.last_key_value().map(|(generation, _)| *generation);
        held.keys.retain(|generation, key| {
            let goes = *left > 0 && key.drop_at < now && Some(*generation) != newest;
            *left -= u32::from(goes);
            !goes
        });
    },
    |held, _, now, left| {
        let disposable = |client: &ClientRecord| client.disposable_from.is_some_and(|from| from < now);
        if held.clients.values().any(disposable) {
            let used: HashSet<_> = held.grants.records.values().map(|grant| &grant.client_id).collect();
            held.clients.retain(|id, client| {
                let goes = *left > 0 && disposable(client) && !used.contains(id);
                *left -= u32::from(goes);
                !goes
            });
        }
    },
];

/// A limit, as iterators have it.
fn at_most(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// The last moment at which a session is kept.
fn session_due(session: &SessionRecord) -> Timestamp {
    session.idle_expires_at.min(session.expires_at)
}

/// The last moment at which a person is kept: those who are disabled stay for good.
fn person_due(person: &PersonRecord) -> Timestamp {
    if person.disabled { Timestamp::MAX } else { person.needed_until }
}

/// Takes a pushed request out of those of its client that wait.
fn waits_no_longer(waiting: &mut HashMap<ClientId, BTreeSet<(Timestamp, [u8; 32])>>, request: &PushedRequest) {
    if let Some(of_client) = waiting.get_mut(&request.client_id) {
        of_client.remove(&(request.expires_at, *request.digest.as_bytes()));
        if of_client.is_empty() {
            waiting.remove(&request.client_id);
        }
    }
}

/// Records by key, and the order in which they may go.
struct Shelf<K, V> {
    records: HashMap<K, V>,
    /// When to look at a record. By then its end may have moved on, and it is put back.
    due: BTreeSet<(Timestamp, K)>,
}

impl<K, V> Default for Shelf<K, V> {
    fn default() -> Self {
        Self { records: HashMap::new(), due: BTreeSet::new() }
    }
}

impl<K: Clone + Eq + Hash + Ord, V> Shelf<K, V> {
    /// Adds a record unless there are `limit`.
    fn put(&mut self, key: K, record: V, due: Timestamp, limit: u64) -> Result<(), Unavailable> {
        if self.records.len() as u64 >= limit {
            return Err(Unavailable::Full);
        }
        self.records.insert(key.clone(), record);
        self.due.insert((due, key));
        Ok(())
    }

    /// Removes a record. If its end has moved since it was put here, it is still looked for once.
    fn remove(&mut self, key: &K, due: impl Fn(&V) -> Timestamp) {
        if let Some(record) = self.records.remove(key) {
            self.due.remove(&(due(&record), key.clone()));
        }
    }

    /// Looks at no more than `left` records whose time has come, removes those whose time is over before `now`, and
    /// counts `left` down by each that it removed.
    fn sweep(&mut self, now: Timestamp, left: &mut u32, due: impl Fn(&V) -> Timestamp, mut gone: impl FnMut(V)) {
        for _ in 0..*left {
            let Some((_, key)) = self.due.first().filter(|(when, _)| *when < now).cloned() else { break };
            self.due.pop_first();
            match self.records.get(&key).map(&due) {
                Some(moved) if moved >= now => {
                    self.due.insert((moved, key));
                }
                Some(_) => {
                    self.records.remove(&key).into_iter().for_each(&mut gone);
                    *left -= 1;
                }
                None => {}
            }
        }
    }
}
