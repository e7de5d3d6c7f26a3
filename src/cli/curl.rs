//! `tollgate curl`: calls an API with a token and a fresh proof, tells what happened, and can play the thief.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use miette::Diagnostic;
use reqwest::header::HeaderMap;
use reqwest::{Response, Url};
use secrecy::ExposeSecret as _;

use super::Environment;
use super::client::{
    Binding, ClientError, Credential, DevSession, Held, Identity, Pocket, ServerMetadata, SignIn, Talk, Target, Token,
    TokenClient, TokenGrant, Transport, Wallet, challenge, is_secure, new_key, nonce, prove, short, shown, sign_in,
    unreachable,
};
use super::explain;
use crate::ident::Issuer;
use crate::jose::SigningKey;

mod output;
mod request;

use request::Request;

/// What to send, and as whom.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tollgate curl http://127.0.0.1:10000/orders            while `tollgate dev` runs
  tollgate curl --steal http://127.0.0.1:10000/orders    the same token without its key
  tollgate curl --issuer https://auth.example.com --client-id batch --key batch.pem https://api.example.com/orders

Exit code: 0 for a status below 400, 1 for the others, 2 for a command that cannot be right.")]
pub(super) struct Curl {
    /// The URL of the API
    url: Url,
    #[command(flatten)]
    request: request::RequestOptions,
    #[command(flatten)]
    output: output::OutputOptions,
    #[command(flatten)]
    party: Party,
    /// Get a new token instead of the one kept from before
    #[arg(long)]
    fresh: bool,
    /// Print one plain curl command, good for one use, and send nothing. It holds the token: mind who sees it
    #[arg(long = "print-curl", conflicts_with_all = ["steal", "replay"])]
    print: bool,
    /// Play a thief who has the token and not its key: prove with another key, or present it as a bearer token
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "key", value_name = "HOW")]
    steal: Option<Theft>,
    /// Play somebody who read the request: send the very same proof a second time
    #[arg(long, conflicts_with = "steal")]
    replay: bool,
}

/// How the token is used without its key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Theft {
    /// With a proof by another key
    Key,
    /// As a bearer token, without a proof
    Bearer,
}

/// Who gets the token, and where. Without an issuer, the running `tollgate dev` is asked.
#[derive(Debug, Args)]
struct Party {
    /// The authorization server; its metadata are fetched from there
    #[arg(long, value_name = "URL", requires = "client_id")]
    issuer: Option<Issuer>,
    /// The client to be
    #[arg(long, value_name = "ID", requires = "issuer")]
    client_id: Option<String>,
    /// A file with the client's secret
    #[arg(long, value_name = "FILE", requires = "issuer", conflicts_with = "key")]
    client_secret_file: Option<PathBuf>,
    /// A file with the client's private key (PKCS #8, PEM)
    #[arg(long, value_name = "FILE", requires = "issuer")]
    key: Option<PathBuf>,
    /// Sign a person in, even if the client could get a token by itself
    #[arg(long)]
    login: bool,
    /// Print the address of the sign-in page, but start no browser
    #[arg(long)]
    no_browser: bool,
    /// The path at which the client has its loopback redirect URI
    #[arg(long, value_name = "PATH", default_value = "/callback")]
    redirect_path: String,
    /// The scopes to ask for, separated by spaces
    #[arg(long)]
    scope: Option<String>,
    /// The resource to ask a token for (RFC 8707)
    #[arg(long, value_name = "URL")]
    resource: Option<String>,
}

/// Why a call did not happen.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub(super) enum CurlError {
    /// The client could not get its token, or reach the API.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Client(#[from] ClientError),
    /// A flag makes no sense.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Request(#[from] request::RequestError),
    /// Nobody said where tokens come from.
    #[error("there is no `tollgate dev` at port {0}, and no --issuer was given")]
    #[diagnostic(help("run `tollgate dev` in another terminal, or give --issuer URL and --client-id ID"))]
    NoIssuer(u16),
    /// The API has no TLS.
    #[error("{0} is neither https nor on this machine: the token would travel in the clear")]
    Clear(String),
    /// A bearer token cannot be shown to be bound.
    #[error("the issuer gave a bearer token: whoever steals it can use it, so there is nothing to show")]
    #[diagnostic(help("set dpop_bound_access_tokens for the client; see what happens with --steal=bearer"))]
    NothingToSteal,
    /// The answer could not be written.
    #[error("cannot write the answer")]
    Output(#[source] std::io::Error),
}

/// Everything that a call needs once the flags are understood.
struct Caller {
    transport: Transport,
    identity: Identity,
    issuer: Issuer,
    wallet: Wallet,
    session: String,
    login: bool,
    scope: Option<String>,
    resource: Option<String>,
    talk: Talk,
}

impl Curl {
    /// Gets a token, calls the API, writes the answer.
    pub(super) async fn run(self, environment: &Environment) -> Result<ExitCode, CurlError> {
        if !is_secure(&self.url) {
            return Err(CurlError::Clear(self.url.to_string()));
        }
        let request = self.request.read(&self.url)?;
        let caller = self.caller(environment)?;
        let held = caller.held(&self).await?;
        match (self.steal, self.print) {
            (Some(theft), _) => self.steal(&caller, &request, held, theft).await,
            (None, true) => self.print(&caller, &request, held).await,
            (None, false) => self.call(&caller, &request, held).await,
        }
    }

    fn caller(&self, environment: &Environment) -> Result<Caller, CurlError> {
        let wallet = Wallet::new(environment.state_directory.clone());
        let party = &self.party;
        let (transport, talk) = (Transport::new(self.request.certificates()), self.output.talk());
        let (scope, resource) = (party.scope.clone(), party.resource.clone());
        if let (Some(issuer), Some(client_id)) = (&party.issuer, &party.client_id) {
            let credential = match (&party.client_secret_file, &party.key) {
                (Some(file), _) => Credential::secret_file(file)?,
                (None, Some(file)) => Credential::key_file(file)?,
                (None, None) => Credential::None,
            };
            let login = party.login || matches!(credential, Credential::None);
            let identity = Identity { client_id: client_id.clone(), credential };
            let (issuer, session) = (issuer.clone(), String::new());
            return Ok(Caller { transport, identity, issuer, wallet, session, login, scope, resource, talk });
        }
        let port = self.url.port_or_known_default().unwrap_or_default();
        let dev = wallet.dev(port).ok_or(CurlError::NoIssuer(port))?;
        let issuer = dev.issuer.parse().map_err(|_| CurlError::NoIssuer(port))?;
        let resource = resource.or_else(|| Some(dev.resource.clone()));
        let identity = dev_identity(&dev, party.login);
        let (session, login) = (dev.session, party.login);
        Ok(Caller { transport, identity, issuer, wallet, session, login, scope, resource, talk })
    }

    /// The call itself: again with a nonce if the gate wants one, and again with a new token if it takes ours for dead.
    async fn call(&self, caller: &Caller, request: &Request, mut held: Held) -> Result<ExitCode, CurlError> {
        let origin = request.url.origin().ascii_serialization();
        let target = shown(&request.method, &request.url);
        let (mut response, mut proof) = caller.attempt(request, &mut held, &origin).await?;
        if response.status().as_u16() == 401
            && !self.fresh
            && challenge(response.headers()).is_some_and(|(error, _)| error == "invalid_token")
        {
            caller.talk.sent(
                "proof",
                &shown(&request.method, &request.url),
                "401 invalid_token -> getting a new token",
            );
            held = caller.renew(self).await?;
            (response, proof) = caller.attempt(request, &mut held, &origin).await?;
        }
        caller.wallet.save(&caller.pocket(), &held)?;
        if held.token.binding == Binding::Dpop {
            caller.talk.sent("proof", &target, &format!("by key {}", short(held.key.public().thumbprint())));
        }
        if self.replay {
            caller.talk.received(response.status().as_u16(), &outcome(response.headers()));
            caller.talk.sent("replay", &target, "with the very same proof");
            response = caller.send(request, &held.token, Some(&proof)).await?;
        }
        self.finish(caller, request, response).await
    }

    /// The same token without its key.
    async fn steal(
        &self,
        caller: &Caller,
        request: &Request,
        mut held: Held,
        theft: Theft,
    ) -> Result<ExitCode, CurlError> {
        let target = shown(&request.method, &request.url);
        let owner = short(held.key.public().thumbprint());
        let origin = request.url.origin().ascii_serialization();
        let response = match theft {
            Theft::Bearer => {
                caller.talk.sent("theft", &target, &format!("the token of key {owner} as a bearer token"));
                held.token.binding = Binding::Bearer;
                caller.send(request, &held.token, None).await?
            }
            Theft::Key if held.token.binding == Binding::Bearer => return Err(CurlError::NothingToSteal),
            Theft::Key => {
                held.key = new_key();
                let thief = short(held.key.public().thumbprint());
                let outcome = format!("the token of key {owner}, a proof by key {thief}");
                caller.talk.sent("theft", &target, &outcome);
                caller.attempt(request, &mut held, &origin).await?.0
            }
        };
        self.finish(caller, request, response).await
    }

    /// One command line for the curl of everybody.
    async fn print(&self, caller: &Caller, request: &Request, mut held: Held) -> Result<ExitCode, CurlError> {
        let origin = request.url.origin().ascii_serialization();
        if held.token.binding == Binding::Dpop && !held.nonces.contains_key(&origin) {
            caller.learn_nonce(request, &mut held, &origin).await?;
            caller.wallet.save(&caller.pocket(), &held)?;
        }
        let proof = proof_for(request, &held, &origin);
        println!("{}", request.command_line(&credentials(&held.token, proof.as_deref())));
        caller
            .talk
            .note("this line holds the token: do not share it; its proof is good for one request in the next minute");
        Ok(ExitCode::SUCCESS)
    }

    async fn finish(&self, caller: &Caller, request: &Request, response: Response) -> Result<ExitCode, CurlError> {
        let status = response.status();
        caller.talk.received(status.as_u16(), &outcome(response.headers()));
        self.output.write(response).await.map_err(|error| match error {
            output::WriteError::Read(error) => unreachable(&request.url, error).into(),
            output::WriteError::Write(error) => CurlError::Output(error),
        })?;
        Ok(if status.as_u16() < 400 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Caller {
    fn pocket(&self) -> Pocket<'_> {
        Pocket {
            issuer: self.issuer.as_str(),
            client_id: &self.identity.client_id,
            scope: self.scope.as_deref(),
            resource: self.resource.as_deref(),
            session: &self.session,
        }
    }

    /// The token kept from before, if it is good, or a new one.
    async fn held(&self, curl: &Curl) -> Result<Held, ClientError> {
        if !curl.fresh
            && let Some(held) = self.wallet.load(&self.pocket()).filter(Held::is_fresh)
        {
            let life = held.token.expires.since(super::client::now()).as_secs();
            let key = short(held.key.public().thumbprint());
            self.talk.sent(
                "token",
                "from the last call",
                &format!("{}, {life} s, key {key}", held.token.binding.scheme()),
            );
            return Ok(held);
        }
        self.renew(curl).await
    }

    /// A new token: by the refresh token if there is one and the server takes it, else from the beginning.
    async fn renew(&self, curl: &Curl) -> Result<Held, ClientError> {
        let server = ServerMetadata::discover(&self.transport, &self.issuer).await?;
        let client = TokenClient {
            transport: &self.transport,
            server: &server,
            identity: &self.identity,
            scope: self.scope.as_deref(),
            resource: self.resource.as_deref(),
            talk: self.talk,
        };
        let before = self.wallet.load(&self.pocket()).filter(|_| !curl.fresh);
        let (key, nonces, old) = match before {
            Some(Held { key, nonces, token }) => (key, nonces, token.refresh),
            None => (new_key(), std::collections::BTreeMap::new(), None),
        };
        let refreshed = match &old {
            Some(old) => self.refresh(&client, &key, old).await?,
            None => None,
        };
        let token = match refreshed {
            Some(token) => token,
            None if self.login => {
                let way = if curl.party.no_browser { SignIn::PrintAddress } else { SignIn::StartBrowser };
                sign_in(&client, &key, &curl.party.redirect_path, way).await?
            }
            None => client.token(&TokenGrant::ClientCredentials, &key).await?,
        };
        let held = Held { key, token, nonces };
        self.wallet.save(&self.pocket(), &held)?;
        Ok(held)
    }

    /// Refreshes; a grant that has ended is no error, but a reason to begin again.
    async fn refresh(
        &self,
        client: &TokenClient<'_>,
        key: &SigningKey,
        old: &secrecy::SecretString,
    ) -> Result<Option<Token>, ClientError> {
        match client.token(&TokenGrant::RefreshToken(old), key).await {
            Ok(mut token) => {
                token.refresh = token.refresh.or_else(|| Some(old.clone())); // RFC 6749 §6: no new one, same one
                Ok(Some(token))
            }
            Err(ClientError::Refused { error, .. }) if error == "invalid_grant" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Calls the API with a new proof, and once more if it wants a nonce (RFC 9449 §9). Gives the proof that counted.
    async fn attempt(
        &self,
        request: &Request,
        held: &mut Held,
        origin: &str,
    ) -> Result<(Response, String), ClientError> {
        let target = shown(&request.method, &request.url);
        let mut proof = proof_for(request, held, origin);
        let mut response = self.send(request, &held.token, proof.as_deref()).await?;
        let wanted = challenge(response.headers()).is_some_and(|(error, _)| error == "use_dpop_nonce");
        let given = nonce(response.headers());
        let retry = wanted && given.is_some();
        held.nonces.extend(given.map(|nonce| (origin.to_owned(), nonce)));
        if retry {
            self.talk.sent(
                "proof",
                &target,
                &format!("{} use_dpop_nonce -> again with the nonce", response.status().as_u16()),
            );
            proof = proof_for(request, held, origin);
            response = self.send(request, &held.token, proof.as_deref()).await?;
            held.nonces.extend(nonce(response.headers()).map(|nonce| (origin.to_owned(), nonce)));
        }
        Ok((response, proof.unwrap_or_default()))
    }

    /// Asks for the nonce that a printed command line will need, with a proof by a key that is nobody's: whatever the
    /// request would do, it is not done.
    async fn learn_nonce(&self, request: &Request, held: &mut Held, origin: &str) -> Result<(), ClientError> {
        let token = Some(held.token.access.expose_secret());
        let target = Target { method: &request.method, url: &request.url, token, nonce: None };
        let proof = prove(&new_key(), &target);
        let response = self.send(&request.without_body(), &held.token, Some(&proof)).await?;
        held.nonces.extend(nonce(response.headers()).map(|nonce| (origin.to_owned(), nonce)));
        Ok(())
    }

    async fn send(&self, request: &Request, token: &Token, proof: Option<&str>) -> Result<Response, ClientError> {
        let credentials = credentials(token, proof);
        let response = request.build(&self.transport, &credentials).send().await;
        response.map_err(|error| unreachable(&request.url, error))
    }
}

/// A proof for this request, if the token wants one.
fn proof_for(request: &Request, held: &Held, origin: &str) -> Option<String> {
    let token = Some(held.token.access.expose_secret());
    let nonce = held.nonces.get(origin).map(String::as_str);
    let target = Target { method: &request.method, url: &request.url, token, nonce };
    (held.token.binding == Binding::Dpop).then(|| prove(&held.key, &target))
}

/// The headers that carry a token and its proof.
fn credentials(token: &Token, proof: Option<&str>) -> Vec<(&'static str, String)> {
    let authorization = format!("{} {}", token.binding.scheme(), token.access.expose_secret());
    let mut headers = vec![("Authorization", authorization)];
    headers.extend(proof.map(|proof| ("DPoP", proof.to_owned())));
    headers
}

/// Who to be for a `tollgate dev`.
fn dev_identity(dev: &DevSession, login: bool) -> Identity {
    if login {
        return Identity { client_id: dev.people_client_id.clone(), credential: Credential::None };
    }
    let credential = Credential::Secret(dev.service_client_secret.as_str().into());
    Identity { client_id: dev.service_client_id.clone(), credential }
}

/// What the challenge of an answer says, and where to read on.
fn outcome(headers: &HeaderMap) -> String {
    let Some((error, description)) = challenge(headers) else { return String::new() };
    let name = explain::name_of(&error, &description).unwrap_or(&error);
    format!("{error}: {description}    (tollgate explain {name})")
}
