//! Who is signed in with a browser, and for how long.
//!
//! A session ends when nobody uses it (`tokens.session_idle`), when its time is over (`tokens.session`), when its person
//! signs out or may no longer sign in. Signing in again, asked for or not, gives it a new name. Where a proxy in front
//! signs people in there is no session of ours: each request is by whom the proxy says.

use std::time::Duration;

use super::Browser;
use crate::audit;
use crate::clock::Timestamp;
use crate::ident::{Acr, Subject};
use crate::identity::{Login, Person, SignInProxy, Vouched};
use crate::oauth::{AuthorizationServer, Error, Refusal};
use crate::secret::{Digest, SessionKind, SessionToken, sha256_parts};
use crate::store::{PersonRecord, SessionId, SessionRecord, Unavailable};

/// How long what is known of somebody whom a proxy vouches for is not written down again if it stays the same.
const SEEN_EVERY: Duration = Duration::from_hours(1);

/// A use of a session moves its idle limit only if that gains this part of it: not every request is worth a write.
const WORTH_A_WRITE: u32 = 16;

/// A person who is signed in.
pub(in crate::oauth) struct SignedIn {
    pub(in crate::oauth) session: Digest<SessionKind>,
    /// The name of the session, if it is ours and may have clients.
    pub(in crate::oauth) id: Option<SessionId>,
    pub(in crate::oauth) person: Person,
    pub(in crate::oauth) auth_time: Timestamp,
    /// Whether `auth_time` is when the person signed in, and not merely when we heard of it.
    pub(in crate::oauth) is_dated: bool,
    pub(in crate::oauth) acr: Option<Acr>,
}

/// Why a session ends before its time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::oauth) enum SessionEnd {
    /// Its person has signed out.
    SignedOut,
    /// Its person has ended all of theirs.
    SignedOutEverywhere,
    /// Its person has chosen another account.
    AccountSwitched,
    /// Another person has signed in with the same browser.
    OtherPerson,
}

impl SessionEnd {
    /// The name in logs.
    const fn name(self) -> &'static str {
        match self {
            Self::SignedOut => "signed_out",
            Self::SignedOutEverywhere => "signed_out_everywhere",
            Self::AccountSwitched => "account_switched",
            Self::OtherPerson => "other_person",
        }
    }
}

/// A session that ends.
pub(super) struct Ending {
    digest: Digest<SessionKind>,
    id: Option<SessionId>,
    subject: Subject,
}

impl From<SessionRecord> for Ending {
    fn from(SessionRecord { digest, id, subject, .. }: SessionRecord) -> Self {
        Self { digest, id: Some(id), subject }
    }
}

impl From<SignedIn> for Ending {
    fn from(SignedIn { session, id, person, .. }: SignedIn) -> Self {
        Self { digest: session, id, subject: person.subject }
    }
}

fn log_end(subject: &Subject, browser: Browser<'_>, why: SessionEnd) {
    let by = why.name();
    tracing::info!(
        target: audit::TARGET,
        event = audit::SESSION_ENDED,
        %subject,
        address = %browser.address,
        by,
        "a session of `{subject}` has ended: {by}"
    );
}

impl AuthorizationServer {
    /// Who is signed in with this browser and may still be.
    pub(in crate::oauth) async fn signed_in(
        &self,
        browser: Browser<'_>,
        now: Timestamp,
    ) -> Result<Option<SignedIn>, Error> {
        match &self.login {
            Login::Proxy(proxy) => self.signed_in_by(&**proxy, browser, now).await,
            Login::Password(_) | Login::Upstream(_) | Login::Elsewhere => self.signed_in_here(browser, now).await,
        }
    }

    /// By the session of the browser.
    async fn signed_in_here(&self, browser: Browser<'_>, now: Timestamp) -> Result<Option<SignedIn>, Error> {
        let Some(token) = browser.session.and_then(|token| token.parse::<SessionToken>().ok()) else {
            return Ok(None);
        };
        let session = token.digest();
        let Some(record) = self.store.session(session, now).await? else { return Ok(None) };
        let Some(person) = self.check_person(&record.subject).await? else { return Ok(None) };
        self.keep_alive(&record, now).await?;
        let is_dated = match self.login {
            Login::Password(_) => true,
            // What an upstream provider has not been asked, it need not have said.
            Login::Upstream(_) | Login::Proxy(_) | Login::Elsewhere => false,
        };
        Ok(Some(SignedIn {
            session,
            id: Some(record.id),
            person,
            auth_time: record.auth_time,
            is_dated,
            acr: record.acr,
        }))
    }

    /// By the word of a proxy. There is nothing to remember but the person, for tokens that are refreshed without a browser.
    async fn signed_in_by(
        &self,
        proxy: &dyn SignInProxy,
        browser: Browser<'_>,
        now: Timestamp,
    ) -> Result<Option<SignedIn>, Error> {
        let vouched = proxy.vouched(browser.peer, browser.headers).map_err(|_| Refusal::ProxyHeaderMalformed)?;
        let Some(Vouched { person, auth_time, acr }) = vouched else { return Ok(None) };
        if self.is_name_of_client(&person.subject) {
            return Err(Refusal::ProxyHeaderMalformed.into()); // one could be taken for the other (RFC 9700 §4.15)
        }
        let person = self.remember(person, now).await?.ok_or(Refusal::PersonDisabled)?;
        // Whoever signs in next, be it the same person again, is not who saw the page before.
        let signed_in_at = auth_time.unwrap_or_default().millis().to_be_bytes();
        let session = sha256_parts(&[b"session of a proxy", person.subject.as_str().as_bytes(), &signed_in_at]);
        Ok(Some(SignedIn {
            session: Digest::from_bytes(session),
            id: None,
            person,
            is_dated: auth_time.is_some(),
            auth_time: auth_time.unwrap_or(now).min(now),
            acr,
        }))
    }

    /// Moves the idle limit of a session that is used.
    async fn keep_alive(&self, record: &SessionRecord, now: Timestamp) -> Result<(), Unavailable> {
        let idle = self.settings.lifetimes.session_idle;
        let ends = (now + idle).min(record.expires_at);
        if ends.since(record.idle_expires_at) < idle / WORTH_A_WRITE {
            return Ok(());
        }
        self.store.extend_session(record.digest, ends).await
    }

    /// Opens a session under a new name, so that nobody knows it who knew the old one, and ends the old one.
    ///
    /// Choice: a provider or a proxy that does not say when the person signed in (`auth_time`) is taken to have asked just
    /// now; a request that depends on it (`max_age`, `prompt=login`) is not.
    pub(super) async fn open_session(
        &self,
        Vouched { person, auth_time, acr }: Vouched,
        token: &SessionToken,
        (browser, now): (Browser<'_>, Timestamp),
    ) -> Result<SignedIn, Error> {
        let earlier = match browser.session.and_then(|token| token.parse::<SessionToken>().ok()) {
            Some(token) => self.store.session(token.digest(), now).await?,
            None => None,
        };
        // Somebody who signs in again goes on: clients that were signed in before still know the session by its name.
        let same = earlier.as_ref().filter(|earlier| earlier.subject == person.subject);
        let id = same.map_or_else(|| SessionId(self.entropy.draw()), |earlier| earlier.id);
        let lifetimes = &self.settings.lifetimes;
        let expires_at = now + lifetimes.session;
        let record = SessionRecord {
            digest: token.digest(),
            id,
            subject: person.subject.clone(),
            auth_time: auth_time.unwrap_or(now),
            acr,
            idle_expires_at: expires_at.min(now + lifetimes.session_idle),
            expires_at,
        };
        self.store.open_session(&record).await?;
        tracing::info!(
            target: audit::TARGET,
            event = audit::SESSION_OPENED,
            subject = %record.subject,
            address = %browser.address,
            "`{}` has signed in", record.subject
        );
        if let Some(earlier) = earlier {
            if earlier.subject == record.subject {
                self.store.end_session(earlier.digest).await?; // it goes on under another name
            } else {
                self.end_one_session(&earlier.into(), SessionEnd::OtherPerson, (browser, now)).await?;
            }
        }
        let SessionRecord { digest: session, auth_time, acr, .. } = record;
        Ok(SignedIn { session, id: Some(id), person, auth_time, is_dated: true, acr })
    }

    /// Records the session of somebody who has signed in elsewhere.
    pub(in crate::oauth) async fn record_session(
        &self,
        signed_in: &SignedIn,
        expires_at: Timestamp,
    ) -> Result<(), Unavailable> {
        let SignedIn { session, person, auth_time, acr, .. } = signed_in;
        let record = SessionRecord {
            digest: *session,
            id: SessionId(self.entropy.draw()),
            subject: person.subject.clone(),
            auth_time: *auth_time,
            acr: acr.clone(),
            idle_expires_at: expires_at,
            expires_at,
        };
        self.store.open_session(&record).await
    }

    /// Ends the session of a browser, if it has one.
    pub(in crate::oauth) async fn end_session(
        &self,
        browser: Browser<'_>,
        why: SessionEnd,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(token) = browser.session.and_then(|token| token.parse::<SessionToken>().ok()) else { return Ok(()) };
        match self.store.session(token.digest(), now).await? {
            Some(record) => self.end_one_session(&record.into(), why, (browser, now)).await,
            None => Ok(()),
        }
    }

    /// Ends a session. Its clients are told first: if the store fails in between, the person is still signed in here and can
    /// try again.
    pub(super) async fn end_one_session(
        &self,
        ending: &Ending,
        why: SessionEnd,
        (browser, now): (Browser<'_>, Timestamp),
    ) -> Result<(), Error> {
        if let Some(id) = ending.id {
            self.tell_clients_of(id, now).await?;
        }
        self.store.end_session(ending.digest).await?;
        log_end(&ending.subject, browser, why);
        Ok(())
    }

    /// Ends all sessions of a person.
    pub(in crate::oauth) async fn end_sessions_of(
        &self,
        subject: &Subject,
        browser: Browser<'_>,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.tell_clients_of_person(subject, now).await?;
        self.store.end_sessions_of(subject).await?;
        log_end(subject, browser, SessionEnd::SignedOutEverywhere);
        Ok(())
    }

    /// Records somebody whom another party vouches for; `None` if they are disabled.
    ///
    /// They are needed as long as a session that begins now, and a grant or a device that begins in its last moment.
    pub(super) async fn remember(&self, person: Person, now: Timestamp) -> Result<Option<Person>, Unavailable> {
        let lifetimes = &self.settings.lifetimes;
        let needed = SEEN_EVERY + lifetimes.session + lifetimes.transaction + lifetimes.device_code;
        let record = PersonRecord {
            subject: person.subject.clone(),
            name: person.name.clone(),
            email: person.email.clone(),
            claims: person.claims.clone(),
            disabled: false,
            last_seen: now,
            needed_until: now + needed + lifetimes.refresh_token,
        };
        if let Some(known) = self.store.person(&person.subject).await? {
            let same = PersonRecord { last_seen: known.last_seen, needed_until: known.needed_until, ..record.clone() };
            if known.disabled {
                return Ok(None);
            }
            if known == same
                && now.since(known.last_seen) < SEEN_EVERY
                && record.needed_until < known.needed_until + SEEN_EVERY
            {
                return Ok(Some(person));
            }
        }
        Ok(self.store.remember_person(&record).await?.then_some(person))
    }
}
