//! `POST /login`: the form of the sign-in page. `GET /login/callback`: people whom an upstream provider gives back.

use super::authorize::{answer, browser};
use super::{AuthorizationSite, Received, Response};

pub(super) async fn login(site: &AuthorizationSite, request: &Received) -> Response {
    let form = match request.form() {
        Ok(form) => form,
        Err(refusal) => return answer(site, request, "login", Err(refusal.into())),
    };
    answer(site, request, "login", site.server.sign_in(&form, browser(site, request), site.clock.now()).await)
}

pub(super) async fn callback(site: &AuthorizationSite, request: &Received) -> Response {
    let (query, browser) = (request.query.as_deref().unwrap_or_default(), browser(site, request));
    answer(site, request, "login_callback", site.server.return_from_upstream(query, browser, site.clock.now()).await)
}
