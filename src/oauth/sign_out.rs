//! Signing out, by people themselves or on the way from a client (OpenID Connect RP-Initiated Logout 1.0).
//!
//! A person is always asked, since a link must not sign anybody out (§2). The browser goes back to the client only if an
//! ID token of ours shows which client it is, and to no other URI than a registered one (§3); anything wrong ends on a page.
//! The session of this browser ends, and its clients are told ([`backchannel_logout`](super::backchannel_logout)); what
//! applications were allowed goes on.

use serde::{Deserialize, Serialize};

use super::authorize::{Redirect, SessionEnd};
use super::clients::Asker;
use super::metadata::LOGOUT;
use super::{Answer, AuthorizationServer, Browser, Cookie, Error, Parameters, Refusal, View};
use crate::clock::Timestamp;
use crate::secret::{BrowserToken, base64url, from_base64url};
use crate::uri::RedirectUri;

/// Where a browser goes after signing out. It travels in a hidden field, sealed for one browser.
#[derive(Deserialize, Serialize)]
struct Return {
    location: String,
    expires_at: i64,
}

impl AuthorizationServer {
    /// Asks whether to sign out. `parameters` may be those of a client (RP-Initiated Logout §2).
    ///
    /// # Errors
    /// A [`Refusal`] of the parameters, or `Unavailable`.
    pub async fn ask_sign_out(
        &self,
        parameters: &Parameters,
        browser: Browser<'_>,
        now: Timestamp,
    ) -> Result<Answer, Error> {
        let location = self.return_location(parameters, now).await?;
        if let Some(location) = &location
            && self.signed_in(browser, now).await?.is_none()
        {
            return Ok(Answer::new(View::Redirect(Redirect::to(location.clone())))); // there is nothing to ask about
        }
        let known = browser.token.and_then(|token| token.parse::<BrowserToken>().ok());
        let token = known.unwrap_or_else(|| BrowserToken::draw(&*self.entropy));
        let expires_at = (now + self.settings.lifetimes.transaction).millis();
        let transaction = location.map(|location| self.seal_return(&Return { location, expires_at }, &token, now));
        let view = View::SignOut { csrf_token: self.forms.csrf_token(&token, now), transaction };
        Ok(Answer::new(view).with(Cookie::Browser(token)))
    }

    /// Hears the page that asks whether to sign out: ends the session of this browser. A client may post its request as well
    /// (§2), but cannot have what our page has; such a browser brings no cookies and is sent round to get them.
    ///
    /// # Errors
    /// A [`Refusal`] of the form, or `Unavailable`.
    pub async fn sign_out(&self, form: &Parameters, browser: Browser<'_>, now: Timestamp) -> Result<Answer, Error> {
        if form.get("csrf_token").is_none()
            && let Some(location) = self.as_query(form)
        {
            return Ok(Answer::new(View::Redirect(Redirect::to(location))));
        }
        let token = self.check_form(form, browser, now)?;
        let location = match form.get("transaction") {
            Some(sealed) => Some(self.open_return(sealed, &token, now).ok_or(Refusal::TransactionUnknown)?),
            None => None,
        };
        self.end_session(browser, SessionEnd::SignedOut, now).await?;
        let view = location.map_or(View::SignedOut, |location| View::Redirect(Redirect::to(location)));
        Ok(Answer::new(view).with(Cookie::SessionEnded))
    }

    /// The request of a client as a link, if it is one.
    fn as_query(&self, form: &Parameters) -> Option<String> {
        const OF_CLIENTS: [&str; 5] = ["id_token_hint", "client_id", "post_logout_redirect_uri", "state", "ui_locales"];
        let sent: Vec<_> = OF_CLIENTS.iter().filter_map(|name| Some((*name, form.get(name)?))).collect();
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&sent).finish();
        (!sent.is_empty()).then(|| format!("{}?{query}", self.settings.url(LOGOUT)))
    }

    /// Where the client wants the browser back, if it does and may.
    async fn return_location(&self, parameters: &Parameters, now: Timestamp) -> Result<Option<String>, Error> {
        let hint = match parameters.get("id_token_hint") {
            Some(text) => Some(self.verify_id_token_hint(text, now).ok_or(Refusal::IdTokenHintInvalid)?),
            None => None,
        };
        if let (Some(hint), Some(client_id)) = (&hint, parameters.get("client_id"))
            && hint.client_id != client_id
        {
            return Err(Refusal::IdTokenHintInvalid.into());
        }
        let Some(wanted) = parameters.get("post_logout_redirect_uri") else { return Ok(None) };
        let client = match hint {
            Some(hint) => self.client(&hint.client_id, Asker::unseen(now)).await?,
            None => None,
        };
        let wanted: Option<RedirectUri> = wanted.parse().ok();
        let registered = client.zip(wanted).filter(|(client, uri)| client.post_logout_redirect_uris.contains(uri));
        let (_, uri) = registered.ok_or(Refusal::PostLogoutRedirectUriUnregistered)?;
        Ok(Some(match parameters.get("state") {
            Some(state) => uri.with_query(&[("state", state)]),
            None => uri.as_str().to_owned(),
        }))
    }

    fn seal_return(&self, to: &Return, browser: &BrowserToken, now: Timestamp) -> String {
        let json = serde_json::to_vec(to).expect("strings and numbers are plain JSON");
        base64url(&self.forms.sign_outs().at(now).seal(browser.digest().as_bytes(), &json))
    }

    fn open_return(&self, text: &str, browser: &BrowserToken, now: Timestamp) -> Option<String> {
        let json = self.forms.sign_outs().at(now).open(browser.digest().as_bytes(), &from_base64url(text)?).ok()?;
        let Return { location, expires_at } = serde_json::from_slice(&json).ok()?;
        (now < Timestamp::from_millis(expires_at)).then_some(location)
    }
}
