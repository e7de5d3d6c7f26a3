"""authlib (PyPI) issues the tokens that a gate takes: RFC 9068, bound to the key of the proof that came with the request."""

import base64
import hashlib
import json
import os
import threading
import time
import urllib.error
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from authlib.oauth2.rfc6749 import AuthorizationServer, ClientMixin, OAuth2Request
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from joserfc import jws, jwt
from joserfc.jwk import ECKey, KeySet

from environment import check, step

ISSUER = os.environ["ISSUER"]
RESOURCE = os.environ["RESOURCE"]
ORDER = f"{RESOURCE}/orders/7"
PATIENCE = 30
SECRET = "a secret of the robots that is long enough"

key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)
request_key = threading.local()


class Robot(ClientMixin):
    """The only client."""

    def get_client_id(self):
        return "robot"

    def get_allowed_scope(self, scope):
        return scope or ""

    def check_client_secret(self, client_secret):
        return client_secret == SECRET

    def check_endpoint_auth_method(self, method, endpoint):
        return method == "client_secret_basic"

    def check_grant_type(self, grant_type):
        return grant_type == "client_credentials"


class Tokens(JWTBearerTokenGenerator):
    """What the issuer adds to what RFC 9068 says anyway."""

    def get_jwks(self):
        return KeySet([key]).as_dict(private=True)

    def get_audiences(self, client, user, scope):
        return request_key.audience

    def get_extra_claims(self, client, grant_type, user, scope):
        return {"cnf": {"jkt": request_key.jkt}} if request_key.jkt else {}


class Server(AuthorizationServer):
    """Authlib's server, spoken to by the handler below."""

    def query_client(self, client_id):
        return Robot() if client_id == "robot" else None

    def save_token(self, token, request):
        pass

    def send_signal(self, name, *args, **kwargs):
        pass

    def create_oauth2_request(self, request):
        return request

    def handle_response(self, status, body, headers):
        return status, body, headers


server = Server()
server.register_grant(ClientCredentialsGrant)
server.register_token_generator("default", Tokens(issuer=ISSUER, alg="ES256"))


class Handler(BaseHTTPRequestHandler):
    """Metadata, keys and the token endpoint."""

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        documents = {
            "/.well-known/oauth-authorization-server": {
                "issuer": ISSUER,
                "jwks_uri": f"{ISSUER}/jwks",
                "token_endpoint": f"{ISSUER}/token",
                "response_types_supported": [],
            },
            "/jwks": KeySet([key]).as_dict(private=False),
        }
        document = documents.get(self.path)
        self.answer(200 if document else 404, document or {})

    def do_POST(self):
        form = dict(parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
        proof = self.headers.get("dpop")
        request_key.jkt = ECKey.import_key(jws.extract_compact(proof.encode()).headers()["jwk"]).thumbprint() if proof else None
        request_key.audience = form.get("resource", RESOURCE)
        request = OAuth2Request("POST", f"{ISSUER}{self.path}", headers=dict(self.headers))
        request.payload = BasicOAuth2Payload(form)
        status, body, _ = server.create_token_response(request)
        self.answer(status, body)

    def log_message(self, *_):
        pass


def post(url, form, headers):
    """The JSON that is answered."""
    data = "&".join(f"{name}={urllib.request.quote(value, safe='')}" for name, value in form.items()).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers)) as answer:
        return json.load(answer)


def token(by=None, **form):
    """A token for the robot, bound to a key if there is one."""
    basic = base64.b64encode(f"robot:{SECRET}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}"}
    if by:
        headers["DPoP"] = proof(None, by, htm="POST", htu=f"{ISSUER}/token")
    form = {"grant_type": "client_credentials", "scope": "orders:read", **form}
    return post(f"{ISSUER}/token", form, headers)["access_token"]


def proof(text, by, typ="dpop+jwt", **wrong):
    """A proof for the order, with what is to be wrong about it."""
    claims = {"jti": str(uuid.uuid4()), "htm": "GET", "htu": ORDER, "iat": int(time.time())}
    if text:
        claims["ath"] = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    if nonce:
        claims["nonce"] = nonce
    claims.update(wrong)
    header = {"typ": typ, "alg": "ES256", "jwk": by.as_dict(private=False)}
    return jwt.encode(header, {name: value for name, value in claims.items() if value is not None}, by)


def call(**headers):
    """Calls the API: the status, the error of the challenge, and the answer."""
    try:
        answer = urllib.request.urlopen(urllib.request.Request(ORDER, headers=headers))
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        challenge = answer.headers.get("www-authenticate") or ""
        error = challenge.split('error="')[1].split('"')[0] if 'error="' in challenge else None
        return answer.status, error, answer


def bound(text, by, **wrong):
    return {"Authorization": f"DPoP {text}", "DPoP": proof(text, by, **wrong)}


nonce = None
place = urlsplit(ISSUER)
threading.Thread(target=ThreadingHTTPServer((place.hostname, place.port), Handler).serve_forever, daemon=True).start()
mine, thief = (ECKey.generate_key("P-256") for _ in range(2))
good = token(mine)
until = time.time() + PATIENCE
while True:
    status, error, answer = call(**bound(good, mine))
    if status == 200:
        break
    nonce = answer.headers.get("dpop-nonce") or nonce
    if status not in (401, 503) or time.time() > until:
        raise SystemExit(f"FAILED  {status} {error}")
    time.sleep(0.2)
step("tokens of authlib pass with their key")

used = proof(good, mine)
check(call(Authorization=f"DPoP {good}", DPoP=used)[0] == 200, "each with a proof of its own")
plain, elsewhere = token(), token(mine, resource="https://other.example")
writer = token(mine, scope="orders:write")
head, body, signature = good.split(".")


def forge(by=key, typ="at+jwt", **wrong):
    """A token with what is to be wrong about it, signed by the issuer unless that is what is wrong."""
    claims = {**json.loads(base64.urlsafe_b64decode(body + "==")), **wrong}
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode({"alg": "ES256", "typ": typ, "kid": key.kid}, claims, by)


admin = forge(sub="admin").split(".")[1]
defects = [
    ("no token", 401, None, {}),
    ("the bound token as a bearer token", 401, "invalid_token", {"Authorization": f"Bearer {good}"}),
    ("no proof", 401, "invalid_dpop_proof", {"Authorization": f"DPoP {good}"}),
    ("the proof of a thief", 401, "invalid_token", bound(good, thief)),
    ("a proof that was used", 401, "invalid_dpop_proof", {"Authorization": f"DPoP {good}", "DPoP": used}),
    ("a proof for another method", 401, "invalid_dpop_proof", bound(good, mine, htm="POST")),
    ("a proof for another path", 401, "invalid_dpop_proof", bound(good, mine, htu=f"{RESOURCE}/orders/8")),
    ("a proof for another token", 401, "invalid_dpop_proof", bound(good, mine, ath="A" * 43)),
    ("a proof without jti", 401, "invalid_dpop_proof", bound(good, mine, jti=None)),
    ("another typ of proof", 401, "invalid_dpop_proof", bound(good, mine, typ="jwt")),
    ("a token that is bound to no key", 401, "invalid_token", bound(plain, mine)),
    ("the same as a bearer token", 401, "invalid_token", {"Authorization": f"Bearer {plain}"}),
    ("a token for another resource", 401, "invalid_token", bound(elsewhere, mine)),
    ("a token without the scope", 403, "insufficient_scope", bound(writer, mine)),
    ("a token with another subject", 401, "invalid_token", bound(f"{head}.{admin}.{signature}", mine)),
    ("a token that somebody else has signed", 401, "invalid_token", bound(forge(by=thief), mine)),
    ("a token of another issuer", 401, "invalid_token", bound(forge(iss="https://evil.example"), mine)),
    ("a token that is over", 401, "invalid_token", bound(forge(exp=int(time.time()) - 600), mine)),
    ("a token that never ends", 401, "invalid_token", bound(forge(exp=None), mine)),
    ("an ID token", 401, "invalid_token", bound(forge(typ="JWT"), mine)),
]
check(call(**bound(forge(), mine))[0] == 200, "a token with nothing wrong about it passes")
for what, status, error, headers in defects:
    answered = call(**headers)[:2]
    if answered != (status, error):
        raise SystemExit(f"FAILED  {what}: {answered}")
step(f"each of {len(defects)} single defects is refused for its own reason")
