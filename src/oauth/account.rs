//! The page at which people see what they have allowed, and end it.
//!
//! 1. `GET /account` shows the grants of whoever is signed in; others are sent to the authorization endpoint first, as
//!    `/activate` does it ([`first_party`](super::first_party)).
//! 2. `POST /account` ends one grant, or all sessions of the person, with or without all of their grants.
//!
//! Invariant: a person sees and ends nothing but what is their own, while they are signed in with the session to which
//! the page was shown. A grant that ends takes its refresh tokens with it at once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::authorization_details::DetailShown;
use super::authorize::SignedIn;
use super::first_party::{Errand, Returned, open, seal};
use super::{Answer, AuthorizationServer, Browser, Cookie, Error, Form, Parameters, Refusal, View, Words};
use crate::clock::Timestamp;
use crate::ident::ClientId;
use crate::secret::{BrowserToken, base64url, from_base64url};
use crate::store::{EndedBy, Grant, GrantHandle, GrantOrigin, Unavailable};

/// How many grants the page shows. Those begun before the newest of so many are shown when newer ones have ended.
pub const GRANTS_SHOWN: u32 = 100;

/// What the account page shows. Texts are as others supplied them, not escaped yet.
pub struct Account {
    /// The hidden fields.
    pub form: Form,
    /// Who is signed in.
    pub person: String,
    /// What they have allowed, the newest first.
    pub grants: Vec<AllowedClient>,
    /// Whether there are more than are shown.
    pub more: bool,
    /// What has just been done.
    pub notice: Option<AccountNotice>,
}

/// A grant, in words.
pub struct AllowedClient {
    /// What names it in the form that ends it.
    pub grant: String,
    /// `client_name`, or the `client_id` of a client that is not registered any more.
    pub client_name: String,
    /// What each scope means, in the operator's words.
    pub permissions: Vec<Words>,
    /// What it is about in detail (RFC 9396).
    pub details: Vec<DetailShown>,
    /// Where it began.
    pub began: Began,
    /// How long ago.
    pub age: Duration,
    /// How long ago it was last used.
    pub unused_for: Duration,
}

/// Where a grant began.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Began {
    /// In a browser.
    Browser,
    /// At a device.
    Device {
        /// The address that the device asked from.
        address: IpAddr,
    },
    /// Nobody knows.
    Unknown,
}

/// What has just been done at the account page.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AccountNotice {
    /// The grant of this client has ended.
    Ended {
        /// `client_name`.
        client_name: String,
    },
    /// It had ended before.
    GoneAlready,
}

/// What the forms of an account page hold, sealed for one browser.
#[derive(Deserialize, Serialize)]
struct Shown {
    /// The session of the person to whom the page was shown.
    session: [u8; 32],
}

impl AuthorizationServer {
    /// Shows the account of whoever is signed in, and has others sign in.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn account(&self, browser: Browser<'_>, now: Timestamp) -> Result<Answer, Error> {
        let known = browser.token.and_then(|token| token.parse().ok());
        let is_new = known.is_none();
        let token = known.unwrap_or_else(|| BrowserToken::draw(&*self.entropy));
        let answer = match self.signed_in(browser, now).await? {
            Some(signed_in) => self.show_account(&signed_in, None, &token, now).await?,
            None => self.sign_in_first(Errand::Account, &[], &token, now),
        };
        Ok(if is_new { answer.with(Cookie::Browser(token)) } else { answer })
    }

    /// Takes a browser back from the authorization endpoint: `query` holds the response (RFC 6749 §4.1.2).
    ///
    /// # Errors
    /// A [`Refusal`] of the query, or `Unavailable`.
    pub async fn account_callback(&self, query: &str, browser: Browser<'_>, now: Timestamp) -> Result<Answer, Error> {
        let query = Parameters::parse(query)?;
        let token = browser.token.and_then(|token| token.parse::<BrowserToken>().ok());
        let token = token.ok_or(Refusal::TransactionUnknown)?;
        match self.returned(&query, (&token, browser), now).await? {
            // To an address that may be reloaded and kept.
            Some(Returned { errand: Errand::Account, signed_in, begins }) => {
                let answer = Answer::new(View::ToAccount).with(Cookie::ErrandEnded);
                self.keep_session(answer, (&signed_in, begins), now).await
            }
            Some(Returned { errand: Errand::Activate { .. }, .. }) | None => Err(Refusal::TransactionUnknown.into()),
        }
    }

    /// Hears the forms of the account page: `decision` is `end` (with `grant`) or `sign_out_everywhere` (with
    /// `end_grants`, if everything that was allowed is to end too).
    ///
    /// # Errors
    /// A [`Refusal`] of the form, or `Unavailable`.
    pub async fn change_account(
        &self,
        form: &Parameters,
        browser: Browser<'_>,
        now: Timestamp,
    ) -> Result<Answer, Error> {
        let token = self.check_form(form, browser, now)?;
        let shown = form.get("transaction").and_then(|text| open::<Shown>(text, &self.account_pages.at(now), &token));
        let signed_in = self.signed_in(browser, now).await?;
        let shown_to =
            |signed_in: &SignedIn| shown.as_ref().is_some_and(|shown| shown.session == *signed_in.session.as_bytes());
        let signed_in = signed_in.filter(shown_to).ok_or(Refusal::TransactionUnknown)?;
        match form.get("decision") {
            Some("end") => {
                let notice = self.end_own_grant(form.get("grant").unwrap_or_default(), &signed_in, now).await?;
                self.show_account(&signed_in, Some(notice), &token, now).await
            }
            Some("sign_out_everywhere") => {
                let subject = &signed_in.person.subject;
                // Grants first: if the store fails in between, the person is still signed in and can try again.
                if form.get("end_grants").is_some() {
                    let ended = self.end_grants_of(subject, EndedBy::Revoked, now).await?;
                    tracing::info!(%subject, ended, "a person has ended all grants");
                }
                self.end_sessions_of(subject, browser, now).await?;
                Ok(Answer::new(View::SignedOut).with(Cookie::SessionEnded))
            }
            Some(_) | None => Err(Refusal::DecisionMissing.into()),
        }
    }

    /// Ends a grant if it lives and is the person's own; one of somebody else is as good as none.
    async fn end_own_grant(&self, name: &str, by: &SignedIn, now: Timestamp) -> Result<AccountNotice, Error> {
        let handle = from_base64url(name).and_then(|bytes| bytes.try_into().ok()).map(GrantHandle);
        let grant = match handle {
            Some(handle) => self.store.grant(handle).await?,
            None => None,
        };
        let own = |grant: &Grant| grant.subject == by.person.subject && grant.is_live(now);
        let Some(grant) = grant.filter(own) else { return Ok(AccountNotice::GoneAlready) };
        self.end_grant(&grant, EndedBy::Revoked, now).await?;
        Ok(AccountNotice::Ended { client_name: self.client_name(&grant.client_id).await? })
    }

    async fn show_account(
        &self,
        by: &SignedIn,
        notice: Option<AccountNotice>,
        token: &BrowserToken,
        now: Timestamp,
    ) -> Result<Answer, Error> {
        let mut grants = self.store.grants_of(&by.person.subject, now, GRANTS_SHOWN + 1).await?;
        let more = grants.len() > GRANTS_SHOWN as usize;
        grants.truncate(GRANTS_SHOWN as usize);
        let mut names = HashMap::new();
        for grant in &grants {
            if !names.contains_key(&grant.client_id) {
                names.insert(grant.client_id.clone(), self.client_name(&grant.client_id).await?);
            }
        }
        let shown = Shown { session: *by.session.as_bytes() };
        Ok(Answer::new(View::Account(Account {
            form: Form {
                transaction: seal(&shown, &self.account_pages.at(now), token),
                csrf_token: self.forms.csrf_token(token, now),
            },
            person: by.person.name.clone(),
            grants: grants.iter().map(|grant| self.allowed(grant, &names, now)).collect(),
            more,
            notice,
        })))
    }

    fn allowed(&self, grant: &Grant, names: &HashMap<ClientId, String>, now: Timestamp) -> AllowedClient {
        let name = names.get(&grant.client_id).cloned();
        AllowedClient {
            grant: base64url(&grant.handle.0),
            client_name: name.unwrap_or_else(|| grant.client_id.to_string()),
            permissions: self.in_words(&grant.scopes),
            details: self.shown(&grant.details),
            began: match grant.origin {
                GrantOrigin::Browser => Began::Browser,
                GrantOrigin::Device { address } => Began::Device { address: address.to_canonical() },
                GrantOrigin::Unknown => Began::Unknown,
            },
            age: now.since(grant.created_at),
            unused_for: now.since(grant.used_at),
        }
    }

    /// What a client is called; its `client_id` if it is gone.
    async fn client_name(&self, id: &ClientId) -> Result<String, Unavailable> {
        let client = self.known_client(id.as_str()).await?;
        Ok(client.map_or_else(|| id.to_string(), |client| client.name.clone()))
    }
}
