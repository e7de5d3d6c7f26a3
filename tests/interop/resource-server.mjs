// oauth4webapi as a resource server that trusts us: it must accept our tokens, and only with their key.
import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { SignJWT, exportJWK } from 'jose';
import * as oauth from 'oauth4webapi';
import { clientKey, environment, step } from './environment.mjs';

const { issuer, clientId, scope, resource } = environment();
const insecure = { [oauth.allowInsecureRequests]: true };

const discovery = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure });
const server = await oauth.processDiscoveryResponse(issuer, discovery);
step(`metadata of ${server.issuer}`);

const client = { client_id: clientId };
const authentication = oauth.PrivateKeyJwt(await clientKey());
const key = await oauth.generateKeyPair('ES256');
const DPoP = oauth.DPoP(client, key);

async function clientCredentials() {
  const parameters = { scope, resource };
  const options = { DPoP, ...insecure };
  const response = await oauth.clientCredentialsGrantRequest(server, client, authentication, parameters, options);
  return oauth.processClientCredentialsResponse(server, client, response);
}

let tokens;
try {
  tokens = await clientCredentials();
  assert.fail('the token endpoint never asked for a nonce');
} catch (error) {
  if (!oauth.isDPoPNonceError(error)) throw error;
  tokens = await clientCredentials();
}
step('client_credentials gave a DPoP-bound token, after a nonce');

/** A proof made without the library, so that it can also be a wrong one. */
async function proof(keyPair, url) {
  const ath = createHash('sha256').update(tokens.access_token).digest('base64url');
  return new SignJWT({ jti: randomUUID(), htm: 'GET', htu: url, ath })
    .setProtectedHeader({ typ: 'dpop+jwt', alg: 'ES256', jwk: await exportJWK(keyPair.publicKey) })
    .setIssuedAt()
    .sign(keyPair.privateKey);
}

const url = new URL('/orders', resource).href;
function check(headers, audience = resource) {
  const request = new Request(url, { headers });
  return oauth.validateJwtAccessToken(server, request, audience, { requireDPoP: true, ...insecure });
}

const authorization = `DPoP ${tokens.access_token}`;
const claims = await check({ authorization, dpop: await proof(key, url) });
assert.equal(claims.client_id, clientId);
assert.equal(claims.sub, clientId); // RFC 9068 §5: no person, so the client itself
assert.equal(claims.scope, tokens.scope ?? scope);
step('the token is accepted with its key');

async function refused(name, headers, audience) {
  await assert.rejects(check(headers, audience), oauth.OperationProcessingError);
  step(`${name} is refused`);
}

const thief = await oauth.generateKeyPair('ES256');
await refused('the token with another key', { authorization, dpop: await proof(thief, url) });
await refused('the token without a proof', { authorization });
await refused('the token as a bearer token', { authorization: `Bearer ${tokens.access_token}` });
await refused('a proof for another URL', { authorization, dpop: await proof(key, new URL('/else', resource).href) });
await refused('the token at another resource', { authorization, dpop: await proof(key, url) }, 'https://other.example');
