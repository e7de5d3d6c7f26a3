//! A relying party made of the crate `openidconnect`: discovery, code and PKCE, ID tokens, UserInfo, refresh.
//!
//! Prints the URL that the person has to open, and reads the code that came back from a line of standard input.

use std::env::var;
use std::error::Error;
use std::io::stdin;

use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreProviderMetadata, CoreUserInfoClaims};
use openidconnect::{
    AccessTokenHash, AuthorizationCode, ClientId, ClientSecret, CsrfToken, HttpRequest, HttpResponse, IssuerUrl, Nonce,
    OAuth2TokenResponse as _, PkceCodeChallenge, RedirectUrl, Scope, TokenResponse as _,
};

/// Sends what the crate wants sent.
async fn send(request: HttpRequest) -> Result<HttpResponse, reqwest::Error> {
    let (parts, body) = request.into_parts();
    let request = reqwest::Client::new().request(parts.method, parts.uri.to_string()).headers(parts.headers);
    let response = request.body(body).send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut answer = HttpResponse::new(response.bytes().await?.to_vec());
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    Ok(answer)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let provider = CoreProviderMetadata::discover_async(IssuerUrl::new(var("ISSUER")?)?, &send).await?;
    println!("ok discovery");
    let secret = ClientSecret::new(var("CLIENT_SECRET")?);
    let client = CoreClient::from_provider_metadata(provider, ClientId::new(var("CLIENT_ID")?), Some(secret))
        .set_redirect_uri(RedirectUrl::new(var("REDIRECT_URI")?)?);
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let flow = CoreAuthenticationFlow::AuthorizationCode;
    let request = client.authorize_url(flow, CsrfToken::new_random, Nonce::new_random);
    let scopes = ["profile", "email", "orders:read"].map(|scope| Scope::new(scope.to_owned()));
    let (url, _, nonce) = request.add_scopes(scopes).set_pkce_challenge(challenge).url();
    println!("open {url}");
    let mut code = String::new();
    stdin().read_line(&mut code)?;

    let code = AuthorizationCode::new(code.trim().to_owned());
    let tokens = client.exchange_code(code)?.set_pkce_verifier(verifier).request_async(&send).await?;
    let id_token = tokens.id_token().ok_or("no ID token")?;
    let judge = client.id_token_verifier();
    let told = id_token.claims(&judge, &nonce)?;
    let (algorithm, key) = (id_token.signing_alg()?, id_token.signing_key(&judge)?);
    let hash = AccessTokenHash::from_token(tokens.access_token(), algorithm, key)?;
    assert_eq!(told.access_token_hash(), Some(&hash));
    assert!(id_token.claims(&judge, &Nonce::new("of another request".to_owned())).is_err());
    println!("ok an ID token of this request, and of this access token");

    let person = client.user_info(tokens.access_token().clone(), Some(told.subject().clone()))?;
    let person: CoreUserInfoClaims = person.request_async(&send).await?;
    assert_eq!(person.email().map(|email| email.as_str()), Some("ada@example.com"));
    println!("ok UserInfo");

    let refresh = tokens.refresh_token().ok_or("no refresh token")?;
    let refreshed = client.exchange_refresh_token(refresh)?.request_async(&send).await?;
    assert_ne!(refreshed.access_token().secret(), tokens.access_token().secret());
    if let Some(id_token) = refreshed.id_token() {
        let again = id_token.claims(&judge, |_: Option<&Nonce>| Ok(()))?;
        assert_eq!(again.subject(), told.subject());
    }
    println!("ok refresh");
    Ok(())
}
