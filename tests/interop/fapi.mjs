// openid-client under FAPI 2.0 Security Profile and Message Signing: a signed request (JAR) that is pushed (PAR) with
// private_key_jwt and a DPoP proof, a signed response (JARM), a bound token, and a refresh token that stays the same.
import assert from 'node:assert/strict';
import * as client from 'openid-client';
import { decodeJwt } from 'jose';
import { Browser } from './browser.mjs';
import { clientKey, environment, step } from './environment.mjs';

const { issuer, clientId, redirectUri, scope, resource, ...person } = environment();
const key = await clientKey();
const metadata = { authorization_signed_response_alg: 'ES256', use_mtls_endpoint_aliases: false };
const config = await client.discovery(issuer, clientId, metadata, client.PrivateKeyJwt(key), {
  algorithm: 'oauth2',
  execute: [client.allowInsecureRequests, client.useJwtResponseMode],
});

async function newKey() {
  return client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'));
}

/** Signs and pushes a request; gives where the browser goes, and what the client remembers of it. */
async function push(DPoP) {
  const pkceCodeVerifier = client.randomPKCECodeVerifier();
  const expectedState = client.randomState();
  const parameters = {
    redirect_uri: redirectUri,
    scope,
    resource,
    state: expectedState,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
  };
  const signed = await client.buildAuthorizationUrlWithJAR(config, parameters, key);
  assert.deepEqual([...signed.searchParams.keys()].sort(), ['client_id', 'request']);
  const url = await client.buildAuthorizationUrlWithPAR(config, signed.searchParams, { DPoP });
  assert.deepEqual([...url.searchParams.keys()].sort(), ['client_id', 'request_uri']);
  return { url, checks: { pkceCodeVerifier, expectedState } };
}

async function answered({ url, checks }, DPoP, decision) {
  const callback = await new Browser().authorize(url, redirectUri, person, decision);
  assert.deepEqual([...callback.searchParams.keys()], ['response'], 'all of a signed response is signed');
  return client.authorizationCodeGrant(config, callback, checks, undefined, { DPoP });
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
  const request = await push(DPoP);
  step('a signed request was pushed, after a nonce');
  const page = await fetch(request.url);
  assert.equal(page.status, 200);
  await page.text();
  const tokens = await answered(request, DPoP, 'approve');
  assert.equal(decodeJwt(tokens.access_token).cnf.jkt, await DPoP.calculateThumbprint());
  step('the code of a signed response became a DPoP-bound token, though the page was loaded before');
  assert.equal((await fetch(request.url)).status, 400);
  step('the request_uri is good for nothing more');

  const again = await client.refreshTokenGrant(config, tokens.refresh_token, { resource }, { DPoP: await newKey() });
  assert.ok(again.refresh_token === undefined || again.refresh_token === tokens.refresh_token);
  await client.refreshTokenGrant(config, tokens.refresh_token, { resource }, { DPoP });
  step('the refresh token stayed the same');
}
{
  const DPoP = await newKey();
  await refused(answered(await push(DPoP), DPoP, 'deny'), 'access_denied');
  step('a declined consent is access_denied, signed');
}
{
  const request = await push(await newKey());
  await refused(answered(request, await newKey(), 'approve'), 'invalid_grant');
  step('a code bound by the proof of the push is refused to another key');
}
{
  const plain = client.buildAuthorizationUrl(config, { redirect_uri: redirectUri, scope });
  await refused(client.buildAuthorizationUrlWithPAR(config, plain.searchParams), 'invalid_request');
  step('an unsigned push is refused');
}
