// openid-client asks what its tokens are worth (RFC 7662), with signed answers too (RFC 9701), and gives them up (RFC 7009).
import assert from 'node:assert/strict';
import * as client from 'openid-client';
import { Browser } from './browser.mjs';
import { clientKey, environment, step } from './environment.mjs';

const { issuer, clientId, redirectUri, scope, resource, ...person } = environment();
const options = { algorithm: 'oauth2', execute: [client.allowInsecureRequests] };
const authentication = client.PrivateKeyJwt(await clientKey());
const config = await client.discovery(issuer, clientId, undefined, authentication, options);
const metadata = { introspection_signed_response_alg: 'ES256' };
const signed = await client.discovery(issuer, clientId, metadata, authentication, options);

const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'));
async function signIn() {
  const pkceCodeVerifier = client.randomPKCECodeVerifier();
  const expectedState = client.randomState();
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: redirectUri,
    scope,
    resource,
    state: expectedState,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
  });
  const callback = await new Browser().authorize(url, redirectUri, person, 'approve');
  return client.authorizationCodeGrant(config, callback, { pkceCodeVerifier, expectedState }, { resource }, { DPoP });
}

for (const given of ['refresh_token', 'access_token']) {
  const tokens = await signIn();
  for (const asker of [config, signed]) {
    const about = await client.tokenIntrospection(asker, tokens.access_token);
    assert.equal(about.active, true);
    assert.equal(about.token_type, 'DPoP');
    assert.equal(about.cnf.jkt, await DPoP.calculateThumbprint());
    assert.deepEqual([about.client_id, about.aud, about.scope], [clientId, resource, scope]);
    const other = await client.tokenIntrospection(asker, tokens.refresh_token, { token_type_hint: 'refresh_token' });
    assert.equal(other.active, true);
    assert.deepEqual(await client.tokenIntrospection(asker, 'no token of yours'), { active: false });
  }
  step('a client learns what its tokens are worth, in JSON and signed');

  await client.tokenRevocation(config, tokens[given], { token_type_hint: given });
  for (const asker of [config, signed]) {
    assert.deepEqual(await client.tokenIntrospection(asker, tokens.access_token), { active: false });
    assert.deepEqual(await client.tokenIntrospection(asker, tokens.refresh_token), { active: false });
  }
  await assert.rejects(client.refreshTokenGrant(config, tokens.refresh_token, { resource }, { DPoP }), {
    error: 'invalid_grant',
  });
  await client.tokenRevocation(config, tokens[given]);
  await client.tokenRevocation(config, 'no token of yours');
  step(`revoking the ${given} ended the grant`);
}
