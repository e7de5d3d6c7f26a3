//! Where an issuer says that its keys are (RFC 8414 §3, OpenID Connect Discovery §4).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::KeyForm;
use crate::clock::Timestamp;
use crate::fetch::{FetchFault, FetchUrl, Fetcher, Got};
use crate::jose::{Json, PublicKey, object};

/// How long it is believed where the keys are. As long as they are there, nothing else in the metadata matters.
const BELIEVED: Duration = Duration::from_hours(1);

/// What is known about where the keys of an issuer are.
pub(super) struct Discovery {
    issuer: String,
    /// Where, and until when that is believed; for good if an operator said it.
    found: Mutex<Option<(FetchUrl, Option<Timestamp>)>>,
}

impl Discovery {
    /// Nothing is known yet.
    pub(super) fn of(issuer: &str) -> Self {
        Self { issuer: issuer.to_owned(), found: Mutex::new(None) }
    }

    /// The operator says where.
    pub(super) fn done(issuer: &str, jwks_uri: FetchUrl) -> Self {
        Self { issuer: issuer.to_owned(), found: Mutex::new(Some((jwks_uri, None))) }
    }

    /// Fetches the keys, from where they were last time or from where the issuer says now.
    pub(super) async fn key_set(
        &self,
        fetcher: &Fetcher,
        form: KeyForm,
        now: Timestamp,
    ) -> Result<Got<Vec<PublicKey>>, FetchFault> {
        let known = self.known(now);
        let url = match &known {
            Some(url) => url.clone(),
            None => self.discover(fetcher, now).await?,
        };
        let got = async {
            let fetched = fetcher.get(&url).await?;
            let content = form.read(&fetched.body).ok_or(FetchFault::Unfit)?;
            Ok(Got { content, max_age: fetched.max_age })
        };
        let got = got.await;
        if got.is_err() {
            self.doubt();
        }
        got
    }

    fn known(&self, now: Timestamp) -> Option<FetchUrl> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let (url, until) = found.as_ref()?;
        until.is_none_or(|until| now < until).then(|| url.clone())
    }

    /// The keys are not where they were said to be: next time the issuer is asked again.
    fn doubt(&self) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.as_ref().is_some_and(|(_, until)| until.is_some()) {
            *found = None;
        }
    }

    async fn discover(&self, fetcher: &Fetcher, now: Timestamp) -> Result<FetchUrl, FetchFault> {
        let mut fault = FetchFault::Url;
        for url in metadata_urls(&self.issuer) {
            let document = fetcher.get(&url).await;
            match document.and_then(|document| self.jwks_uri(&document.body).ok_or(FetchFault::Unfit)) {
                Ok(jwks_uri) => {
                    let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
                    *found = Some((jwks_uri.clone(), Some(now + BELIEVED)));
                    return Ok(jwks_uri);
                }
                Err(at_fault) => fault = at_fault,
            }
        }
        Err(fault)
    }

    /// Reads `jwks_uri` of a document whose `issuer` is the configured one, byte for byte (RFC 8414 §3.3): the keys of
    /// somebody else must not count as those of this one. Those of an https issuer come over https too.
    fn jwks_uri(&self, body: &[u8]) -> Option<FetchUrl> {
        let document = object(body).ok()?;
        let text = |name: &str| document.get(name).and_then(Json::as_str);
        if text("issuer")? != self.issuer {
            return None;
        }
        let jwks_uri: FetchUrl = text("jwks_uri")?.parse().ok()?;
        let plain = self.issuer.starts_with("http://");
        Some(jwks_uri).filter(|url| plain || !url.is_plain())
    }
}

/// Where metadata may be: RFC 8414 §3.1 inserts its well-known path before that of the issuer, OpenID Connect Discovery §4
/// puts its own behind.
fn metadata_urls(issuer: &str) -> Vec<FetchUrl> {
    let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
    let scheme_end = issuer.find("://").map_or(0, |at| at + 3);
    let path_at = issuer[scheme_end..].find('/').map_or(issuer.len(), |at| scheme_end + at);
    let (origin, path) = issuer.split_at(path_at);
    let urls = [
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{issuer}/.well-known/openid-configuration"),
    ];
    urls.iter().filter_map(|url| url.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_looked_for_where_the_documents_say() {
        let urls = |issuer| metadata_urls(issuer).iter().map(|url| url.as_str().to_owned()).collect::<Vec<_>>();
        assert_eq!(
            urls("https://id.example/realms/acme"),
            [
                "https://id.example/.well-known/oauth-authorization-server/realms/acme",
                "https://id.example/realms/acme/.well-known/openid-configuration"
            ]
        );
        let of_the_host = [
            "https://acme.id.example/.well-known/oauth-authorization-server",
            "https://acme.id.example/.well-known/openid-configuration",
        ];
        assert_eq!(urls("https://acme.id.example/"), of_the_host);
        assert_eq!(urls("https://acme.id.example"), of_the_host);
    }

    #[test]
    fn only_the_documents_of_the_issuer_itself_count() {
        let read = |issuer: &str, document: &str| {
            let discovery = Discovery::of(issuer);
            discovery.jwks_uri(document.as_bytes()).map(|url| url.as_str().to_owned())
        };
        let keys = "https://keys.example/k";
        for (issuer, document, expected) in [
            (
                "https://a.example/",
                r#"{"issuer":"https://a.example/","jwks_uri":"https://keys.example/k"}"#,
                Some(keys),
            ),
            ("https://a.example/", r#"{"issuer":"https://a.example","jwks_uri":"https://keys.example/k"}"#, None),
            ("https://a.example", r#"{"issuer":"https://b.example","jwks_uri":"https://keys.example/k"}"#, None),
            ("https://a.example", r#"{"issuer":"https://a.example","jwks_uri":"http://127.0.0.1/k"}"#, None),
            ("https://a.example", r#"{"issuer":"https://a.example"}"#, None),
            ("https://a.example", r#"{"jwks_uri":"https://keys.example/k"}"#, None),
            (
                "http://127.0.0.1:1",
                r#"{"issuer":"http://127.0.0.1:1","jwks_uri":"http://127.0.0.1:1/k"}"#,
                Some("http://127.0.0.1:1/k"),
            ),
        ] {
            assert_eq!(read(issuer, document).as_deref(), expected, "{document}");
        }
    }
}
