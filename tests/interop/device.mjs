// openid-client as a device: codes, polling, DPoP with nonces; then the API behind the gate, with the device's token.
import assert from 'node:assert/strict';
import * as client from 'openid-client';
import { decodeJwt } from 'jose';
import { Browser } from './browser.mjs';
import { environment, step } from './environment.mjs';

const { issuer, clientId, scope, resource, ...person } = environment();
const config = await client.discovery(issuer, clientId, undefined, client.None(), {
  algorithm: 'oauth2',
  execute: [client.allowInsecureRequests],
});
const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'));

async function begin() {
  const dpop_jkt = await DPoP.calculateThumbprint();
  const device = await client.initiateDeviceAuthorization(config, { scope, resource, dpop_jkt });
  assert.match(device.user_code, /^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$/);
  assert.ok(device.interval >= 5 && device.expires_in <= 900);
  return device;
}

const poll = (device) => client.pollDeviceAuthorizationGrant(config, device, { resource }, { DPoP });
const decide = (device, decision) => new Browser().activate(device.verification_uri_complete, person, decision);

{
  const device = await begin();
  step('codes from the device authorization endpoint');
  const [tokens] = await Promise.all([poll(device), decide(device, 'approve')]);
  assert.equal(tokens.token_type, 'dpop');
  const claims = decodeJwt(tokens.access_token);
  assert.equal(claims.cnf.jkt, await DPoP.calculateThumbprint());
  assert.equal(claims.client_id, clientId);
  step('a person approved, and the device got a DPoP-bound token');

  const url = new URL('/orders', resource);
  const answer = await client.fetchProtectedResource(config, tokens.access_token, url, 'GET', undefined, undefined, {
    DPoP,
  });
  assert.equal(answer.status, 200);
  assert.equal((await answer.json()).headers['x-auth-subject'], claims.sub);
  step('the API behind the gate knows the person');

  const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token, { resource }, { DPoP });
  assert.notEqual(refreshed.access_token, tokens.access_token);
  step('the device refreshed its token');
}
{
  const device = await begin();
  await decide(device, 'deny');
  await assert.rejects(poll(device), (reason) => {
    assert.equal(reason.error, 'access_denied', reason.stack);
    return true;
  });
  step('a declined device is told access_denied');
}
