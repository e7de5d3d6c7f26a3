//! Forms that only our pages can make, and only for the browser that they were sent to (RFC 6749 §10.12).

use subtle::ConstantTimeEq as _;

use super::transaction::Transaction;
use super::{Browser, Form};
use crate::clock::Timestamp;
use crate::oauth::{AuthorizationServer, Parameters, Refusal};
use crate::secret::rotation::{RotatingKey, RotatingSecret};
use crate::secret::seal::RootKey;
use crate::secret::{BrowserToken, base64url};
use crate::uri::Origin;

/// The keys of forms, derived from the secrets that replicas share.
pub(in crate::oauth) struct FormKeys {
    transactions: RotatingKey,
    external_transactions: RotatingKey,
    csrf_tokens: RotatingKey,
    sign_outs: RotatingKey,
    detours: RotatingKey,
    detour_sessions: RootKey,
}

impl FormKeys {
    pub(in crate::oauth) fn new(secrets: &RotatingSecret, root: &RootKey) -> Self {
        Self {
            transactions: secrets.derive("authorization transactions"),
            external_transactions: secrets.derive("transactions of an external login"),
            csrf_tokens: secrets.derive("CSRF tokens"),
            sign_outs: secrets.derive("sign-outs"),
            detours: secrets.derive("detours to an upstream provider"),
            detour_sessions: root.derive("detours to an upstream provider"),
        }
    }

    /// The key under which transactions are sealed.
    pub(super) fn transactions(&self) -> &RotatingKey {
        &self.transactions
    }

    /// The key under which transactions are sealed for an external endpoint.
    pub(super) fn external_transactions(&self) -> &RotatingKey {
        &self.external_transactions
    }

    /// The key under which it is sealed where a browser goes after signing out.
    pub(in crate::oauth) fn sign_outs(&self) -> &RotatingKey {
        &self.sign_outs
    }

    /// The key under which transactions are sealed that wait for an upstream provider.
    pub(super) fn detours(&self) -> &RotatingKey {
        &self.detours
    }

    /// The key of the sessions that detours lead to: one stays the same, whatever becomes of the key of the detour.
    pub(super) fn detour_sessions(&self) -> &RootKey {
        &self.detour_sessions
    }

    /// The `csrf_token` of every form that is sent to a browser.
    pub(in crate::oauth) fn csrf_token(&self, browser: &BrowserToken, now: Timestamp) -> String {
        csrf_token(self.csrf_tokens.at(now).newest(), browser)
    }

    fn is_csrf_token(&self, sent: &str, browser: &BrowserToken, now: Timestamp) -> bool {
        let is_by = |key| csrf_token(key, browser).as_bytes().ct_eq(sent.as_bytes()).into();
        self.csrf_tokens.at(now).iter().any(is_by)
    }
}

fn csrf_token(key: &RootKey, browser: &BrowserToken) -> String {
    base64url(&key.mac(&[browser.digest().as_bytes()]))
}

impl AuthorizationServer {
    /// The hidden fields of a form for a browser.
    pub(super) fn form(&self, transaction: &Transaction, browser: &BrowserToken, now: Timestamp) -> Form {
        Form {
            transaction: transaction.seal(&self.forms.transactions().at(now), browser.digest().as_bytes()),
            csrf_token: self.forms.csrf_token(browser, now),
        }
    }

    /// Accepts a form that came from a page of ours in the browser that the page was made for; gives that browser.
    pub(in crate::oauth) fn check_form(
        &self,
        form: &Parameters,
        browser: Browser<'_>,
        now: Timestamp,
    ) -> Result<BrowserToken, Refusal> {
        if !self.is_ours(browser.origin) || !is_same_origin(browser.fetch_site) {
            return Err(Refusal::CrossSiteForm);
        }
        let token = browser.token.and_then(|token| token.parse().ok()).ok_or(Refusal::CrossSiteForm)?;
        let sent = form.get("csrf_token").unwrap_or_default();
        if self.forms.is_csrf_token(sent, &token, now) { Ok(token) } else { Err(Refusal::CrossSiteForm) }
    }

    /// `Origin` is `null` when one of our own pages posts, since they have `Referrer-Policy: no-referrer`. A frame of
    /// somebody else's can have a `null` origin too: it is the token that it lacks.
    fn is_ours(&self, origin: Option<&str>) -> bool {
        let ours = self.settings.issuer.as_str().parse::<Origin>();
        match origin {
            None | Some("null") => true,
            Some(origin) => origin.parse::<Origin>().is_ok_and(|origin| ours.is_ok_and(|ours| ours == origin)),
        }
    }
}

/// Browsers say here what they hide in `Origin`; `none` is a person who reloads or comes from a bookmark.
fn is_same_origin(fetch_site: Option<&str>) -> bool {
    matches!(fetch_site, None | Some("same-origin" | "none"))
}
