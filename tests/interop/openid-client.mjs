// openid-client, a certified FAPI 2.0 client: code + PKCE + private_key_jwt + DPoP with a nonce, then refresh.
import assert from 'node:assert/strict';
import * as client from 'openid-client';
import { decodeJwt } from 'jose';
import { Browser } from './browser.mjs';
import { clientKey, environment, step } from './environment.mjs';

const { issuer, clientId, redirectUri, scope, resource, ...person } = environment();

// Counts the challenges, so that a server which asks for no nonce does not pass for one that does.
let nonceChallenges = 0;
async function countingFetch(url, options) {
  const response = await fetch(url, options);
  if (response.status === 400 && (await response.clone().json()).error === 'use_dpop_nonce') nonceChallenges += 1;
  return response;
}

const config = await client.discovery(issuer, clientId, undefined, client.PrivateKeyJwt(await clientKey()), {
  algorithm: 'oauth2',
  execute: [client.allowInsecureRequests],
  [client.customFetch]: countingFetch,
});
step(`metadata of ${config.serverMetadata().issuer}`);

async function newKey() {
  return client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'));
}

/** A person answers an authorization request; the callback is kept with what the client remembers of its request. */
async function authorize(DPoP, decision) {
  const pkceCodeVerifier = client.randomPKCECodeVerifier();
  const expectedState = client.randomState();
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: redirectUri,
    scope,
    resource,
    state: expectedState,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
    dpop_jkt: await DPoP.calculateThumbprint(),
  });
  const callback = await new Browser().authorize(url, redirectUri, person, decision);
  // RFC 9207 §2: in success and error responses alike.
  assert.equal(callback.searchParams.get('iss'), config.serverMetadata().issuer);
  return { callback, checks: { pkceCodeVerifier, expectedState } };
}

function redeem({ callback, checks }, DPoP) {
  return client.authorizationCodeGrant(config, callback, checks, { resource }, { DPoP });
}

/** The refresh token of the latest response that has one: without rotation only the first does. */
function newest(...responses) {
  return responses.find((response) => response.refresh_token)?.refresh_token;
}

async function checkBound(tokens, DPoP) {
  assert.equal(tokens.token_type, 'dpop');
  assert.equal(decodeJwt(tokens.access_token).cnf.jkt, await DPoP.calculateThumbprint());
  assert.ok(tokens.expires_in > 0);
}

/** The error of a refused request; anything but a refusal with this code fails. */
async function refused(promise, error) {
  await assert.rejects(promise, (reason) => {
    assert.equal(reason.error, error, reason.stack);
    return true;
  });
}

{
  const DPoP = await newKey();
  await refused(redeem(await authorize(DPoP, 'deny'), DPoP), 'access_denied');
  step('a declined consent is access_denied');
}
{
  const DPoP = await newKey();
  const tokens = await redeem(await authorize(DPoP, 'approve'), DPoP);
  await checkBound(tokens, DPoP);
  assert.ok(nonceChallenges > 0, 'the token endpoint never asked for a nonce');
  step('a code became a DPoP-bound token, after a nonce');

  const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token, { resource }, { DPoP });
  await checkBound(refreshed, DPoP);
  assert.notEqual(refreshed.access_token, tokens.access_token);
  step('the refresh token gave a new access token');

  // RFC 9449 §5: only a public client's refresh token is bound to the key.
  const other = await newKey();
  const last = await client.refreshTokenGrant(config, newest(refreshed, tokens), { resource }, { DPoP: other });
  await checkBound(last, other);
  step('a confidential client refreshed with a new key');

  const [narrow] = scope.split(' ');
  const parameters = { scope: narrow, resource };
  const narrowed = await client.refreshTokenGrant(config, newest(last, refreshed, tokens), parameters, { DPoP });
  assert.equal(decodeJwt(narrowed.access_token).scope, narrow);
  step('a refresh narrowed the scope');
}
{
  const DPoP = await newKey();
  const request = await authorize(DPoP, 'approve');
  request.checks.pkceCodeVerifier = client.randomPKCECodeVerifier();
  await refused(redeem(request, DPoP), 'invalid_grant');
  step('a wrong verifier is invalid_grant');
}
{
  const DPoP = await newKey();
  const request = await authorize(DPoP, 'approve');
  await refused(redeem(request, await newKey()), 'invalid_grant');
  step('a code bound by dpop_jkt is refused to another key');
}
{
  const DPoP = await newKey();
  const request = await authorize(DPoP, 'approve');
  const tokens = await redeem(request, DPoP);
  await refused(redeem(request, DPoP), 'invalid_grant');
  await refused(client.refreshTokenGrant(config, tokens.refresh_token, { resource }, { DPoP }), 'invalid_grant');
  step('a replayed code is invalid_grant and ends the grant');
}
