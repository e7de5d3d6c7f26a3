//! `tollgate login`: signs a person in, with a code that is entered on another device (RFC 8628) or in a browser of this
//! machine (RFC 8252), and keeps the token and its key for `tollgate curl`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use miette::Diagnostic;

use super::client::{
    Binding, Certificates, ClientError, DeviceAuthorization, Held, Party, PartyOptions, ServerMetadata, SignIn, Talk,
    Token, TokenClient, Transport, Wallet, new_key, now, short, sign_in,
};
use super::signals::Signals;
use super::{Environment, quote};
use crate::jose::SigningKey;

mod screen;

use screen::Screen;

/// The exit code of a program that Ctrl-C has ended, as shells count it.
const INTERRUPTED: u8 = 130;

/// Whom to sign in where.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tollgate login                                   while `tollgate dev` runs
  tollgate login --issuer https://auth.example.com --client-id tv --resource https://api.example.com
  tollgate login --browser --issuer https://auth.example.com --client-id cli

Exit code: 0 when signed in, 1 when declined, expired or refused, 2 for a command that cannot be right, 130 for Ctrl-C.")]
pub(super) struct Login {
    #[command(flatten)]
    party: PartyOptions,
    /// Sign in with a browser on this machine: no code, but a redirect to loopback
    #[arg(long)]
    browser: bool,
    /// Print the address of the sign-in page, but start no browser
    #[arg(long, requires = "browser")]
    no_browser: bool,
    /// The path at which the client has its loopback redirect URI
    #[arg(long, value_name = "PATH", default_value = "/callback", requires = "browser")]
    redirect_path: String,
}

/// Why nobody is signed in.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub(super) enum LoginError {
    /// The client could not get its token.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Client(#[from] ClientError),
    /// Nobody said where to sign in.
    #[error("there is not exactly one `tollgate dev`, and no --issuer was given")]
    #[diagnostic(help(
        "give --issuer URL and --client-id ID, or run `tollgate dev` in another terminal; if several run, say which by \
         --resource"
    ))]
    NoIssuer,
    /// Nothing could tell it to stop.
    #[error("cannot listen to signals")]
    Signals(#[source] std::io::Error),
}

impl Login {
    /// Signs in and keeps the token; nothing is kept if Ctrl-C comes first.
    pub(super) async fn run(self, environment: &Environment) -> Result<ExitCode, LoginError> {
        let mut signals = Signals::listen().map_err(LoginError::Signals)?;
        let wallet = Wallet::new(environment.state_directory.clone());
        let party = match self.party.named()? {
            Some(party) => party,
            None => self.party.person_at_home(&wallet).ok_or(LoginError::NoIssuer)?,
        };
        let signed_in = async {
            let transport = Transport::new(Certificates::Check);
            let server = ServerMetadata::discover(&transport, &party.issuer).await?;
            let client = TokenClient::new(&party, &server, &transport, Talk::Tell);
            // The key of an earlier sign-in, so that what is bound to it stays of use.
            let key = wallet.load(&party.pocket()).map_or_else(new_key, |held| held.key);
            let token = self.token(&client, &key, environment).await?;
            let held = Held { key, token, nonces: BTreeMap::new() };
            let _locked = wallet.lock(&party.pocket()).await?;
            wallet.save(&party.pocket(), &held)?;
            self.party.login(&party).map_or(Ok(()), |login| wallet.remember(&login))?;
            Ok::<_, ClientError>(held)
        };
        let held = tokio::select! {
            held = signed_in => held?,
            _ = signals.next() => {
                eprintln!("\nstopped: nobody was signed in");
                return Ok(ExitCode::from(INTERRUPTED));
            }
        };
        tell(&party, &held, &environment.program);
        Ok(ExitCode::SUCCESS)
    }

    async fn token(
        &self,
        client: &TokenClient<'_>,
        key: &SigningKey,
        environment: &Environment,
    ) -> Result<Token, ClientError> {
        if self.browser {
            let way = if self.no_browser { SignIn::PrintAddress } else { SignIn::StartBrowser };
            return sign_in(client, key, &self.redirect_path, way).await;
        }
        let device = DeviceAuthorization::begin(client, key).await?;
        let mut screen = Screen::show(&device, environment.colours);
        device.token(client, key, &mut |waiting| screen.tell(&waiting)).await
    }
}

/// What there is now, and the next commands to type.
fn tell(party: &Party, held: &Held, program: &str) {
    let life = held.token.expires.since(now()).as_secs();
    let key = match held.token.binding {
        Binding::Dpop => format!(", good with key {} only", short(held.key.public().thumbprint())),
        Binding::Bearer => ", good for whoever has it: the server does not bind it to our key".to_owned(),
    };
    let refresh = if held.token.refresh.is_some() { ", renewed by itself" } else { "" };
    println!("  signed in at {}", party.issuer);
    println!("  token    {}, {life} s{refresh}{key}", held.token.binding.scheme());
    let (call, end) = next(party, program);
    println!("  try      {call}");
    println!("           {end}");
}

/// The commands that call the API and that sign out.
fn next(party: &Party, program: &str) -> (String, String) {
    let (client_id, issuer) = (quote(&party.identity.client_id), quote(party.issuer.as_str()));
    let Some(resource) = &party.resource else {
        let scope = party.scope.as_ref().map(|scope| format!(" --scope {}", quote(scope))).unwrap_or_default();
        let flags = format!("--issuer {issuer} --client-id {client_id}{scope}");
        return (format!("{program} curl {flags} URL"), format!("{program} logout {flags}"));
    };
    let resource = resource.trim_end_matches('/');
    let path = if party.session.is_empty() { "/" } else { "/orders" };
    let call = format!("{program} curl {}", quote(&format!("{resource}{path}")));
    (call, format!("{program} logout --resource {}", quote(resource)))
}
