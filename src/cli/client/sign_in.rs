//! Signing a person in: authorization code with PKCE, answered on loopback (RFC 8252 §7.3, RFC 7636, RFC 9207).

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, StatusCode};
use reqwest::Url;
use tokio::sync::mpsc;

use super::{ClientError, Talk, Token, TokenClient, TokenGrant, legible, random};
use crate::jose::SigningKey;
use crate::secret::{base64url, sha256};
use crate::web::{Door, Limits, Received, Response, Site, respond};

/// How long a person has.
const PATIENCE: Duration = Duration::from_mins(5);

/// How a person is brought to the sign-in page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::cli) enum SignIn {
    /// The address is printed, and a browser is started if there is one.
    StartBrowser,
    /// The address is printed.
    PrintAddress,
}

/// Signs a person in and redeems the code for a token bound to `key`.
pub(in crate::cli) async fn sign_in(
    client: &TokenClient<'_>,
    key: &SigningKey,
    path: &str,
    way: SignIn,
) -> Result<Token, ClientError> {
    let server = client.server;
    let Some(endpoint) = &server.authorization_endpoint else {
        return Err(ClientError::Answer(server.issuer.clone(), "no authorization_endpoint in its metadata"));
    };
    let limits = Limits { connections: 16, body: 0, ..Limits::default() };
    let door = Door::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), limits).await.map_err(ClientError::Loopback)?;
    let redirect_uri = format!("http://{}{path}", door.address().map_err(ClientError::Loopback)?);
    let (verifier, state) = (random(), random());
    let url = authorization_url(endpoint, client, key, &redirect_uri, &verifier, &state);
    let (answers, mut answer) = mpsc::channel(1);
    let site = Arc::new(Callback { path: path.to_owned(), state, answers });
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(door.serve(site, async move { drop(stopped.await) }));
    show(&url, way, client.talk);
    let answer = tokio::time::timeout(PATIENCE, answer.recv()).await;
    drop(stop);
    drop(serving.await); // lets the browser have its page before we go on
    let answer = answer.ok().flatten().ok_or(ClientError::NobodyCame)?;
    let code = answer.code(client)?;
    let grant = TokenGrant::AuthorizationCode { code: &code, redirect_uri: &redirect_uri, verifier: &verifier };
    client.token(&grant, key).await
}

fn authorization_url(
    endpoint: &Url,
    client: &TokenClient<'_>,
    key: &SigningKey,
    redirect_uri: &str,
    verifier: &str,
    state: &str,
) -> Url {
    let mut url = endpoint.clone();
    let challenge = base64url(&sha256(verifier.as_bytes()));
    {
        let mut query = url.query_pairs_mut();
        query.extend_pairs([
            ("response_type", "code"),
            ("client_id", client.identity.client_id.as_str()),
            ("redirect_uri", redirect_uri),
            ("state", state),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
            ("dpop_jkt", key.public().thumbprint().to_string().as_str()),
        ]);
        query.extend_pairs(client.scope.map(|scope| ("scope", scope)));
        query.extend_pairs(client.resource.map(|resource| ("resource", resource)));
    }
    url
}

/// Shows the address on standard error, however quiet the command is: without it nothing goes on.
fn show(url: &Url, way: SignIn, talk: Talk) {
    eprintln!("open this address to sign in:\n\n  {url}\n");
    if way == SignIn::PrintAddress {
        return;
    }
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = std::process::Command::new(opener);
    command.arg(url.as_str()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if command.spawn().is_ok() {
        talk.note(&format!("{opener} was asked to open it"));
    }
}

/// What came to the redirect URI (RFC 6749 §4.1.2).
struct Answer(Vec<(String, String)>);

impl Answer {
    /// A parameter that came exactly once.
    fn only(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        values.next().filter(|_| values.next().is_none())
    }

    /// The code, if the answer is from the server that was asked (RFC 9207 §2.4).
    fn code(&self, client: &TokenClient<'_>) -> Result<String, ClientError> {
        let server = client.server;
        let expected = server.authorization_response_iss_parameter_supported;
        let named = self.0.iter().any(|(key, _)| key == "iss");
        if (expected || named) && self.only("iss") != Some(server.issuer.as_str()) {
            return Err(ClientError::MixUp(server.issuer.clone()));
        }
        if let Some(error) = self.only("error") {
            let (endpoint, error) = (server.issuer.clone(), legible(error));
            let description = legible(self.only("error_description").unwrap_or_default());
            return Err(ClientError::Refused { endpoint, error, description });
        }
        let missing = || ClientError::Answer(server.issuer.clone(), "neither a code nor an error came back");
        self.only("code").map(str::to_owned).ok_or_else(missing)
    }
}

/// The redirect URI. Takes one answer, the one with our `state` (RFC 6749 §10.12); all else gets 404.
struct Callback {
    path: String,
    state: String,
    answers: mpsc::Sender<Answer>,
}

#[async_trait]
impl Site for Callback {
    async fn answer(&self, request: Received) -> Response {
        let query = request.query.as_deref().unwrap_or_default();
        let answer = Answer(form_urlencoded::parse(query.as_bytes()).into_owned().collect());
        let ours = request.method == Method::GET && request.path == self.path;
        if !ours || answer.only("state") != Some(self.state.as_str()) {
            return respond::sentence(StatusCode::NOT_FOUND, "Nothing is waiting for an answer here.");
        }
        let sentence = match answer.only("error") {
            None => "All set. You can close this page and go back to the terminal.",
            Some(_) => "The sign-in did not succeed. The terminal says why; you can close this page.",
        };
        drop(self.answers.try_send(answer)); // a second answer, from a reload, changes nothing
        respond::sentence(StatusCode::OK, sentence)
    }
}
