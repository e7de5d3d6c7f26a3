"""Authlib (PyPI): a client of the usual kind, with bearer tokens: code and PKCE, refresh, introspection, revocation."""

import os
import time

import requests
from authlib.integrations.requests_client import OAuth2Session, OAuthError
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from browser import authorize
from environment import check, metadata_url
from joserfc import jwt
from joserfc.jwk import KeySet

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # plain http on loopback
ISSUER = os.environ["ISSUER"]
REDIRECT_URI = os.environ["REDIRECT_URI"]
RESOURCE = os.environ["RESOURCE"]


metadata = requests.get(metadata_url(ISSUER), timeout=10).json()


def session(secret):
    """The client, which authenticates with a secret."""
    return OAuth2Session(
        os.environ["CLIENT_ID"],
        secret,
        token_endpoint_auth_method="client_secret_basic",
        scope=os.environ["SCOPE"],
        redirect_uri=REDIRECT_URI,
        code_challenge_method="S256",
        token_endpoint=metadata["token_endpoint"],
    )


client = session(os.environ["CLIENT_SECRET"])
verifier = "v" * 64
url, state = client.create_authorization_url(
    metadata["authorization_endpoint"], code_verifier=verifier, resource=RESOURCE
)
check(create_s256_code_challenge(verifier) in url, "a request with PKCE")
answer = authorize(url, REDIRECT_URI)
token = client.fetch_token(metadata["token_endpoint"], authorization_response=answer, state=state, code_verifier=verifier)
check(token["token_type"] == "Bearer" and token["refresh_token"], "the code became a bearer token and a refresh token")

keys = KeySet.import_key_set(requests.get(metadata["jwks_uri"], timeout=10).json())
claims = jwt.decode(token["access_token"], keys).claims
check(claims["aud"] == RESOURCE and claims["iss"] == ISSUER, "its signature verifies, and it names issuer and audience")
check("cnf" not in claims and claims["exp"] > time.time(), "it is bound to no key, and good")

introspected = client.introspect_token(metadata["introspection_endpoint"], token=token["access_token"]).json()
check(introspected["active"] and introspected["sub"] == claims["sub"], "introspection knows it")
refreshed = client.refresh_token(metadata["token_endpoint"], refresh_token=token["refresh_token"])
check(refreshed["access_token"] != token["access_token"], "a refresh gave another one")
revoked = client.revoke_token(metadata["revocation_endpoint"], token=refreshed["refresh_token"])
check(revoked.status_code == 200, "the refresh token is revoked")
introspected = client.introspect_token(metadata["introspection_endpoint"], token=refreshed["access_token"]).json()
check(introspected == {"active": False}, "and with it what it gave")

try:
    session("wrong").fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
except OAuthError as error:
    check(error.error == "invalid_client", "a wrong secret is invalid_client")
else:
    raise SystemExit("FAILED  a wrong secret was accepted")
