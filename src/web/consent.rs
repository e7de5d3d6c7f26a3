//! `POST /consent`: the form of the consent page.

use super::authorize::{answer, browser};
use super::{AuthorizationSite, Received, Response};

pub(super) async fn consent(site: &AuthorizationSite, request: &Received) -> Response {
    let form = match request.form() {
        Ok(form) => form,
        Err(refusal) => return answer(site, request, "consent", Err(refusal.into())),
    };
    answer(site, request, "consent", site.server.decide(&form, browser(site, request), site.clock.now()).await)
}
