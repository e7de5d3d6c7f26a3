//! `tollgate curl`: calls an API with a token and a fresh proof, tells what happened, and can play the thief.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use miette::Diagnostic;
use reqwest::header::HeaderMap;
use reqwest::{Response, Url};
use secrecy::ExposeSecret as _;

use super::Environment;
use super::client::{
    Binding, ClientError, Credential, Held, Party, PartyOptions, Renewal, ServerMetadata, SignIn, Talk, Target, Token,
    TokenClient, TokenGrant, Transport, Wallet, challenge, is_secure, new_key, nonce, prove, refreshed, short, shown,
    sign_in, unreachable,
};
use super::explain;

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
    sign_in: SignInOptions,
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

/// Who signs in, and how. Without an issuer, whoever signed in with `tollgate login` is asked for, then the running
/// `tollgate dev`.
#[derive(Debug, Args)]
struct SignInOptions {
    #[command(flatten)]
    party: PartyOptions,
    /// Sign a person in, even if the client could get a token by itself
    #[arg(long)]
    login: bool,
    /// Print the address of the sign-in page, but start no browser
    #[arg(long)]
    no_browser: bool,
    /// The path at which the client has its loopback redirect URI
    #[arg(long, value_name = "PATH", default_value = "/callback")]
    redirect_path: String,
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
    #[error("nobody has signed in for {0}, there is no `tollgate dev` behind it, and no --issuer was given")]
    #[diagnostic(help(
        "run `tollgate login` with its --resource, or `tollgate dev` in another terminal, or give --issuer URL and \
         --client-id ID"
    ))]
    NoIssuer(String),
    /// The sign-in of `tollgate login` has ended.
    #[error("the sign-in of `tollgate login` has ended")]
    #[diagnostic(help("run it again, with the same flags"))]
    LoginEnded,
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

/// How a token is come by when there is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Beginning {
    /// The client asks for one (RFC 6749 §4.4).
    ClientCredentials,
    /// A person signs in.
    SignIn,
    /// By `tollgate login` only.
    Login,
}

/// Everything that a call needs once the flags are understood.
struct Caller {
    transport: Transport,
    party: Party,
    beginning: Beginning,
    wallet: Wallet,
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
        let (transport, talk) = (Transport::new(self.request.certificates()), self.output.talk());
        let (party, beginning) = self.party(&wallet)?;
        Ok(Caller { transport, party, beginning, wallet, talk })
    }

    /// Who calls: whom the flags name, or who signed in for this URL, or a client of the `tollgate dev` behind it.
    fn party(&self, wallet: &Wallet) -> Result<(Party, Beginning), CurlError> {
        let SignInOptions { party: options, login, .. } = &self.sign_in;
        if let Some(party) = options.named()? {
            let person = *login || matches!(party.identity.credential, Credential::None);
            let beginning = if person { Beginning::SignIn } else { Beginning::ClientCredentials };
            return Ok((party, beginning));
        }
        let origin = self.url.origin().ascii_serialization();
        let dev = wallet.dev(self.url.port_or_known_default().unwrap_or_default());
        let session = dev.as_ref().map(|dev| dev.session.as_str()).unwrap_or_default();
        if let Some(signed_in) = wallet.login(&origin, session).filter(|kept| !login && options.fit(kept)) {
            return Ok((Party::of_login(signed_in)?, Beginning::Login));
        }
        let found = dev.and_then(|dev| {
            if *login {
                return Some((options.person_at(&dev)?, Beginning::SignIn));
            }
            Some((options.program_at(&dev)?, Beginning::ClientCredentials))
        });
        found.ok_or(CurlError::NoIssuer(origin))
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
            held = caller.renew(self, Renewal::InsteadOf(&held.token.access)).await?;
            (response, proof) = caller.attempt(request, &mut held, &origin).await?;
        }
        caller.wallet.save_nonces(&caller.party.pocket(), &held).await?;
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
            caller.wallet.save_nonces(&caller.party.pocket(), &held).await?;
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
    /// The token kept from before, if it is good, or a new one.
    async fn held(&self, curl: &Curl) -> Result<Held, CurlError> {
        if !curl.fresh
            && let Some(held) = self.wallet.load(&self.party.pocket()).filter(Held::is_fresh)
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
        self.renew(curl, if curl.fresh { Renewal::Wanted } else { Renewal::Expired }).await
    }

    /// A new token: by the refresh token if there is one and the server takes it, else from the beginning.
    async fn renew(&self, curl: &Curl, renewal: Renewal<'_>) -> Result<Held, CurlError> {
        if !curl.fresh || self.beginning == Beginning::Login {
            let with = (&self.transport, self.talk);
            if let Some(held) = refreshed(&self.party, with, &self.wallet, renewal).await? {
                return Ok(held);
            }
        }
        let server = ServerMetadata::discover(&self.transport, &self.party.issuer).await?;
        let client = TokenClient::new(&self.party, &server, &self.transport, self.talk);
        let before = self.wallet.load(&self.party.pocket()).filter(|_| !curl.fresh);
        let (key, nonces) = before.map_or_else(|| (new_key(), BTreeMap::new()), |held| (held.key, held.nonces));
        let token = match self.beginning {
            Beginning::Login => return Err(CurlError::LoginEnded),
            Beginning::ClientCredentials => client.token(&TokenGrant::ClientCredentials, &key).await?,
            Beginning::SignIn => {
                let SignInOptions { no_browser, redirect_path, .. } = &curl.sign_in;
                let way = if *no_browser { SignIn::PrintAddress } else { SignIn::StartBrowser };
                sign_in(&client, &key, redirect_path, way).await?
            }
        };
        let held = Held { key, token, nonces };
        let _locked = self.wallet.lock(&self.party.pocket()).await?;
        self.wallet.save(&self.party.pocket(), &held)?;
        Ok(held)
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

/// What the challenge of an answer says, and where to read on.
fn outcome(headers: &HeaderMap) -> String {
    let Some((error, description)) = challenge(headers) else { return String::new() };
    let name = explain::name_of(&error, &description).unwrap_or(&error);
    format!("{error}: {description}    (tollgate explain {name})")
}
