//! Which clients there are, and where they are looked up.
//!
//! | a client | is known from | and |
//! |---|---|---|
//! | that an operator has written down | the configuration | is found first, without a wait |
//! | that has registered itself | the store, at each look-up | is gone at once when it is deleted |
//! | whose name is a URL | the document there, kept for a while | is counted before anything is fetched ([`client_document`](super::client_document)) |
//!
//! What a client has registered is judged each time: an operator may have changed what it may have.

use std::net::IpAddr;
use std::sync::Arc;

use super::client::ClientOrigin;
use super::client_metadata::{ClientMetadata, Source};
use super::{AuthorizationServer, Client, Error};
use crate::clock::Timestamp;
use crate::ident::{ClientId, Subject};
use crate::jose;
use crate::store::{ClientRecord, Unavailable};

/// On whose behalf a client is looked up, and when.
#[derive(Clone, Copy)]
pub(super) struct Asker {
    /// The address that asks, if it is known.
    pub(super) address: Option<IpAddr>,
    /// The time of the request.
    pub(super) now: Timestamp,
}

impl Asker {
    /// Somebody who asks from an address.
    pub(super) fn at(address: IpAddr, now: Timestamp) -> Self {
        Self { address: Some(address), now }
    }

    /// Somebody whose address another server has seen.
    pub(super) fn unseen(now: Timestamp) -> Self {
        Self { address: None, now }
    }
}

/// What the names of clients begin with that have registered themselves. No other name is looked for in the store.
pub(super) const REGISTERED: &str = "reg-";

impl AuthorizationServer {
    /// The client of that name, wherever what it says of itself is.
    pub(super) async fn client(&self, id: &str, asker: Asker) -> Result<Option<Arc<Client>>, Error> {
        if let Some(client) = self.known_client(id).await? {
            return Ok(Some(client));
        }
        match id.parse() {
            Ok(id) => self.documented_client(&id, asker).await,
            Err(_) => Ok(None),
        }
    }

    /// Whether there is, or may be, a client of that name. Nothing is fetched.
    pub(super) async fn is_client(&self, id: &ClientId) -> Result<bool, Unavailable> {
        Ok(self.may_be_documented(id) || self.known_client(id.as_str()).await?.is_some())
    }

    /// The client of that name, if it is known here.
    pub(super) async fn known_client(&self, id: &str) -> Result<Option<Arc<Client>>, Unavailable> {
        let Ok(id) = id.parse::<ClientId>() else { return Ok(None) };
        if let Some(client) = self.clients.get(&id) {
            return Ok(Some(Arc::clone(client)));
        }
        if self.settings.registration.is_none() || !id.as_str().starts_with(REGISTERED) {
            return Ok(None);
        }
        let record = self.store.registered_client(&id).await?;
        Ok(record.and_then(|record| self.registered(record)).map(Arc::new))
    }

    /// Whether a person's name is, or may become, that of a client: a token's `sub` must not be both (RFC 9068 §5, RFC 9700
    /// §4.15).
    pub(super) fn is_name_of_client(&self, subject: &Subject) -> bool {
        let name = subject.as_str();
        let registers = self.settings.registration.is_some() && name.starts_with(REGISTERED);
        registers || self.clients.contains_key(name) || self.first_party.client(name).is_some()
    }

    /// A client as it has registered itself; `None` if the operator lets no such client be any more.
    pub(super) fn registered(&self, record: ClientRecord) -> Option<Client> {
        let policy = &self.settings.registration.as_ref()?.policy;
        let members = jose::object(record.metadata.as_bytes()).ok()?;
        match ClientMetadata::judge(&members, policy, Source::Registration) {
            Ok(metadata) => metadata.into_client(record.id, record.secret, ClientOrigin::Registration),
            Err(refusal) => {
                let refusal = refusal.name();
                tracing::warn!(client.id = %record.id, refusal, "`{}` may not be a client any more: {refusal}", record.id);
                None
            }
        }
    }
}
