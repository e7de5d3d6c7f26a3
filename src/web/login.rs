//! `POST /login`: the form of the sign-in page.

use super::authorize::{answer, browser};
use super::{AuthorizationSite, Received, Response};

pub(super) async fn login(site: &AuthorizationSite, request: &Received) -> Response {
    let form = match request.form() {
        Ok(form) => form,
        Err(refusal) => return answer(site, request, "login", Err(refusal.into())),
    };
    answer(site, request, "login", site.server.sign_in(&form, browser(site, request), site.clock.now()).await)
}
