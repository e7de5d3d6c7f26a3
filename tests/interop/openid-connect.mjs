// openid-client as an OpenID Connect relying party: discovery, a nonce, an ID token, max_age, UserInfo with DPoP.
import assert from 'node:assert/strict';
import * as client from 'openid-client';
import { Browser } from './browser.mjs';
import { clientKey, environment, step } from './environment.mjs';

const { issuer, clientId, redirectUri, scope, ...person } = environment();
const key = client.PrivateKeyJwt(await clientKey());
const metadata = { id_token_signed_response_alg: 'ES256' };
const config = await client.discovery(issuer, clientId, metadata, key, { execute: [client.allowInsecureRequests] });
assert.equal(config.serverMetadata().issuer, issuer.href.replace(/\/$/, ''));
step('OpenID discovery');

const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'));
const pkceCodeVerifier = client.randomPKCECodeVerifier();
const expectedNonce = client.randomNonce();
const expectedState = client.randomState();
const url = client.buildAuthorizationUrl(config, {
  redirect_uri: redirectUri,
  scope: `openid profile email ${scope}`,
  state: expectedState,
  nonce: expectedNonce,
  max_age: '300',
  code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
  code_challenge_method: 'S256',
});
const callback = await new Browser().authorize(url, redirectUri, person, 'approve');
const checks = { pkceCodeVerifier, expectedState, expectedNonce, maxAge: 300, idTokenExpected: true };
const tokens = await client.authorizationCodeGrant(config, callback, checks, undefined, { DPoP });
const { sub, auth_time: signedIn } = tokens.claims();
assert.ok(sub && Math.abs(Date.now() / 1000 - signedIn) < 60);
step('an ID token with the nonce and a fresh auth_time, signed by a key of the JWKS');

const claims = await client.fetchUserInfo(config, tokens.access_token, sub, { DPoP });
assert.equal(claims.name, 'Ada');
assert.equal(claims.email, 'ada@example.com');
step('UserInfo with DPoP tells name and e-mail address of the same person');

const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP });
assert.equal(refreshed.claims().sub, sub);
assert.equal(refreshed.claims().nonce, undefined);
step('a refresh gives another ID token of the same person');

await assert.rejects(client.fetchUserInfo(config, tokens.access_token, 'somebody-else', { DPoP }));
step('the client itself notices another person');
