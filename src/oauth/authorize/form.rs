//! Forms that only our pages can make, and only for the browser that they were sent to (RFC 6749 §10.12).

use subtle::ConstantTimeEq as _;

use super::transaction::Transaction;
use super::{Browser, Form};
use crate::oauth::{AuthorizationServer, Parameters, Refusal};
use crate::secret::seal::RootKey;
use crate::secret::{BrowserToken, base64url};
use crate::uri::Origin;

/// The keys of forms, derived from the root that replicas share.
pub(in crate::oauth) struct FormKeys {
    transactions: RootKey,
    external_transactions: RootKey,
    csrf_tokens: RootKey,
    sign_outs: RootKey,
    detours: RootKey,
}

impl FormKeys {
    pub(in crate::oauth) fn new(root: &RootKey) -> Self {
        Self {
            transactions: root.derive("authorization transactions"),
            external_transactions: root.derive("transactions of an external login"),
            csrf_tokens: root.derive("CSRF tokens"),
            sign_outs: root.derive("sign-outs"),
            detours: root.derive("detours to an upstream provider"),
        }
    }

    /// The key under which transactions are sealed.
    pub(super) fn transactions(&self) -> &RootKey {
        &self.transactions
    }

    /// The key under which transactions are sealed for an external endpoint.
    pub(super) fn external_transactions(&self) -> &RootKey {
        &self.external_transactions
    }

    /// The key under which it is sealed where a browser goes after signing out.
    pub(in crate::oauth) fn sign_outs(&self) -> &RootKey {
        &self.sign_outs
    }

    /// The key under which transactions are sealed that wait for an upstream provider.
    pub(super) fn detours(&self) -> &RootKey {
        &self.detours
    }

    /// The `csrf_token` of every form that is sent to a browser.
    pub(in crate::oauth) fn csrf_token(&self, browser: &BrowserToken) -> String {
        base64url(&self.csrf_tokens.mac(&[browser.digest().as_bytes()]))
    }
}

impl AuthorizationServer {
    /// The hidden fields of a form for a browser.
    pub(super) fn form(&self, transaction: &Transaction, browser: &BrowserToken) -> Form {
        Form {
            transaction: transaction.seal(self.forms.transactions(), browser.digest().as_bytes()),
            csrf_token: self.forms.csrf_token(browser),
        }
    }

    /// Accepts a form that came from a page of ours in the browser that the page was made for; gives that browser.
    pub(in crate::oauth) fn check_form(
        &self,
        form: &Parameters,
        browser: Browser<'_>,
    ) -> Result<BrowserToken, Refusal> {
        if !self.is_ours(browser.origin) || !is_same_origin(browser.fetch_site) {
            return Err(Refusal::CrossSiteForm);
        }
        let token = browser.token.and_then(|token| token.parse().ok()).ok_or(Refusal::CrossSiteForm)?;
        let sent = form.get("csrf_token").unwrap_or_default();
        let genuine = self.forms.csrf_token(&token).as_bytes().ct_eq(sent.as_bytes());
        if genuine.into() { Ok(token) } else { Err(Refusal::CrossSiteForm) }
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
