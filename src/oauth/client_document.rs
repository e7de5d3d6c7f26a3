//! Clients whose `client_id` is the URL of a document about them (draft-ietf-oauth-client-id-metadata-document-02).
//!
//! | what is asked of | so that |
//! |---|---|
//! | the URL: https, a path, no query, and spelled as it would be fetched | one client has one name, and nothing odd is asked for |
//! | its host: one that the operator allows, at no private address | nobody has us ask our own network |
//! | the document: 200, JSON, at most 5 KiB, its `client_id` the URL itself, no secrets | nobody speaks for somebody else |
//!
//! What is not at hand and fresh is fetched before anybody has signed in, so addresses and hosts are counted. A document
//! that cannot be had is an outage; one that is not as it should be is no client.
//!
//! Choice: the draft lets one URL be spelled in several ways, each a client of its own; here only the normal form of RFC 3986
//! §6.2 is a client.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::client::ClientOrigin;
use super::client_metadata::{ClientMetadata, Source};
use super::clients::Asker;
use super::{AuthorizationServer, Client, ClientPolicy, Error, Refusal};
use crate::clock::Timestamp;
use crate::fetch::{FetchFault, FetchUrl};
use crate::ident::ClientId;
use crate::jose;
use crate::store::Unavailable;
use crate::throttle::{Bucket, Counted, Limit, network};

/// How many documents one address may have us fetch.
const OF_ADDRESS: Limit = Limit { burst: 20, interval: Duration::from_secs(3) };

/// How many documents are fetched from one host.
const OF_HOST: Limit = Limit { burst: 20, interval: Duration::from_secs(3) };

/// The longest document, in bytes (§4.1 recommends 5 kilobytes).
pub const DOCUMENT_LIMIT: usize = 5 * 1024;

/// What an operator lets such clients be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientIdDocuments {
    /// What they may have.
    pub policy: ClientPolicy,
    /// The hosts at which documents may be; `None`: any.
    pub hosts: Option<Vec<String>>,
}

impl ClientIdDocuments {
    /// The URL of the document of a client, if its name may be one.
    fn url(&self, id: &ClientId) -> Option<FetchUrl> {
        let text = id.as_str();
        let url: FetchUrl = text.parse().ok()?;
        let is_normal = url.as_str() == text && !text.contains(['?', '#']) && url.path().len() > 1;
        let is_allowed = self.hosts.as_ref().is_none_or(|hosts| hosts.iter().any(|host| host == url.host()));
        (is_normal && is_allowed && url.may_be_within(self.policy.reach)).then_some(url)
    }
}

/// Knows what clients say of themselves at their `client_id`.
#[async_trait]
pub trait ClientDocuments: Send + Sync {
    /// The client, if its document is at hand and fresh.
    fn at_hand(&self, id: &ClientId, now: Timestamp) -> Option<Arc<Client>>;

    /// The client, for which its document may be fetched.
    ///
    /// # Errors
    /// [`FetchFault`] if the document is not there, or is not one of this client.
    async fn client(&self, id: &ClientId, url: &FetchUrl, now: Timestamp) -> Result<Arc<Client>, FetchFault>;
}

/// Reads the document of a client; `None` if it is not as it should be.
#[must_use]
pub fn client_in(document: &[u8], id: &ClientId, policy: &ClientPolicy) -> Option<Client> {
    let members = jose::object(document).ok()?;
    if members.get("client_id").and_then(|value| value.as_str()) != Some(id.as_str()) {
        return None;
    }
    match ClientMetadata::judge(&members, policy, Source::Document) {
        Ok(metadata) => metadata.into_client(id.clone(), None, ClientOrigin::Document),
        Err(refusal) => {
            let refusal = refusal.name();
            tracing::warn!(client.id = %id, refusal, "the document of `{id}` is not one that we take: {refusal}");
            None
        }
    }
}

impl AuthorizationServer {
    /// The client whose name is the URL of its document; `None` if the name is none, or may be none.
    pub(super) async fn documented_client(&self, id: &ClientId, asker: Asker) -> Result<Option<Arc<Client>>, Error> {
        let Some(url) = self.settings.client_id_documents.as_ref().and_then(|documents| documents.url(id)) else {
            return Ok(None);
        };
        if let Some(client) = self.client_documents.at_hand(id, asker.now) {
            return Ok(Some(client));
        }
        self.count_fetch(url.host(), asker)?;
        match self.client_documents.client(id, &url, asker.now).await {
            Ok(client) => Ok(Some(client)),
            Err(FetchFault::NoAnswer | FetchFault::TimedOut | FetchFault::Status(429 | 500..)) => {
                Err(Unavailable::Down.into())
            }
            Err(
                FetchFault::Url
                | FetchFault::Address
                | FetchFault::TooLarge
                | FetchFault::Status(_)
                | FetchFault::Unfit,
            ) => Err(Refusal::ClientDocumentUnfit.into()),
        }
    }

    /// Whether there may be a client of that name whose document says what it is.
    pub(super) fn may_be_documented(&self, id: &ClientId) -> bool {
        self.settings.client_id_documents.as_ref().is_some_and(|documents| documents.url(id).is_some())
    }

    fn count_fetch(&self, host: &str, asker: Asker) -> Result<(), Error> {
        let of_address = |address: IpAddr| Bucket::of(&[b"fetch for", &network(address)], OF_ADDRESS);
        let mut buckets = vec![Bucket::of(&[b"fetch from", host.as_bytes()], OF_HOST)];
        buckets.extend(asker.address.map(of_address));
        match self.tally.fetches.count(&buckets, asker.now)? {
            Counted::Free => Ok(()),
            Counted::TooMany { retry_after } => Err(Error::Throttled { retry_after }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::Reach;
    use crate::oauth::Profile;
    use crate::scope::Scopes;

    fn documents(reach: Reach, hosts: Option<Vec<String>>) -> ClientIdDocuments {
        let policy =
            ClientPolicy { grant_types: Vec::new(), scopes: Scopes::default(), profile: Profile::Default, reach };
        ClientIdDocuments { policy, hosts }
    }

    #[test]
    fn a_name_is_the_url_of_a_document_in_one_spelling_only() {
        let any = documents(Reach::Public, None);
        let few = documents(Reach::Public, Some(vec!["app.example".to_owned()]));
        for (id, of_any, of_few) in [
            ("https://app.example/client.json", true, true),
            ("https://app.example:8443/client", true, true),
            ("https://other.example/client", true, false),
            ("https://app.example.evil.example/client", true, false),
            ("https://app.example", false, false),
            ("https://app.example/", false, false),
            ("https://app.example:443/client", false, false),
            ("https://APP.example/client", false, false),
            ("https://app.example/a/../client", false, false),
            ("https://app.example/%2e/client", false, false),
            ("https://app.example/client?x=1", false, false),
            ("https://app.example/client#x", false, false),
            ("https://u@app.example/client", false, false),
            ("https://app.example@evil.example/client", false, false),
            ("http://app.example/client", false, false),
            ("http://127.0.0.1/client", false, false),
            ("https://127.0.0.1/client", false, false),
            ("https://[::1]/client", false, false),
            ("https://10.0.0.1/client", false, false),
            ("https://169.254.169.254/latest", false, false),
            ("https://2130706433/client", false, false),
            ("https://0177.0.0.1/client", false, false),
            ("https://0x7f.1/client", false, false),
            ("https://[::ffff:127.0.0.1]/client", false, false),
            ("spa", false, false),
        ] {
            let id: ClientId = id.parse().expect("a name");
            assert_eq!(any.url(&id).is_some(), of_any, "{id}");
            assert_eq!(few.url(&id).is_some(), of_few, "{id}");
        }
    }
}
