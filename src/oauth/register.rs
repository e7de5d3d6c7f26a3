//! Dynamic registration (RFC 7591 §3) and its management (RFC 7592 §2), in this order:
//!
//! 1. limits (the door), and how often this address asks;
//! 2. the token: the initial access token, unless registration is open to everybody; or the registration access token of
//!    this very client;
//! 3. how often this address has registered a client, where it is open;
//! 4. the form, and the metadata ([`client_metadata`]);
//! 5. the record.
//!
//! | a registration that is open to everybody | so that |
//! |---|---|
//! | gives clients for people only, who are asked about each of them | no stranger gets a token for itself |
//! | counts what each address registers | nobody fills the store alone |
//! | is forgotten after a while without a grant | it does not fill with what nobody uses |
//!
//! Choice: of secrets only hashes are kept, so reading a registration does not tell the client secret (RFC 7592 §3 leaves it
//! to the server what it returns); the registration access token that it answers with is the one that came.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;

use super::client_metadata::{self, ClientMetadata, ClientPolicy, Source};
use super::clients::REGISTERED;
use super::metadata;
use super::{AuthorizationServer, Error, Refusal};
use crate::clock::Timestamp;
use crate::ident::ClientId;
use crate::jose::{self, Json, Members};
use crate::secret::{ClientSecretHash, RegistrationToken, base64url};
use crate::store::ClientRecord;
use crate::throttle::{Bucket, Counted, Limit, network};

/// The longest metadata, in bytes.
const METADATA_LIMIT: usize = 16 * 1024;

/// How often one address may register a client where registration is open.
const REGISTRATIONS: Limit = Limit { burst: 20, interval: Duration::from_mins(1) };

/// What only the server says about a client (RFC 7592 §2.2): a client must not send it back.
const OURS: [&str; 4] =
    ["registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"];

/// How clients may register themselves.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Who may.
    pub access: RegistrationAccess,
    /// What they may have.
    pub policy: ClientPolicy,
    /// How long a client of an open registration is kept that has no grant.
    pub unused: Duration,
}

/// Who may register clients.
#[derive(Clone, Debug)]
pub enum RegistrationAccess {
    /// Whoever has the initial access token (RFC 7591 §3).
    Token(ClientSecretHash),
    /// Everybody.
    Open,
}

/// A request to register a client, or about one, as the door hands it on.
pub struct RegistrationRequest<'a> {
    /// Every `Authorization` header.
    pub authorization: &'a [&'a str],
    /// The body, if it is said to be JSON.
    pub json: Option<&'a [u8]>,
    /// The address that it came from.
    pub address: IpAddr,
}

/// A client information response (RFC 7591 §3.2.1, RFC 7592 §3). It holds secrets, and has no `Debug`.
pub struct ClientInformation {
    /// `client_id`.
    pub client: ClientId,
    document: Members,
}

impl ClientInformation {
    /// The body of the answer.
    #[must_use]
    pub fn document(&self) -> &Members {
        &self.document
    }
}

impl AuthorizationServer {
    /// Registers a client (RFC 7591 §3.1).
    ///
    /// # Errors
    /// A [`Refusal`] of registrations, `Throttled` or `Unavailable`.
    pub async fn register(
        &self,
        request: &RegistrationRequest<'_>,
        now: Timestamp,
    ) -> Result<ClientInformation, Error> {
        let Some(registration) = &self.settings.registration else {
            return Err(Refusal::RegistrationTokenInvalid.into());
        };
        self.rates.count_address(request.address, now)?;
        match &registration.access {
            RegistrationAccess::Token(hash) => {
                if !hash.matches(bearer(request.authorization)?) {
                    return Err(Refusal::RegistrationTokenInvalid.into());
                }
            }
            RegistrationAccess::Open => self.count_registration(request.address, now)?,
        }
        let members = members(request.json)?;
        let metadata = ClientMetadata::judge(&members, &registration.policy, Source::Registration)?;
        let (token, secret) = (RegistrationToken::draw(&*self.entropy), self.secret_for(&metadata));
        let record = ClientRecord {
            id: format!("{REGISTERED}{}", base64url(&self.entropy.draw::<16>())).parse().expect("visible ASCII"),
            metadata: Json::Object(metadata.to_members()).to_string(),
            secret: secret.as_deref().map(ClientSecretHash::of),
            registration_token: token.digest(),
            registered_at: now,
            disposable_from: registration.disposable_from(&metadata, now),
        };
        self.store.register_client(&record).await?;
        Ok(self.information(&record, metadata.to_members(), (&token, secret)))
    }

    /// Tells a client what it has registered (RFC 7592 §2.1).
    ///
    /// # Errors
    /// [`Refusal::RegistrationTokenMissing`], [`Refusal::RegistrationTokenInvalid`], `Throttled` or `Unavailable`.
    pub async fn read_registration(
        &self,
        id: &str,
        request: &RegistrationRequest<'_>,
        now: Timestamp,
    ) -> Result<ClientInformation, Error> {
        let (record, token) = self.own_registration(id, request, now).await?;
        let members = jose::object(record.metadata.as_bytes()).map_err(|_| Refusal::RegistrationTokenInvalid)?;
        Ok(self.information(&record, members, (&token, None)))
    }

    /// Replaces what a client has registered (RFC 7592 §2.2): what it leaves out is gone.
    ///
    /// # Errors
    /// A [`Refusal`] of registrations, `Throttled` or `Unavailable`.
    pub async fn update_registration(
        &self,
        id: &str,
        request: &RegistrationRequest<'_>,
        now: Timestamp,
    ) -> Result<ClientInformation, Error> {
        let (earlier, token) = self.own_registration(id, request, now).await?;
        let registration = self.settings.registration.as_ref().ok_or(Refusal::RegistrationTokenInvalid)?;
        let members = members(request.json)?;
        check_update(&members, &earlier)?;
        let metadata = ClientMetadata::judge(&members, &registration.policy, Source::Registration)?;
        let kept = earlier.secret.clone().filter(|_| metadata.method.has_secret());
        let new_secret = if kept.is_none() { self.secret_for(&metadata) } else { None };
        let record = ClientRecord {
            metadata: Json::Object(metadata.to_members()).to_string(),
            secret: kept.or_else(|| new_secret.as_deref().map(ClientSecretHash::of)),
            disposable_from: registration.disposable_from(&metadata, earlier.registered_at),
            ..earlier
        };
        if !self.store.update_client(&record).await? {
            return Err(Refusal::RegistrationTokenInvalid.into()); // it was deleted meanwhile
        }
        let told = client_metadata::text(&members, "client_secret")?.filter(|_| record.secret.is_some());
        Ok(self.information(&record, metadata.to_members(), (&token, new_secret.or_else(|| told.map(str::to_owned)))))
    }

    /// Removes a client (RFC 7592 §2.3), and everything that it was granted with it; gives how many grants that were.
    ///
    /// # Errors
    /// As for [`Self::read_registration`].
    pub async fn delete_registration(
        &self,
        id: &str,
        request: &RegistrationRequest<'_>,
        now: Timestamp,
    ) -> Result<u64, Error> {
        let (record, _) = self.own_registration(id, request, now).await?;
        let ended = self.delete_client(&record.id, now).await?;
        Ok(ended.ok_or(Refusal::RegistrationTokenInvalid)?)
    }

    /// The registration of a client, for who has its token. That there is no such client reads the same.
    async fn own_registration(
        &self,
        id: &str,
        request: &RegistrationRequest<'_>,
        now: Timestamp,
    ) -> Result<(ClientRecord, RegistrationToken), Error> {
        self.rates.count_address(request.address, now)?;
        let invalid = Refusal::RegistrationTokenInvalid;
        let token: RegistrationToken = bearer(request.authorization)?.parse().map_err(|_| invalid)?;
        let id: ClientId = id.parse().map_err(|_| invalid)?;
        let record = self.store.registered_client(&id).await?;
        let record = record.filter(|record| record.registration_token == token.digest()).ok_or(invalid)?;
        Ok((record, token))
    }

    fn count_registration(&self, address: IpAddr, now: Timestamp) -> Result<(), Error> {
        let bucket = Bucket::of(&[b"registration", &network(address)], REGISTRATIONS);
        match self.tally.registrations.count(&[bucket], now)? {
            Counted::Free => Ok(()),
            Counted::TooMany { retry_after } => Err(Error::Throttled { retry_after }),
        }
    }

    /// A new secret, if the client authenticates with one: 256 bits.
    fn secret_for(&self, metadata: &ClientMetadata) -> Option<String> {
        metadata.method.has_secret().then(|| base64url(&self.entropy.draw::<32>()))
    }

    fn information(
        &self,
        record: &ClientRecord,
        registered: Members,
        (token, secret): (&RegistrationToken, Option<String>),
    ) -> ClientInformation {
        let mut document = registered;
        let mut put = |name: &str, value: Json| document.insert(name.to_owned(), value);
        put("client_id", record.id.as_str().into());
        put("client_id_issued_at", record.registered_at.seconds().into());
        put("registration_access_token", token.reveal().into());
        put("registration_client_uri", self.settings.url(&format!("{}{}", metadata::REGISTERED, record.id)).into());
        if let Some(secret) = secret {
            put("client_secret", secret.into());
            put("client_secret_expires_at", json!(0)); // never
        }
        ClientInformation { client: record.id.clone(), document }
    }
}

impl Registration {
    /// From when on a client is forgotten if nobody has let it in.
    fn disposable_from(&self, metadata: &ClientMetadata, registered_at: Timestamp) -> Option<Timestamp> {
        match self.access {
            RegistrationAccess::Open if metadata.is_for_people() => Some(registered_at + self.unused),
            RegistrationAccess::Open | RegistrationAccess::Token(_) => None,
        }
    }
}

/// The one bearer token of a request (RFC 6750 §2.1).
fn bearer<'a>(authorization: &[&'a str]) -> Result<&'a str, Refusal> {
    let one = match authorization {
        [] => return Err(Refusal::RegistrationTokenMissing),
        [one] => one,
        [_, ..] => return Err(Refusal::RegistrationTokenInvalid),
    };
    let (scheme, token) = one.split_once(' ').ok_or(Refusal::RegistrationTokenInvalid)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim_start_matches(' '))
    } else {
        Err(Refusal::RegistrationTokenInvalid)
    }
}

/// The metadata in a body.
fn members(json: Option<&[u8]>) -> Result<Members, Refusal> {
    let body = json.filter(|body| body.len() <= METADATA_LIMIT).ok_or(Refusal::RegistrationMalformed)?;
    jose::object(body).map_err(|_| Refusal::RegistrationMalformed)
}

/// RFC 7592 §2.2: an update is of the client that it names, and a client does not choose its secret.
fn check_update(members: &Members, earlier: &ClientRecord) -> Result<(), Refusal> {
    let wrong = Refusal::RegistrationUpdateWrong;
    let named = client_metadata::text(members, "client_id")? == Some(earlier.id.as_str());
    let secret = match (client_metadata::text(members, "client_secret")?, &earlier.secret) {
        (Some(secret), Some(hash)) => hash.matches(secret),
        (Some(_), None) => false,
        (None, _) => true,
    };
    let ours = OURS.iter().any(|name| members.contains_key(*name));
    if named && secret && !ours { Ok(()) } else { Err(wrong) }
}
