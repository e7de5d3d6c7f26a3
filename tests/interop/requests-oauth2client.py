"""requests-oauth2client (PyPI): client_credentials with private_key_jwt and DPoP with a nonce, checked by jwskate."""

import json
import os

import requests
from environment import check, metadata_url, step
from jwskate import Jwk, JwkSet, SignedJwt
from requests_oauth2client import DPoPKey, DPoPToken, OAuth2Client, PrivateKeyJwt
from requests_oauth2client.exceptions import EndpointError, InvalidScope

ISSUER = os.environ["ISSUER"]
CLIENT_ID = os.environ["CLIENT_ID"]
SCOPE = os.environ["SCOPE"]
RESOURCE = os.environ["RESOURCE"]


with open(os.environ["CLIENT_KEY"], encoding="utf-8") as file:
    client_key = Jwk(json.load(file))

client = OAuth2Client.from_discovery_endpoint(
    url=metadata_url(ISSUER),
    issuer=ISSUER,
    # The library's default audience is the token endpoint; RFC 7523bis and FAPI 2.0 demand the issuer.
    auth=PrivateKeyJwt(CLIENT_ID, client_key, alg="ES256", aud=ISSUER),
    dpop_bound_access_tokens=True,
    testing=True,  # plain http on loopback
)
step(f"metadata of {client.issuer}")

key = DPoPKey.generate(alg="ES256")
token = client.client_credentials(scope=SCOPE, resource=RESOURCE, dpop_key=key)
check(isinstance(token, DPoPToken), "client_credentials gave a DPoP-bound token")
check(key.as_nonce, "the token endpoint asked for a nonce first")

jwt = SignedJwt(token.access_token)
jwks = JwkSet(requests.get(client.jwks_uri, timeout=10).json())
check(jwt.verify_signature(jwks, alg="ES256"), "its signature verifies with the published keys")
check(jwt.headers["typ"].lower() == "at+jwt", "its type is at+jwt")
check(jwt.claims["cnf"] == {"jkt": key.dpop_jkt}, "it is bound to our key")
check(jwt.issuer == ISSUER and RESOURCE in jwt.audiences, "it names its issuer and its audience")
check(jwt.claims["client_id"] == jwt.subject == CLIENT_ID, "it names the client")

again = client.client_credentials(scope=SCOPE, resource=RESOURCE, dpop_key=key)
check(again.access_token != token.access_token, "a second token came with the nonce already known")

try:
    client.client_credentials(scope="no-such-scope", resource=RESOURCE, dpop_key=key)
except InvalidScope:
    step("an unknown scope is invalid_scope")
else:
    raise SystemExit("FAILED  an unknown scope was granted")

try:
    client.client_credentials(scope=SCOPE, resource=RESOURCE, dpop=False)
except EndpointError as error:  # the library knows no class for the codes of RFC 9449
    check(error.error in ("invalid_dpop_proof", "invalid_request"), "a token without a proof is refused")
else:
    raise SystemExit("FAILED  a token was issued without a proof")
