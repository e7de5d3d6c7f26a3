//! A person with a browser, as far as the story needs one: it keeps cookies, follows redirects, and submits forms.

use std::collections::BTreeMap;

use form_urlencoded::Serializer;
use reqwest::header::{CONTENT_TYPE, COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::{Method, RequestBuilder, Url};

use super::{DevError, check};
use crate::cli::client::{ClientError, Reply, Transport};

/// More redirects than this in a row go in circles.
const REDIRECTS: usize = 8;

/// Somebody with a browser of their own.
pub(super) struct Person<'a> {
    transport: &'a Transport,
    cookies: BTreeMap<String, String>,
}

/// A page that is shown.
pub(super) struct Page {
    url: Url,
    html: String,
}

/// Where a form goes, and what it sends besides what is typed.
struct Form<'a> {
    url: Url,
    hidden: Vec<(&'a str, &'a str)>,
}

impl<'a> Person<'a> {
    pub(super) const fn new(transport: &'a Transport) -> Self {
        Self { transport, cookies: BTreeMap::new() }
    }

    /// Types an address.
    pub(super) async fn open(&mut self, url: &Url) -> Result<Page, DevError> {
        println!("   > GET  {url}");
        let request = self.transport.request(Method::GET, url);
        self.follow(request, url.clone()).await
    }

    /// Fills in the first form of a page and submits it; `shown` is what the story says of it.
    pub(super) async fn submit(&mut self, page: &Page, fields: &[(&str, &str)], shown: &str) -> Result<Page, DevError> {
        let Form { url, hidden } = page.form()?;
        println!("   > POST {url}  {shown}");
        let body = Serializer::new(String::new()).extend_pairs(hidden).extend_pairs(fields).finish();
        let request = self.transport.request(Method::POST, &url).body(body);
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        // What browsers send with a form of a page that has `Referrer-Policy: no-referrer`.
        self.follow(request.header(ORIGIN, "null"), url).await
    }

    /// Sends a request, goes where the answers lead, and shows the page at the end.
    async fn follow(&mut self, mut request: RequestBuilder, mut url: Url) -> Result<Page, DevError> {
        for _ in 0..REDIRECTS {
            let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            if !cookies.is_empty() {
                request = request.header(COOKIE, cookies.join("; "));
            }
            let reply = Transport::fetch(request, &url).await?;
            self.keep(&reply);
            let location = reply.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            let Some(next) = location.and_then(|location| url.join(location).ok()) else {
                check("a page for people", &reply, 200)?;
                let page = Page { url, html: String::from_utf8_lossy(&reply.body).into_owned() };
                println!("   < {} {}", reply.status.as_u16(), between(&page.html, "<title>", "<").unwrap_or_default());
                return Ok(page);
            };
            request = self.transport.request(Method::GET, &next);
            url = next;
        }
        Err(ClientError::Answer(url.to_string(), "redirects without end").into())
    }

    fn keep(&mut self, reply: &Reply) {
        let lines = reply.headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
        for (name, value) in lines.filter_map(|line| line.split(';').next()?.split_once('=')) {
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }
}

impl Page {
    /// Where the first form goes, and its hidden fields: tokens without a character that HTML escapes.
    fn form(&self) -> Result<Form<'_>, ClientError> {
        let missing = || ClientError::Answer(self.url.to_string(), "a page without a form");
        let form = between(&self.html, "<form", "</form>").ok_or_else(missing)?;
        let action = between(form, "action=\"", "\"").and_then(|action| self.url.join(action).ok());
        let inputs = form.split("<input ").skip(1).filter_map(|input| input.split('>').next());
        let hidden = inputs.filter(|input| input.contains("type=\"hidden\""));
        let field = |input| Some((between(input, "name=\"", "\"")?, between(input, "value=\"", "\"")?));
        Ok(Form { url: action.ok_or_else(missing)?, hidden: hidden.filter_map(field).collect() })
    }
}

/// What stands between two texts.
fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    text.split_once(before)?.1.split(after).next()
}
