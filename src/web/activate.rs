//! `GET|POST /activate` and `GET /activate/callback`: where people let devices in (RFC 8628 §3.3).

use http::Method;

use super::authorize::{answer, browser};
use super::{AuthorizationSite, Received, Response};

pub(super) async fn activate(site: &AuthorizationSite, request: &Received) -> Response {
    let browser = browser(site, request);
    if request.method != Method::POST {
        return answer(site, "activate", site.server.ask_user_code(query(request), browser));
    }
    let form = match request.form() {
        Ok(form) => form,
        Err(refusal) => return answer(site, "activate", Err(refusal.into())),
    };
    answer(site, "activate", site.server.activate(&form, browser, site.clock.now()).await)
}

pub(super) async fn callback(site: &AuthorizationSite, request: &Received) -> Response {
    let (browser, now) = (browser(site, request), site.clock.now());
    answer(site, "activate_callback", site.server.ask_about_device(query(request), browser, now).await)
}

fn query(request: &Received) -> &str {
    request.query.as_deref().unwrap_or_default()
}
