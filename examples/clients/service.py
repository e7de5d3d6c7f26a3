"""A service that calls an API, with requests-oauth2client: client_credentials, a DPoP-bound token, nonces."""

import os

import requests
from requests_oauth2client import ClientSecretBasic, OAuth2Client

ISSUER = os.environ["ISSUER"]
RESOURCE = os.environ["RESOURCE"]

client = OAuth2Client.from_discovery_endpoint(
    url=f"{ISSUER}/.well-known/oauth-authorization-server",
    issuer=ISSUER,
    auth=ClientSecretBasic(os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"]),
    dpop_bound_access_tokens=True,
    testing=ISSUER.startswith("http://127.0.0.1"),  # plain http on loopback
)
token = client.client_credentials(resource=RESOURCE)

# The token knows its key: as `auth` it adds a new proof to each request, and answers a challenge for a nonce.
answer = requests.get(f"{RESOURCE}/orders", auth=token, timeout=10)
print(answer.status_code, answer.text)
