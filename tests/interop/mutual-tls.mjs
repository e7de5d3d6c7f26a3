// oauth4webapi with a certificate: it authenticates with it, its tokens are bound to it, and the API behind Envoy wants it.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import https from 'node:https';
import { decodeJwt } from 'jose';
import * as oauth from 'oauth4webapi';
import { Browser } from './browser.mjs';
import { step } from './environment.mjs';

const plan = JSON.parse(await readFile(process.env.PLAN, 'utf8'));
const issuer = new URL(plan.server.discoveryUrl.replace('/.well-known/openid-configuration', ''));
const api = new URL(plan.resource.resourceUrl);
const person = { username: process.env.USERNAME, password: process.env.PASSWORD };
const redirectUri = process.env.REDIRECT_URI;

/** `fetch` on connections that show this certificate; the one of Node.js knows none. */
function fetchWith({ cert, key }) {
  const agent = new https.Agent({ cert, key });
  return (url, { method, headers, body }) =>
    new Promise((resolve, reject) => {
      const request = https.request(url, { agent, method, headers }, async (response) => {
        const chunks = await response.toArray();
        const pairs = Object.entries(response.headersDistinct).flatMap(([name, values]) => values.map((one) => [name, one]));
        resolve(new Response(Buffer.concat(chunks), { status: response.statusCode, headers: pairs }));
      });
      request.on('error', reject).end(body?.toString());
    });
}

const own = { [oauth.customFetch]: fetchWith(plan.mtls) };
const stolen = { [oauth.customFetch]: fetchWith(plan.mtls2) };
const none = {};

const discovery = await oauth.discoveryRequest(issuer);
const server = await oauth.processDiscoveryResponse(issuer, discovery);
assert.ok(server.tls_client_certificate_bound_access_tokens);
const client = { client_id: plan.client.client_id };
const authentication = oauth.TlsClientAuth();

async function authorize() {
  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const nonce = oauth.generateRandomNonce();
  const parameters = {
    response_type: 'code',
    redirect_uri: redirectUri,
    scope: plan.client.scope,
    state,
    nonce,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  };
  const pushed = await oauth.pushedAuthorizationRequest(server, client, authentication, parameters, own);
  const { request_uri: requestUri } = await oauth.processPushedAuthorizationResponse(server, client, pushed);
  const url = new URL(server.authorization_endpoint);
  url.searchParams.set('client_id', client.client_id);
  url.searchParams.set('request_uri', requestUri);
  const callback = await new Browser().authorize(url, redirectUri, person, 'approve');
  return { callback: oauth.validateAuthResponse(server, client, callback, state), verifier, nonce };
}

async function redeem({ callback, verifier, nonce }, connection) {
  const response = await oauth.authorizationCodeGrantRequest(
    server, client, authentication, callback, redirectUri, verifier, connection,
  );
  return oauth.processAuthorizationCodeResponse(server, client, response, { expectedNonce: nonce, requireIdToken: true });
}

const granted = await authorize();
step('a request was pushed, authenticated by the certificate, and approved');
await assert.rejects(redeem(granted, stolen), { status: 401 });
await assert.rejects(redeem(granted, none), { status: 401 });
step('neither another certificate nor none redeems the code');
const tokens = await redeem(granted, own);
const bound = decodeJwt(tokens.access_token).cnf['x5t#S256'];
assert.equal(bound?.length, 43);
step('the code became a token that is bound to the certificate, and an ID token');

async function call(token, connection) {
  return oauth.protectedResourceRequest(token, 'GET', api, undefined, undefined, connection);
}
const reached = await call(tokens.access_token, own);
assert.equal((await reached.json()).client, client.client_id);
for (const connection of [stolen, none]) {
  await assert.rejects(call(tokens.access_token, connection), (error) => {
    assert.ok(error instanceof oauth.WWWAuthenticateChallengeError, error.stack);
    assert.ok(error.cause.some(({ scheme, parameters }) => scheme === 'bearer' && parameters.error === 'invalid_token'));
    return true;
  });
}
step('the API behind Envoy is reached with the certificate, and with no other and none');

const who = await oauth.userInfoRequest(server, client, tokens.access_token, own);
const subject = oauth.getValidatedIdTokenClaims(tokens).sub;
assert.equal((await oauth.processUserInfoResponse(server, client, subject, who)).sub, subject);
step('UserInfo tells the same subject as the ID token');

const refresh = await oauth.refreshTokenGrantRequest(server, client, authentication, tokens.refresh_token, own);
const refreshed = await oauth.processRefreshTokenResponse(server, client, refresh);
assert.equal(decodeJwt(refreshed.access_token).cnf['x5t#S256'], bound);
await assert.rejects(async () => {
  const response = await oauth.refreshTokenGrantRequest(server, client, authentication, tokens.refresh_token, stolen);
  await oauth.processRefreshTokenResponse(server, client, response);
}, { status: 401 });
step('a refresh gives another token that is bound to it');

async function active(token) {
  const response = await oauth.introspectionRequest(server, client, authentication, token, own);
  return (await oauth.processIntrospectionResponse(server, client, response)).active;
}
assert.equal(await active(refreshed.access_token), true);
const revocation = await oauth.revocationRequest(server, client, authentication, tokens.refresh_token, own);
await oauth.processRevocationResponse(revocation);
assert.equal(await active(refreshed.access_token), false);
step('revoking the refresh token ends all of it');
