//! `GET|POST /account` and `GET /account/callback`: where people see what they have allowed, and end it.

use http::Method;

use super::authorize::{answer, browser, query};
use super::{AuthorizationSite, Received, Response};

pub(super) async fn account(site: &AuthorizationSite, request: &Received) -> Response {
    let (browser, now) = (browser(site, request), site.clock.now());
    if request.method != Method::POST {
        return answer(site, request, "account", site.server.account(browser, now).await);
    }
    let form = match request.form() {
        Ok(form) => form,
        Err(refusal) => return answer(site, request, "account", Err(refusal.into())),
    };
    answer(site, request, "account", site.server.change_account(&form, browser, now).await)
}

pub(super) async fn callback(site: &AuthorizationSite, request: &Received) -> Response {
    let (browser, now) = (browser(site, request), site.clock.now());
    let answered = site.server.account_callback(query(request), browser, now).await;
    answer(site, request, "account_callback", answered)
}
