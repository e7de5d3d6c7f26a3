//! Other issuers: whose tokens count here although they are not ours. What they sign with is found by discovery (RFC 8414,
//! OpenID Connect Discovery) or at a `jwks_uri`, and kept at hand.
//!
//! Invariant: whoever judges a token never waits for the network, and whether an issuer can be reached decides nothing but
//! whether its keys are known. A process starts without it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::clock::{Clock, Timestamp};
use crate::current::Current;
use crate::fetch::{FetchFault, FetchLimits, FetchUrl, Fetcher, Got, Keeping, Kept};
use crate::ident::IssuerName;
use crate::jose::{Json, PublicKey, object};
use crate::token::{KeyLookup, KeysFault, Renew, TokenProfile};
use crate::unavailable::Unavailable;

mod credential;
mod discovery;
mod introspection;
mod questions;
mod status_lists;

pub use credential::{Authenticating, ClientCredential};
use discovery::Discovery;
pub use introspection::{Introspection, IntrospectionSettings};
pub use questions::{ANSWERS_KEPT, Asked, IN_VAIN, IN_VAIN_STORE, QUESTIONS, QuestionLimits, Questions};
pub use status_lists::{LISTS_KEPT, StatusLists};

/// How many keys of a set are looked at.
pub const KEYS_LIMIT: usize = 100;

/// How many requests wait at once for newer keys of one issuer: anybody can send tokens that name a key which is not there.
pub const WAITING_FOR_KEYS: usize = 256;

/// How often it is looked whether something must be fetched.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What an operator decides about another issuer.
#[derive(Debug, PartialEq)]
pub struct IssuerSettings {
    /// Who it is, byte for byte: what `iss` of its tokens must hold.
    pub name: IssuerName,
    /// Where its keys are.
    pub keys: KeySource,
    /// What its tokens look like.
    pub profile: TokenProfile,
    /// How it is asked about tokens that are no JWTs; they do not count if it is not.
    pub introspection: Option<Arc<IntrospectionSettings>>,
    /// How long a status list of it counts that cannot be fetched again.
    pub status_list_stale: Duration,
    /// The authorities of its servers, in PEM, beside those that count anyway.
    pub authorities: Vec<u8>,
    /// What a request to it may cost.
    pub limits: FetchLimits,
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeySource {
    /// Where its metadata says.
    Discovery,
    /// Here; its metadata is not asked for.
    JwksUri(FetchUrl),
    /// In a file, which may be replaced.
    File(PathBuf),
}

/// What a set of keys looks like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyForm {
    /// A JWK set (RFC 7517 §5).
    Jwks,
    /// A SPIFFE bundle: a JWK set whose keys for JWT-SVIDs are marked as such (SPIFFE Trust Domain and Bundle §4).
    SpiffeBundle,
}

impl KeyForm {
    /// The keys of a set that we can use.
    fn read(self, body: &[u8]) -> Option<Vec<PublicKey>> {
        match self {
            Self::Jwks => key_set(body),
            Self::SpiffeBundle => bundle(body),
        }
    }
}

/// The keys of another issuer.
pub struct IssuerKeys {
    name: String,
    kept: Arc<Kept<Vec<PublicKey>>>,
    /// Whether they are in a file.
    in_file: bool,
    /// Room for those who wait for newer ones.
    waiting: Semaphore,
}

/// What hears that keys were withdrawn.
pub type Withdrawn = Arc<dyn Fn() + Send + Sync>;

impl IssuerKeys {
    /// The keys of this issuer, of which nothing is known yet. `withdrawn` is told when one is there no longer: what was
    /// verified with it must not count any more.
    #[must_use]
    pub fn new(name: &str, (source, form): (&KeySource, KeyForm), fetcher: &Fetcher, withdrawn: Withdrawn) -> Self {
        let issuer = name.to_owned();
        let replaced = move |old: &Vec<PublicKey>, new: &Vec<PublicKey>| {
            let stays = |key: &PublicKey| new.iter().any(|one| one.thumbprint() == key.thumbprint());
            if !old.iter().all(stays) {
                tracing::info!(issuer, "an issuer has withdrawn a key");
                withdrawn();
            }
        };
        let fetcher = fetcher.clone();
        let replaced = Some(Box::new(replaced) as Box<_>);
        let discovery = match source {
            KeySource::Discovery => Discovery::of(name),
            KeySource::JwksUri(url) => Discovery::done(name, url.clone()),
            KeySource::File(path) => {
                let path = path.clone();
                let kept = Kept::from_source(path.display().to_string(), OF_FILES, replaced, move |_| {
                    let path = path.clone();
                    Box::pin(async move { read(&path, form).await })
                });
                return Self::kept(name, kept, true);
            }
        };
        let discovery = Arc::new(discovery);
        let kept = Kept::from_source(name.to_owned(), Keeping::default(), replaced, move |now| {
            let (discovery, fetcher) = (Arc::clone(&discovery), fetcher.clone());
            Box::pin(async move { discovery.key_set(&fetcher, form, now).await })
        });
        Self::kept(name, kept, false)
    }

    fn kept(name: &str, kept: Arc<Kept<Vec<PublicKey>>>, in_file: bool) -> Self {
        Self { name: name.to_owned(), kept, in_file, waiting: Semaphore::new(WAITING_FOR_KEYS) }
    }

    /// Whose keys they are.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When they were fetched last; `None` if they never were.
    #[must_use]
    pub fn fetched_at(&self) -> Option<Timestamp> {
        self.kept.fetched_at()
    }

    /// How often they were fetched, and how often that failed.
    #[must_use]
    pub fn fetches(&self) -> (u64, u64) {
        self.kept.fetches()
    }

    /// Whether they could not be fetched when that was last tried.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.kept.is_failing()
    }

    /// Reads the keys again if they are in a file, which somebody may have changed.
    pub async fn read_file_again(&self, now: Timestamp) {
        if self.in_file {
            self.kept.fetch_again(now).await;
        }
    }
}

impl KeyLookup for IssuerKeys {
    fn keys(&self, kid: Option<&str>, now: Timestamp) -> Result<Vec<PublicKey>, KeysFault> {
        let keys = self.kept.at_hand(now).ok_or_else(|| self.missing(now))?;
        let named = |key: &&PublicKey| kid.is_none() || key.kid() == kid;
        let named: Vec<_> = keys.iter().filter(named).cloned().collect();
        match () {
            () if !named.is_empty() => Ok(named),
            () if self.kept.may_be_renewed(now) => Err(KeysFault::Outdated),
            // It may be one of the keys that could not be fetched.
            () if self.kept.is_failing() => Err(Unavailable::Down.into()),
            () => Ok(named),
        }
    }

    fn check_fresh(&self, now: Timestamp) -> Result<(), KeysFault> {
        if self.kept.at_hand(now).is_some() { Ok(()) } else { Err(self.missing(now)) }
    }
}

#[async_trait]
impl Renew for IssuerKeys {
    /// Choice: a request whose token names a key that is not at hand waits until the keys were fetched again, two seconds at
    /// most (OpenID Connect Core §10.1.1 says that they are fetched, and not who waits). So an issuer may sign with a key at
    /// the moment at which it publishes it. One fetch is for all who wait, and there is one every ten seconds for that
    /// reason; whoever finds [`WAITING_FOR_KEYS`] others there is answered at once that we cannot tell.
    async fn renew(&self, now: Timestamp) {
        let Ok(_room) = self.waiting.try_acquire() else { return };
        self.kept.renew(now).await;
    }
}

impl IssuerKeys {
    /// What it means that there are no keys.
    fn missing(&self, now: Timestamp) -> KeysFault {
        if self.kept.may_be_renewed(now) { KeysFault::Outdated } else { Unavailable::Down.into() }
    }
}

/// The issuers whose keys are looked after, which may become others.
pub type LookedAfter = Arc<Current<Vec<Arc<IssuerKeys>>>>;

/// The status lists that are looked after, which may become others.
pub type ListsLookedAfter = Arc<Current<Vec<Arc<StatusLists>>>>;

/// Keeps keys and status lists fresh for as long as it is polled: those of an issuer that nobody has asked for in a while, too.
pub async fn look_after((issuers, lists): (LookedAfter, ListsLookedAfter), clock: Arc<dyn Clock>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut waits = JoinSet::new();
    loop {
        ticks.tick().await;
        while waits.try_join_next().is_some() {}
        let now = clock.now();
        for issuer in issuers.get().iter() {
            issuer.kept.look_after(now);
        }
        for lists in lists.get().iter() {
            lists.look_after(&clock, &mut waits);
        }
    }
}

/// How long a file is good until it is read again.
const OF_FILES: Keeping =
    Keeping { fresh: (Duration::from_secs(30), Duration::from_secs(30)), stale: Duration::from_hours(24) };

/// Reads a set of keys from a file.
async fn read(path: &Path, form: KeyForm) -> Result<Got<Vec<PublicKey>>, FetchFault> {
    let size = tokio::fs::metadata(path).await.map_err(|_| FetchFault::NoAnswer)?.len();
    if size > FetchLimits::default().size as u64 {
        return Err(FetchFault::TooLarge);
    }
    let body = tokio::fs::read(path).await.map_err(|_| FetchFault::NoAnswer)?;
    Ok(Got { content: form.read(&body).ok_or(FetchFault::Unfit)?, max_age: None })
}

/// The keys of a SPIFFE bundle that verify JWT-SVIDs; those for certificates have another use.
fn bundle(body: &[u8]) -> Option<Vec<PublicKey>> {
    let set = object(body).ok()?;
    let keys = set.get("keys")?.as_array()?.iter().take(KEYS_LIMIT);
    let of_tokens = keys.filter_map(|key| {
        let mut key = key.as_object().filter(|key| key.get("use").and_then(Json::as_str) == Some("jwt-svid"))?.clone();
        key.insert("use".to_owned(), "sig".into()); // as everybody else calls it
        PublicKey::from_jwk(&key).ok()
    });
    Some(of_tokens.collect::<Vec<_>>()).filter(|keys| !keys.is_empty())
}

/// The keys of a set (RFC 7517 §5) that we can use. The others are of no concern, as issuers publish keys for many purposes;
/// but a set without any would put out every token, and is no set.
#[must_use]
pub fn key_set(body: &[u8]) -> Option<Vec<PublicKey>> {
    let set = object(body).ok()?;
    let keys = set.get("keys")?.as_array()?.iter().take(KEYS_LIMIT);
    let keys: Vec<_> = keys.filter_map(|key| PublicKey::from_jwk(key.as_object()?).ok()).collect();
    Some(keys).filter(|keys| !keys.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fetch::{FetchLimits, Reach, Roots};
    use crate::jose::{Algorithm, SigningKey};

    #[tokio::test]
    async fn who_finds_too_many_others_does_not_wait_for_keys() {
        use std::pin::pin;
        use std::task::{Context, Waker};

        let fetcher = Fetcher::new(Reach::Anywhere, FetchLimits::default(), &Roots::default()).expect("a fetcher");
        let nobody = KeySource::JwksUri("http://127.0.0.1:9/jwks".parse().expect("a URL"));
        let keys = IssuerKeys::new("https://acme.example", (&nobody, KeyForm::Jwks), &fetcher, Arc::new(|| {}));
        let now = Timestamp::from_seconds(1_000);
        let mut context = Context::from_waker(Waker::noop());
        let mut waiting: Vec<_> = (0..WAITING_FOR_KEYS).map(|_| Box::pin(keys.renew(now))).collect();
        assert!(waiting.iter_mut().all(|one| one.as_mut().poll(&mut context).is_pending()));
        assert!(pin!(keys.renew(now)).poll(&mut context).is_ready());
        waiting.pop();
        assert!(pin!(keys.renew(now)).poll(&mut context).is_pending());
    }

    #[test]
    fn of_a_set_the_keys_count_that_can_verify() {
        let good = SigningKey::generate(Algorithm::Es256).expect("a key").published_jwk();
        let mut encrypts = good.clone();
        encrypts["use"] = "enc".into();
        let mut private = good.clone();
        private["d"] = "AQAB".into();
        let symmetric = json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "1", "alg": "HS256" });
        let other_curve = json!({ "kty": "EC", "crv": "secp256k1", "x": "AQAB", "y": "AQAB" });
        let of = |keys: &[&serde_json::Value]| key_set(json!({ "keys": keys }).to_string().as_bytes());
        let usable = of(&[&symmetric, &encrypts, &private, &other_curve, &json!(7), &good]).expect("a set");
        assert_eq!(usable.iter().map(PublicKey::kid).collect::<Vec<_>>(), [good["kid"].as_str()]);
        for none in [&[][..], &[&symmetric], &[&private, &other_curve]] {
            assert!(of(none).is_none(), "{none:?}");
        }
        for garbage in ["", "[]", "{}", r#"{"keys":{}}"#, "<html>"] {
            assert!(key_set(garbage.as_bytes()).is_none(), "{garbage}");
        }
    }
}
