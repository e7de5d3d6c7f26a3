//! `GET|POST /logout`: asks whether to sign out, and does it. The session of this browser ends; grants go on.

use http::Method;

use super::authorize::{answer, browser};
use super::{AuthorizationSite, Received, Response};

pub(super) async fn logout(site: &AuthorizationSite, request: &Received) -> Response {
    let browser = browser(site, request);
    if request.method != Method::POST {
        return answer(site, request, "logout", Ok(site.server.ask_sign_out(browser)));
    }
    let form = match request.form() {
        Ok(form) => form,
        Err(refusal) => return answer(site, request, "logout", Err(refusal.into())),
    };
    answer(site, request, "logout", site.server.sign_out(&form, browser).await)
}
