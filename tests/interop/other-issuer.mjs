// npm `oidc-provider` as the issuer of tokens that a gate takes, which knows of the provider nothing but its name. The gate runs
// before the provider does; openid-client asks for tokens and calls the API, which stands behind Envoy. Which of the tokens have ended
// is in a status list that npm `@sd-jwt/jwt-status-list` has made.
import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { StatusList, createHeaderAndPayload } from '@sd-jwt/jwt-status-list';
import { SignJWT, decodeJwt, exportJWK, generateKeyPair } from 'jose';
import Provider from 'oidc-provider';
import * as client from 'openid-client';
import { step } from './environment.mjs';

const { ISSUER: issuer, RESOURCE: resource } = process.env;
const order = new URL(`${resource}/orders/7`);
/** Milliseconds after which what has not happened never will. */
const PATIENCE = 30_000;

const RESOURCES = [resource, 'https://other.example'];
const robot = {
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
  id_token_signed_response_alg: 'ES256',
  client_secret: 'a secret of the robots that is long enough',
};

/** What became of the tokens, each at its place: 0 good, 1 ended, 2 suspended. */
const outcomes = Array(64).fill(0);
let issued = 0;
const listUri = `${issuer}/status/1`;

/** The status list (draft-ietf-oauth-status-list), signed with a key of the provider. */
function publish(key, kid) {
  const now = Math.floor(Date.now() / 1_000);
  const claims = { iss: issuer, sub: listUri, iat: now, exp: now + 300, ttl: 1 };
  const { header, payload } = createHeaderAndPayload(new StatusList(outcomes, 2), claims, { alg: 'ES256', kid });
  return new SignJWT(payload).setProtectedHeader(header).sign(key);
}

/** A provider with a key of its own, at the address of the last one. */
async function provide() {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true });
  const jwk = { ...(await exportJWK(privateKey)), kid: randomUUID(), alg: 'ES256', use: 'sig' };
  const provider = new Provider(issuer, {
    clients: [
      { ...robot, client_id: 'robot', dpop_bound_access_tokens: true },
      { ...robot, client_id: 'legacy' },
    ],
    jwks: { keys: [jwk] },
    scopes: ['orders:read', 'orders:write'],
    extraTokenClaims: () => ({ status: { status_list: { idx: issued++, uri: listUri } } }),
    features: {
      clientCredentials: { enabled: true },
      dPoP: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context, indicator) => {
          assert.ok(RESOURCES.includes(indicator));
          return { scope: 'orders:read orders:write', audience: indicator, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } };
        },
      },
    },
    cookies: { keys: ['only for this test'] },
  });
  provider.use(async (context, next) => {
    if (context.path !== new URL(listUri).pathname) return next();
    context.type = 'application/statuslist+jwt';
    context.body = await publish(privateKey, jwk.kid);
  });
  const { port, hostname } = new URL(issuer);
  const listener = provider.listen(Number(port), hostname);
  await once(listener, 'listening');
  return async () => {
    listener.closeAllConnections();
    listener.close();
    await once(listener, 'close');
  };
}

const keys = await client.randomDPoPKeyPair('ES256');

/** A token for a client; bound to our key unless the client does not ask for that. */
async function token(id, more) {
  const config = await client.discovery(new URL(issuer), id, undefined, client.ClientSecretBasic(robot.client_secret), {
    algorithm: 'oauth2',
    execute: [client.allowInsecureRequests],
  });
  const bound = id === 'robot' ? { DPoP: client.getDPoPHandle(config, keys) } : {};
  const answer = await client.clientCredentialsGrant(config, { resource, scope: 'orders:read', ...more }, bound);
  return { text: answer.access_token, config, ...bound };
}

const digest = (text) => createHash('sha256').update(text).digest('base64url');

/** A proof for the order, with what is to be wrong about it. */
async function proof(text, { claims = {}, header = {}, by = keys } = {}) {
  const payload = { jti: randomUUID(), htm: 'GET', htu: order.href, iat: Math.floor(Date.now() / 1_000), ath: digest(text), nonce, ...claims };
  return new SignJWT(payload).setProtectedHeader({ typ: 'dpop+jwt', alg: 'ES256', jwk: await exportJWK(by.publicKey), ...header }).sign(by.privateKey);
}

/** Calls the API; returns the status and the error of the challenge. */
async function call(headers, url = order) {
  const answer = await fetch(url, { headers });
  await answer.arrayBuffer();
  const challenge = answer.headers.get('www-authenticate') ?? '';
  return { status: answer.status, error: /error="([^"]+)"/u.exec(challenge)?.[1], nonce: answer.headers.get('dpop-nonce') };
}

/** Nothing made before the gate began passes without it for the first seconds. */
let nonce;

// The gate runs, and the provider does not.
const stranger = await generateKeyPair('ES256');
const forge = (header, payload) => new SignJWT(payload).setProtectedHeader(header).sign(stranger.privateKey);
const early = await forge({ typ: 'at+jwt', alg: 'ES256', kid: '1' }, { iss: issuer });
const unknown = await call({ authorization: `DPoP ${early}`, dpop: await proof(early) });
assert.deepEqual([unknown.status, unknown.error], [503, undefined]);
assert.equal((await fetch(`${resource}/healthz`)).status, 200);
step('without the provider tokens are answered with 503, and what needs none passes');

let stop = await provide();
const good = await token('robot');
for (const until = Date.now() + PATIENCE; ;) {
  const first = await call({ authorization: `DPoP ${good.text}`, dpop: await proof(good.text) });
  if (first.status === 200) break;
  nonce = first.nonce ?? nonce;
  assert.ok([401, 503].includes(first.status) && Date.now() < until, `the provider runs, and ${first.status} is answered`);
  await new Promise((resolve) => { setTimeout(resolve, 200); });
}
step('the provider comes up, and its tokens pass');

const shown = await client.fetchProtectedResource(good.config, good.text, order, 'GET', null, undefined, { DPoP: good.DPoP });
const head = await shown.text();
assert.equal(shown.status, 200);
assert.match(head, /^x-auth-client: robot\r$/mu);
assert.match(head, /^x-auth-scope: orders:read\r$/mu);
assert.doesNotMatch(head, /^(authorization|dpop):/mu);
step('openid-client calls the API, which is told who calls and gets neither token nor proof');

const legacy = await token('legacy');
const elsewhere = await token('robot', { resource: 'https://other.example' });
const writer = await token('robot', { scope: 'orders:write' });
const thief = await client.randomDPoPKeyPair('ES256');
const [head64, body64, signature64] = good.text.split('.');
const other = (claims) => Buffer.from(JSON.stringify({ ...decodeJwt(good.text), ...claims })).toString('base64url');
const dpop = (text, wrong) => async () => ({ authorization: `DPoP ${text}`, dpop: await proof(text, wrong) });
const used = await proof(good.text);
assert.equal((await call({ authorization: `DPoP ${good.text}`, dpop: used })).status, 200);
const early1h = Math.floor(Date.now() / 1_000) - 3_600;
const defects = [
  ['no token', 401, undefined, async () => ({})],
  ['the bound token as a bearer token', 401, 'invalid_token', async () => ({ authorization: `Bearer ${good.text}` })],
  ['the same with a proof', 401, 'invalid_token', async () => ({ authorization: `Bearer ${good.text}`, dpop: await proof(good.text) })],
  ['no proof', 401, 'invalid_dpop_proof', async () => ({ authorization: `DPoP ${good.text}` })],
  ['the proof of a thief', 401, 'invalid_token', dpop(good.text, { by: thief })],
  ['a proof that was used', 401, 'invalid_dpop_proof', async () => ({ authorization: `DPoP ${good.text}`, dpop: used })],
  ['a proof for another method', 401, 'invalid_dpop_proof', dpop(good.text, { claims: { htm: 'POST' } })],
  ['a proof for another path', 401, 'invalid_dpop_proof', dpop(good.text, { claims: { htu: `${resource}/orders/8` } })],
  ['a proof for another token', 401, 'invalid_dpop_proof', dpop(good.text, { claims: { ath: digest(writer.text) } })],
  ['a proof without jti', 401, 'invalid_dpop_proof', dpop(good.text, { claims: { jti: undefined } })],
  ['an old proof', 401, 'invalid_dpop_proof', dpop(good.text, { claims: { iat: early1h, nonce: undefined } })],
  ['another typ of proof', 401, 'invalid_dpop_proof', dpop(good.text, { header: { typ: 'jwt' } })],
  ['a token that is bound to no key', 401, 'invalid_token', dpop(legacy.text)],
  ['the same as a bearer token', 401, 'invalid_token', async () => ({ authorization: `Bearer ${legacy.text}` })],
  ['a token for another resource', 401, 'invalid_token', dpop(elsewhere.text)],
  ['a token without the scope', 403, 'insufficient_scope', dpop(writer.text)],
  ['a token with another subject', 401, 'invalid_token', dpop(`${head64}.${other({ sub: 'admin' })}.${signature64}`)],
  ['a token without a signature', 401, 'invalid_token', dpop(`${Buffer.from('{"typ":"at+jwt","alg":"none"}').toString('base64url')}.${body64}.AA`)],
  ['a token that somebody else has signed', 401, 'invalid_token', dpop(await forge({ typ: 'at+jwt', alg: 'ES256' }, decodeJwt(good.text)))],
];
for (const [what, status, error, headers] of defects) {
  const answer = await call(await headers());
  assert.deepEqual([answer.status, answer.error], [status, error], what);
}
step(`each of ${defects.length} single defects is refused for its own reason`);

// The list says so: what has ended is refused, and what is another token of the same client is not.
const { idx } = decodeJwt(good.text).status.status_list;
for (const outcome of [1, 2]) {
  const refused = await token('robot');
  const place = decodeJwt(refused.text).status.status_list.idx;
  assert.notEqual(place, idx);
  assert.equal((await call({ authorization: `DPoP ${refused.text}`, dpop: await proof(refused.text) })).status, 200);
  outcomes[place] = outcome;
  for (const until = Date.now() + PATIENCE; ;) {
    const answer = await call({ authorization: `DPoP ${refused.text}`, dpop: await proof(refused.text) });
    if (answer.status === 401) {
      assert.equal(answer.error, 'invalid_token');
      break;
    }
    assert.ok(Date.now() < until, `the list says ${outcome}, and ${answer.status} is answered`);
    await new Promise((resolve) => { setTimeout(resolve, 200); });
  }
  assert.equal((await call({ authorization: `DPoP ${good.text}`, dpop: await proof(good.text) })).status, 200);
}
step('what the status list of the provider says is ended, or suspended, is refused, and nothing else');

// The provider has lost its key, and has another one when it is back.
await stop();
assert.equal((await call({ authorization: `DPoP ${good.text}`, dpop: await proof(good.text) })).status, 200);
step('while the provider is away, the keys at hand are used');
stop = await provide();
const renewed = await token('robot');
for (const until = Date.now() + PATIENCE; ;) {
  const answer = await call({ authorization: `DPoP ${renewed.text}`, dpop: await proof(renewed.text) });
  if (answer.status === 200) break;
  assert.ok(Date.now() < until, `the provider has a new key, and ${answer.status} is answered`);
  await new Promise((resolve) => { setTimeout(resolve, 200); });
}
assert.deepEqual((await call({ authorization: `DPoP ${good.text}`, dpop: await proof(good.text) })).error, 'invalid_token');
step('the new key of the provider counts, and what the old one has signed does not');
await stop();
