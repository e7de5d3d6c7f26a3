//! `GET|POST /activate` and `GET /activate/callback`: where people let devices in (RFC 8628 §3.3).

use http::Method;

use super::authorize::{answer, browser, query};
use super::{AuthorizationSite, Received, Response};

pub(super) async fn activate(site: &AuthorizationSite, request: &Received) -> Response {
    let browser = browser(site, request);
    if request.method != Method::POST {
        let asked = site.server.ask_user_code(query(request), browser, site.clock.now());
        return answer(site, request, "activate", asked);
    }
    let form = match request.form() {
        Ok(form) => form,
        Err(refusal) => return answer(site, request, "activate", Err(refusal.into())),
    };
    answer(site, request, "activate", site.server.activate(&form, browser, site.clock.now()).await)
}

pub(super) async fn callback(site: &AuthorizationSite, request: &Received) -> Response {
    let (browser, now) = (browser(site, request), site.clock.now());
    answer(site, request, "activate_callback", site.server.ask_about_device(query(request), browser, now).await)
}
