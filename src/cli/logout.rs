//! `tollgate logout`: tells the server that the sign-in has ended (RFC 7009), and forgets the token and its key.

use std::process::ExitCode;

use clap::Args;
use miette::Diagnostic;

use super::Environment;
use super::client::{
    Certificates, ClientError, Party, PartyOptions, ServerMetadata, Talk, Token, TokenClient, Transport, Wallet,
};

/// Which sign-in to end: the flags that `tollgate login` had, or its resource.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tollgate logout                                            of the running `tollgate dev`
  tollgate logout --resource https://api.example.com
  tollgate logout --issuer https://auth.example.com --client-id tv

Exit code: 0 when the files are gone and the server knows, or cannot be told; 1 if it could not be reached or refused.")]
pub(super) struct Logout {
    #[command(flatten)]
    party: PartyOptions,
}

/// Why there was nothing to end, or not all of it has ended.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub(super) enum LogoutError {
    /// The files could not be removed.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Client(#[from] ClientError),
    /// Nobody is signed in.
    #[error("nobody is signed in there")]
    #[diagnostic(help("give the flags that `tollgate login` had"))]
    Nobody,
    /// The server does not know.
    #[error("token and key are removed here, but the server could not be told")]
    #[diagnostic(help("the refresh token is gone with its key; the grant ends by itself, or on the server"))]
    Untold(#[source] ClientError),
}

impl Logout {
    /// Removes token and key, whether or not the server can be told.
    pub(super) async fn run(self, environment: &Environment) -> Result<ExitCode, LogoutError> {
        let wallet = Wallet::new(environment.state_directory.clone());
        let party = self.party(&wallet)?.ok_or(LogoutError::Nobody)?;
        let pocket = party.pocket();
        let held = wallet.load(&pocket).ok_or(LogoutError::Nobody)?;
        let locked = wallet.lock(&pocket).await?;
        let token = wallet.load(&pocket).map_or(held.token, |held| held.token);
        wallet.discard(&pocket)?;
        drop(locked);
        let revoked = revoke(&party, &token).await.map_err(LogoutError::Untold)?;
        let server = if revoked { "and the server has ended the grant" } else { "the server takes no revocations" };
        println!("  signed out: token and key are removed, {server}");
        println!("  try      {} login", environment.program);
        Ok(ExitCode::SUCCESS)
    }

    fn party(&self, wallet: &Wallet) -> Result<Option<Party>, ClientError> {
        if let Some(party) = self.party.named()? {
            return Ok(Some(party));
        }
        let login = self.party.resource.as_ref().and_then(|resource| wallet.login(resource, ""));
        match login {
            Some(login) => Party::of_login(login).map(Some),
            None => Ok(self.party.person_at_home(wallet)),
        }
    }
}

/// Revokes the refresh token, or the access token if there is none; `false` if the server has no endpoint for that.
async fn revoke(party: &Party, token: &Token) -> Result<bool, ClientError> {
    let transport = Transport::new(Certificates::Check);
    let server = ServerMetadata::discover(&transport, &party.issuer).await?;
    TokenClient::new(party, &server, &transport, Talk::Tell).revoke(token).await
}
