//! `GET|POST /logout`: asks whether to sign out, and does it (OpenID Connect RP-Initiated Logout 1.0). The session of this
//! browser ends; grants go on.

use http::Method;

use super::authorize::{answer, browser};
use super::{AuthorizationSite, Received, Response};
use crate::oauth::{Answer, Error, Parameters};

pub(super) async fn logout(site: &AuthorizationSite, request: &Received) -> Response {
    answer(site, request, "logout", hear(site, request).await)
}

async fn hear(site: &AuthorizationSite, request: &Received) -> Result<Answer, Error> {
    let (browser, now) = (browser(site, request), site.clock.now());
    if request.method != Method::POST {
        let query = Parameters::parse(request.query.as_deref().unwrap_or_default())?;
        return site.server.ask_sign_out(&query, browser, now).await;
    }
    let form = request.form()?;
    site.server.sign_out(&form, browser, now).await
}
