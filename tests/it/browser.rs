//! A person with a browser: keeps cookies, reads forms, presses buttons. It runs no scripts, for the pages have none.

use std::collections::BTreeMap;

use reqwest::header::HeaderMap;
use reqwest::{Method, Url};

use crate::openapi::check_answer;

/// A browser with a profile of its own.
#[derive(Clone)]
pub struct Browser {
    pub issuer: String,
    pub http: reqwest::Client,
    pub cookies: BTreeMap<String, String>,
    /// `Origin` and `Sec-Fetch-Site` of the forms it posts. Our pages make browsers say `null`.
    pub origin: Option<String>,
    pub fetch_site: Option<String>,
    pub accept_language: Option<String>,
    /// Headers that a proxy adds to everything it sends.
    pub said: Vec<(&'static str, String)>,
}

/// What it shows.
#[derive(Debug)]
pub struct Page {
    pub status: u16,
    pub headers: HeaderMap,
    pub html: String,
}

impl Browser {
    pub fn new(issuer: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            http: crate::client::http(),
            cookies: BTreeMap::new(),
            origin: Some("null".to_owned()),
            fetch_site: Some("same-origin".to_owned()),
            accept_language: None,
            said: Vec::new(),
        }
    }

    /// Opens an address of the issuer.
    pub async fn open(&mut self, path: &str) -> Page {
        self.send(Method::GET, path, None, &[]).await
    }

    /// The same at a server that may die meanwhile.
    pub async fn try_open(&mut self, path: &str) -> Option<Page> {
        self.try_send(Method::GET, path, None, &[]).await
    }

    /// Posts a form that is on no page.
    pub async fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Page {
        self.send(Method::POST, path, Some(form), &[]).await
    }

    /// Fills in the first form of a page and submits it; a field that is in it already is replaced.
    pub async fn submit(&mut self, page: &Page, fields: &[(&str, &str)]) -> Page {
        self.try_submit(page, fields).await.expect("an answer")
    }

    /// The same at a server that may die meanwhile.
    pub async fn try_submit(&mut self, page: &Page, fields: &[(&str, &str)]) -> Option<Page> {
        let (action, hidden) = page.form();
        let mut form: Vec<_> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        form.retain(|(name, _)| !fields.iter().any(|(replaced, _)| replaced == name));
        form.extend(fields);
        let mut headers = Vec::new();
        headers.extend(self.origin.clone().map(|origin| ("origin", origin)));
        headers.extend(self.fetch_site.clone().map(|site| ("sec-fetch-site", site)));
        self.try_send(Method::POST, &action, Some(&form), &headers).await
    }

    /// Goes where a page sends the browser, as long as that is to the issuer.
    pub async fn follow(&mut self, mut page: Page) -> Page {
        while page.status == 303 {
            let Some(path) = page.header("location").strip_prefix(&self.issuer).map(str::to_owned) else { break };
            page = self.open(&path).await;
        }
        page
    }

    /// Opens an authorization request, signs in if asked to, and approves.
    pub async fn approve(&mut self, path: &str, username: &str, password: &str) -> Page {
        let mut page = self.open(path).await;
        if page.has("name=\"password\"") {
            page = self.submit(&page, &[("username", username), ("password", password)]).await;
        }
        self.submit(&page, &[("decision", "approve")]).await
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        form: Option<&[(&str, &str)]>,
        headers: &[(&str, String)],
    ) -> Page {
        self.try_send(method, path, form, headers).await.expect("an answer")
    }

    /// `None` if no whole answer came back.
    async fn try_send(
        &mut self,
        method: Method,
        path: &str,
        form: Option<&[(&str, &str)]>,
        headers: &[(&str, String)],
    ) -> Option<Page> {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.issuer));
        if !self.cookies.is_empty() {
            let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header("cookie", cookies.join("; "));
        }
        if let Some(languages) = &self.accept_language {
            request = request.header("accept-language", languages);
        }
        for (name, value) in headers.iter().chain(&self.said) {
            request = request.header(*name, value);
        }
        if let Some(form) = form {
            request = request.form(form);
        }
        let response = request.send().await.ok()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let html = response.text().await.ok()?;
        for line in headers.get_all("set-cookie") {
            let line = line.to_str().expect("visible ASCII");
            let (name, value) = line.split(';').next().and_then(|pair| pair.split_once('=')).expect("a cookie");
            if line.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let content_type = headers.get("content-type").and_then(|value| value.to_str().ok());
        check_answer(&method, path, status, content_type, &html);
        Some(Page { status, headers, html })
    }
}

impl Page {
    pub fn has(&self, text: &str) -> bool {
        self.html.contains(text)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("visible ASCII"))
    }

    /// Where the browser is sent.
    #[track_caller]
    pub fn location(&self) -> Url {
        assert_eq!(self.status, 303, "{self:?}");
        self.header("location").parse().expect("a URL")
    }

    /// A parameter of the redirect.
    #[track_caller]
    pub fn parameter(&self, name: &str) -> Option<String> {
        let mut values = self
            .location()
            .query_pairs()
            .filter(|(each, _)| each == name)
            .map(|(_, value)| value.into_owned())
            .collect::<Vec<_>>();
        assert!(values.len() < 2, "{name} twice");
        values.pop()
    }

    /// The code of the redirect.
    #[track_caller]
    pub fn code(&self) -> String {
        self.parameter("code").unwrap_or_else(|| panic!("no code in {self:?}"))
    }

    /// Action and hidden fields of the first form.
    #[track_caller]
    pub fn form(&self) -> (String, Vec<(String, String)>) {
        let form = self.html.split_once("<form").unwrap_or_else(|| panic!("no form in {self:?}")).1;
        let form = form.split("</form>").next().expect("the form ends");
        let hidden = form.split("<input ").skip(1).filter(|input| input.contains("type=\"hidden\""));
        let field = |input: &str| (attribute(input, "name"), attribute(input, "value"));
        (attribute(form, "action"), hidden.map(field).collect())
    }

    /// What the first form says in a field.
    #[track_caller]
    pub fn field(&self, name: &str) -> String {
        let input = self.html.split("<input ").find(|input| attribute(input, "name") == name);
        attribute(input.unwrap_or_else(|| panic!("no {name} in {self:?}")), "value")
    }
}

/// The value of an attribute, with character references resolved.
fn attribute(tag: &str, name: &str) -> String {
    let tag = tag.split('>').next().unwrap_or_default();
    let value = tag.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
    let value = value.map(|(value, _)| value).unwrap_or_default();
    [("&#34;", "\""), ("&#39;", "'"), ("&#60;", "<"), ("&#62;", ">"), ("&#38;", "&")]
        .iter()
        .fold(value.to_owned(), |value, (reference, character)| value.replace(reference, character))
}
