"""requests-oauth2client (PyPI) as a device: codes, polling, DPoP with nonces; then the API behind the gate."""

import os
import time

import requests
from browser import decide
from environment import check, metadata_url, step
from requests_oauth2client import (
    DeviceAuthorizationPollingJob,
    DPoPKey,
    DPoPToken,
    OAuth2Client,
)
from requests_oauth2client.exceptions import AccessDenied

ISSUER = os.environ["ISSUER"]
CLIENT_ID = os.environ["CLIENT_ID"]
SCOPE = os.environ["SCOPE"]
RESOURCE = os.environ["RESOURCE"]


metadata = requests.get(metadata_url(ISSUER), timeout=10).json()
client = OAuth2Client.from_discovery_document(
    metadata,
    issuer=ISSUER,
    # The library reads every endpoint but this one from the metadata.
    device_authorization_endpoint=metadata["device_authorization_endpoint"],
    auth=CLIENT_ID,
    dpop_bound_access_tokens=True,
    testing=True,  # plain http on loopback
)


def poll(device, key):
    """Poll at the pace that the server wants until there is a token."""
    job = DeviceAuthorizationPollingJob(client, device, dpop_key=key, resource=RESOURCE)
    token = None
    while token is None:
        token = job()
    return token


key = DPoPKey.generate(alg="ES256")
device = client.authorize_device(scope=SCOPE, resource=RESOURCE, dpop_jkt=key.dpop_jkt)
check(device.user_code and device.interval >= 5, "codes from the device authorization endpoint")
decide(device.verification_uri_complete, "approve")
started = time.monotonic()
token = poll(device, key)
check(isinstance(token, DPoPToken), "a person approved, and the device got a DPoP-bound token")
check(time.monotonic() - started < 60, "in time")

answer = requests.get(f"{RESOURCE}/orders", auth=token, timeout=10)
check(answer.status_code == 200, "the API behind the gate answers the device")
check(answer.json()["headers"]["x-auth-client"] == CLIENT_ID, "and knows the client")

device = client.authorize_device(scope=SCOPE, resource=RESOURCE)
decide(device.verification_uri_complete, "deny")
try:
    poll(device, DPoPKey.generate(alg="ES256"))
except AccessDenied:
    step("a declined device is told access_denied")
else:
    raise SystemExit("FAILED  a declined device got a token")
