//! What those see and end who look after the installation: clients, grants, sessions and devices of anybody.
//!
//! Whoever calls these methods has been let in by the door; they know no "own". What is ended here ends as if its owner had
//! ended it: grants with their tokens at once, sessions with word to their clients.
//!
//! Invariant: nothing that is given out here opens a door.

use std::str::FromStr;
use std::sync::Arc;

use super::client::ClientOrigin;
use super::{AuthorizationServer, Client, Error};
use crate::clock::Timestamp;
use crate::ident::{ClientId, Subject};
use crate::identity::Login;
use crate::secret::{DeviceCodeKind, Digest};
use crate::store::{
    ClientRecord, DeviceRecord, EndedBy, Grant, GrantHandle, GrantQuery, SessionId, SessionRecord, SomeEnded,
    Unavailable, end_step_by_step,
};

/// How many sessions of one person are shown.
const SESSIONS_SHOWN: u32 = 1_000;

/// A client in a list.
pub struct ListedClient {
    /// `client_id`.
    pub id: ClientId,
    /// Who says what it is.
    pub origin: ClientOrigin,
    /// What it is; `None` if it has registered what the operator no longer allows.
    pub client: Option<Arc<Client>>,
    /// When it registered itself.
    pub registered_at: Option<Timestamp>,
}

/// Where a list of clients goes on: behind which client. Those of the operator come first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum ClientCursor {
    /// With the first client of all.
    #[default]
    Start,
    /// Behind one that the operator has written down.
    Configured(ClientId),
    /// Behind one that has registered itself.
    Registered(ClientId),
}

/// A text that no list of clients has given.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no list of clients goes on there")]
pub struct CursorFault;

impl FromStr for ClientCursor {
    type Err = CursorFault;

    fn from_str(text: &str) -> Result<Self, CursorFault> {
        let name = |id: &str| id.parse::<ClientId>().map_err(|_| CursorFault);
        match (text, text.split_once(':')) {
            ("", _) => Ok(Self::Start),
            (_, Some(("c", id))) => name(id).map(Self::Configured),
            (_, Some(("r", id))) => name(id).map(Self::Registered),
            (_, _) => Err(CursorFault),
        }
    }
}

impl ListedClient {
    /// The cursor behind this client, as text.
    #[must_use]
    pub fn cursor(&self) -> String {
        let list = match self.origin {
            ClientOrigin::Operator => "c",
            ClientOrigin::Registration | ClientOrigin::Document => "r",
        };
        format!("{list}:{}", self.id)
    }

    fn configured(client: &Arc<Client>) -> Self {
        Self {
            id: client.id.clone(),
            origin: ClientOrigin::Operator,
            client: Some(Arc::clone(client)),
            registered_at: None,
        }
    }
}

impl AuthorizationServer {
    /// Clients by their names, at most `limit` behind a cursor.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn list_clients(&self, behind: &ClientCursor, limit: u32) -> Result<Vec<ListedClient>, Unavailable> {
        let at_most = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut listed: Vec<_> = match behind {
            ClientCursor::Start => self.clients.values().collect(),
            ClientCursor::Configured(id) => {
                self.clients.values().filter(|client| client.id.as_str() > id.as_str()).collect()
            }
            ClientCursor::Registered(_) => Vec::new(),
        };
        listed.sort_unstable_by(|one, other| one.id.as_str().cmp(other.id.as_str()));
        listed.truncate(at_most);
        let mut listed: Vec<_> = listed.into_iter().map(ListedClient::configured).collect();
        let room = limit.saturating_sub(u32::try_from(listed.len()).unwrap_or(u32::MAX));
        if room > 0 {
            let after = match behind {
                ClientCursor::Registered(id) => Some(id),
                ClientCursor::Start | ClientCursor::Configured(_) => None,
            };
            let records = self.store.registered_clients(after, room).await?;
            listed.extend(records.into_iter().map(|record| self.listed(record)));
        }
        Ok(listed)
    }

    /// The client of that name, if the operator or the store knows it.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn find_client(&self, id: &ClientId) -> Result<Option<ListedClient>, Unavailable> {
        if let Some(client) = self.clients.get(id) {
            return Ok(Some(ListedClient::configured(client)));
        }
        Ok(self.store.registered_client(id).await?.map(|record| self.listed(record)))
    }

    fn listed(&self, record: ClientRecord) -> ListedClient {
        let (id, registered_at) = (record.id.clone(), Some(record.registered_at));
        let client = self.registered(record).map(Arc::new);
        ListedClient { id, origin: ClientOrigin::Registration, client, registered_at }
    }

    /// The live grants that a query asks for, at most `limit`.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn list_grants(&self, query: &GrantQuery, now: Timestamp, limit: u32) -> Result<Vec<Grant>, Unavailable> {
        self.store.list_grants(query, now, limit).await
    }

    /// The grant of that name, ended or not.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn find_grant(&self, handle: GrantHandle) -> Result<Option<Grant>, Unavailable> {
        self.store.grant(handle).await
    }

    /// Ends a grant and gives it as it was; `None` if there is none of that name.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn revoke_grant(&self, handle: GrantHandle, now: Timestamp) -> Result<Option<Grant>, Unavailable> {
        let Some(grant) = self.store.grant(handle).await? else { return Ok(None) };
        if grant.is_live(now) {
            self.end_grant(&grant, EndedBy::Administrator, now).await?;
        }
        Ok(Some(grant))
    }

    /// Ends all live grants of a person, and gives how many.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn revoke_grants_of_person(&self, subject: &Subject, now: Timestamp) -> Result<u64, Unavailable> {
        self.end_grants_of(subject, EndedBy::Administrator, now).await
    }

    /// Ends all live grants of a client, and gives how many.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn revoke_grants_of_client(&self, client: &ClientId, now: Timestamp) -> Result<u64, Unavailable> {
        let ended = self.store.end_grants_of_client(client, EndedBy::Administrator, now).await?;
        self.learn_endings(ended, now).await?;
        Ok(ended)
    }

    /// Ends the first of the live grants that a query asks for, `at_most` so many of them; gives how many, and whether there
    /// may be more. For who ends very many, in calls of which none may take long.
    ///
    /// # Errors
    /// [`Unavailable`]; some may have ended.
    pub async fn revoke_some_grants(
        &self,
        query: GrantQuery,
        at_most: u32,
        now: Timestamp,
    ) -> Result<SomeEnded, Unavailable> {
        let some = end_step_by_step(&*self.store, query, (EndedBy::Administrator, now), at_most.into()).await?;
        self.learn_endings(some.ended, now).await?;
        Ok(some)
    }

    /// The sessions of a person, those first in which they signed in last; at most 1,000.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn list_sessions(&self, subject: &Subject, now: Timestamp) -> Result<Vec<SessionRecord>, Unavailable> {
        self.store.sessions_of(subject, now, SESSIONS_SHOWN).await
    }

    /// Ends a session of a person, and tells its clients. `false` if it is none of theirs.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; the session may go on then.
    pub async fn end_named_session(&self, subject: &Subject, id: SessionId, now: Timestamp) -> Result<bool, Error> {
        let sessions = self.list_sessions(subject, now).await?;
        let Some(session) = sessions.into_iter().find(|session| session.id == id) else { return Ok(false) };
        self.tell_clients_of(id, now).await?;
        self.store.end_session(session.digest).await?;
        Ok(true)
    }

    /// Ends all sessions of a person, and tells their clients.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; some may go on then.
    pub async fn end_all_sessions(&self, subject: &Subject, now: Timestamp) -> Result<(), Error> {
        self.tell_clients_of_person(subject, now).await?;
        Ok(self.store.end_sessions_of(subject).await?)
    }

    /// The devices that wait for a person, at most `limit` behind one.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn list_devices(
        &self,
        after: Option<Digest<DeviceCodeKind>>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<DeviceRecord>, Unavailable> {
        self.store.pending_devices(after, now, limit).await
    }

    /// Turns a device away that waits for a person. `false` if it does not.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn deny_device(&self, device: Digest<DeviceCodeKind>, now: Timestamp) -> Result<bool, Unavailable> {
        self.store.decline_device(device, now).await
    }

    /// How many clients the operator has written down.
    #[must_use]
    pub fn configured_clients(&self) -> usize {
        self.clients.len()
    }

    /// How people sign in, as the configuration calls it; `None` if nobody does.
    #[must_use]
    pub fn login_name(&self) -> Option<&'static str> {
        let asks = |client: &Arc<Client>| client.grant_types.iter().any(|grant| grant.asks_a_person());
        self.clients.values().any(asks).then_some(match self.login {
            Login::Password(_) => "local",
            Login::Upstream(_) => "oidc",
            Login::Proxy(_) => "header",
            Login::Elsewhere => "external",
        })
    }

    /// Whether the store answers.
    pub async fn store_answers(&self) -> bool {
        self.store.last_alive().await.is_ok()
    }
}
