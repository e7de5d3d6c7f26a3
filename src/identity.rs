//! Who people are: the seam to "your existing login" (`login:` in the configuration).
//!
//! Invariant: a provider that cannot tell says [`Unavailable`], never "wrong password" and never "may come in".

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::ident::{Acr, Subject};
use crate::jose::Members;
use crate::store::{PersonRecord, Store, Unavailable};

mod attempts;
mod local;
mod oidc;
mod proxy;
mod upstream_fault;

pub use local::{LocalUsers, PasswordFault, UsersFault, hash_password, users_file_subjects};
pub use oidc::{ClaimNames, OidcProvider, OidcSettings, UpstreamIssuer};
pub use proxy::{Network, NetworkFault, ProxyHeaders};
pub use upstream_fault::UpstreamFault;

/// A person who may sign in.
#[derive(Clone, Eq, PartialEq)]
pub struct Person {
    /// `sub` of their tokens: stable, never given to anybody else.
    pub subject: Subject,
    /// What they are called on pages: a name, or else what they sign in with.
    pub name: String,
    /// Their e-mail address.
    pub email: Option<String>,
    /// What else is known about them, by the names of OpenID Connect Core §5.1 or others.
    pub claims: Members,
}

/// The subject only: names are nobody's business in a log.
impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Person({})", self.subject)
    }
}

/// What a person who wants to sign in has typed, and where from.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// The name.
    pub username: &'a str,
    /// The password.
    pub password: &'a str,
    /// The address that the connection came from.
    pub address: IpAddr,
    /// The time of the request.
    pub now: Timestamp,
}

impl fmt::Debug for Attempt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attempt(..)")
    }
}

/// What became of an attempt to sign in.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub enum Authentication {
    /// It is this person.
    Known(Person),
    /// Unknown name, wrong password or disabled: all alike, in answer and in time.
    Unknown,
    /// Too many attempts for this name or from this address; nothing was looked at.
    Throttled {
        /// How long to wait.
        retry_after: Duration,
    },
}

/// How people sign in. Exactly one way is configured; the authorization endpoint asks which.
#[derive(Clone)]
pub enum Login {
    /// A page of ours asks for a name and a password.
    Password(Arc<dyn Passwords>),
    /// An OpenID provider asks, to which browsers are sent.
    Upstream(Arc<dyn Upstream>),
    /// A proxy in front has asked already, and says in headers who it is.
    Proxy(Arc<dyn SignInProxy>),
    /// Somebody else's authorization endpoint asks, for consent too.
    Elsewhere,
}

/// Where people are looked up who have signed in before.
#[async_trait]
pub trait People: Send + Sync {
    /// Looks a person up again, at every redemption too: `None` if there is no such person, or one who may not sign in now.
    async fn person(&self, subject: &Subject) -> Result<Option<Person>, Unavailable>;
}

/// Where passwords are known.
#[async_trait]
pub trait Passwords: Send + Sync {
    /// Checks a name and a password.
    async fn authenticate(&self, attempt: Attempt<'_>) -> Result<Authentication, Unavailable>;
}

/// Somebody whom another party has signed in, in its words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Vouched {
    /// Who it is.
    pub person: Person,
    /// When they signed in there, if that was said.
    pub auth_time: Option<Timestamp>,
    /// How well they were recognised there, if that was said.
    pub acr: Option<Acr>,
}

/// An OpenID provider at which people sign in (OpenID Connect Core §3.1).
#[async_trait]
pub trait Upstream: Send + Sync {
    /// Where a browser is sent to sign in: an authentication request (OpenID Connect Core §3.1.2.1).
    async fn request(&self, request: &UpstreamRequest<'_>, now: Timestamp) -> Result<String, Unavailable>;

    /// Who has signed in, by the answer that the browser has brought back (OpenID Connect Core §3.1.2.5).
    async fn vouched(&self, answer: &UpstreamAnswer<'_>, now: Timestamp) -> Result<Vouched, UpstreamError>;
}

/// What an authentication request says.
#[derive(Clone, Copy)]
pub struct UpstreamRequest<'a> {
    /// Where the answer goes.
    pub redirect_uri: &'a str,
    /// `state`, to come back as it is.
    pub state: &'a str,
    /// `nonce`, to come back in the ID token.
    pub nonce: &'a str,
    /// `code_challenge`, S256 (RFC 7636 §4.2).
    pub challenge: &'a str,
    /// What else is asked for, by the names of OpenID Connect Core §3.1.2.1.
    pub wishes: &'a [(&'static str, String)],
}

/// The answer to an authentication request, and what the request was.
#[derive(Clone, Copy)]
pub struct UpstreamAnswer<'a> {
    /// `code`.
    pub code: Option<&'a str>,
    /// `error`.
    pub error: Option<&'a str>,
    /// `iss` (RFC 9207).
    pub iss: Option<&'a str>,
    /// Where the answer went.
    pub redirect_uri: &'a str,
    /// The `nonce` of the request.
    pub nonce: &'a str,
    /// What its `code_challenge` was made from.
    pub verifier: &'a str,
}

/// Why nobody is vouched for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UpstreamError {
    /// The provider, or the person there, said no; or what it said does not hold.
    #[error("refused: {0}")]
    Refused(UpstreamFault),
    /// The provider does not answer.
    #[error("unavailable")]
    Unavailable(#[from] Unavailable),
}

impl From<UpstreamFault> for UpstreamError {
    fn from(fault: UpstreamFault) -> Self {
        Self::Refused(fault)
    }
}

/// A proxy in front that has signed people in.
pub trait SignInProxy: Send + Sync {
    /// Who it says that the person is; `None` if it says nothing, or if whoever sent the request is no such proxy.
    ///
    /// # Errors
    /// [`AssertionFault`].
    fn vouched(&self, from: IpAddr, headers: &dyn Headers) -> Result<Option<Vouched>, AssertionFault>;
}

/// The headers of a request.
pub trait Headers: Send + Sync {
    /// Every value of a header, as often as it occurs. One that is not visible ASCII reads as empty.
    fn values(&self, name: &str) -> Vec<&str>;
}

/// What a proxy says cannot be taken: a header is there twice, is empty, or is not what it should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a header of the sign-in proxy is repeated, empty or malformed")]
pub struct AssertionFault;

/// The people whom others vouch for, as they were last seen.
pub struct RememberedPeople(pub Arc<dyn Store>);

#[async_trait]
impl People for RememberedPeople {
    async fn person(&self, subject: &Subject) -> Result<Option<Person>, Unavailable> {
        let known = self.0.person(subject).await?.filter(|known| !known.disabled);
        Ok(known.map(|PersonRecord { subject, name, email, claims, .. }| Person { subject, name, email, claims }))
    }
}

/// Nobody is known: for an installation in which no client lets people sign in.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

#[async_trait]
impl Passwords for Nobody {
    async fn authenticate(&self, _: Attempt<'_>) -> Result<Authentication, Unavailable> {
        Ok(Authentication::Unknown)
    }
}

#[async_trait]
impl People for Nobody {
    async fn person(&self, _: &Subject) -> Result<Option<Person>, Unavailable> {
        Ok(None)
    }
}
