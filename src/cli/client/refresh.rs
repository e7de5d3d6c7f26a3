//! The token kept from before, renewed by its refresh token (RFC 6749 §6) by one process at a time.

use secrecy::{ExposeSecret as _, SecretString};

use super::{ClientError, Held, Party, ServerMetadata, Talk, TokenClient, TokenGrant, Transport, Wallet};

/// Why the token that is kept will not do.
#[derive(Clone, Copy)]
pub(in crate::cli) enum Renewal<'a> {
    /// It will, unless it has expired.
    Expired,
    /// This one is not taken any more.
    InsteadOf(&'a SecretString),
    /// Another one is wanted in any case.
    Wanted,
}

/// What is kept for a party, refreshed unless another process has just done so; `None` if there is nothing, or the grant
/// has ended.
pub(in crate::cli) async fn refreshed(
    party: &Party,
    (transport, talk): (&Transport, Talk),
    wallet: &Wallet,
    renewal: Renewal<'_>,
) -> Result<Option<Held>, ClientError> {
    let pocket = party.pocket();
    if wallet.load(&pocket).is_none() {
        return Ok(None);
    }
    let _locked = wallet.lock(&pocket).await?;
    let Some(mut held) = wallet.load(&pocket) else { return Ok(None) };
    let will_do = match renewal {
        Renewal::Expired => true,
        Renewal::InsteadOf(old) => old.expose_secret() != held.token.access.expose_secret(),
        Renewal::Wanted => false,
    };
    if will_do && held.is_fresh() {
        return Ok(Some(held));
    }
    let Some(old) = held.token.refresh.take() else { return Ok(None) };
    let server = ServerMetadata::discover(transport, &party.issuer).await?;
    let client = TokenClient::new(party, &server, transport, talk);
    match client.token(&TokenGrant::RefreshToken(&old), &held.key).await {
        Ok(mut token) => {
            token.refresh = token.refresh.or(Some(old)); // RFC 6749 §6: no new one, same one
            held.token = token;
            wallet.save(&pocket, &held)?;
            Ok(Some(held))
        }
        Err(ClientError::Refused { error, .. }) if error == "invalid_grant" => Ok(None),
        Err(error) => Err(error),
    }
}
