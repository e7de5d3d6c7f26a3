// npm `oidc-provider` as the upstream provider, and Chromium as the browser of the person between three servers: the client
// asks the server under test, which sends the person to the provider, which is certified and knows nothing of us.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import Provider from 'oidc-provider';
import * as client from 'openid-client';
import { chromium } from 'playwright-core';
import { clientKey, environment, step } from './environment.mjs';

const { issuer, clientId, redirectUri, scope, resource } = environment();
const upstream = new URL(process.env.UPSTREAM_ISSUER);
/** Milliseconds after which a page that has not come never will. */
const PATIENCE = 15_000;

const config = await client.discovery(issuer, clientId, undefined, client.PrivateKeyJwt(await clientKey()), {
  algorithm: 'oauth2',
  execute: [client.allowInsecureRequests],
});

const listener = createServer((_request, response) => {
  response.setHeader('content-type', 'text/plain').end('You may close this window.');
});
const callbackUri = new URL(redirectUri);
listener.listen(Number(callbackUri.port), callbackUri.hostname);
await once(listener, 'listening');

async function parameters(more) {
  return {
    redirect_uri: callbackUri.href,
    scope,
    resource,
    code_challenge: await client.calculatePKCECodeChallenge(client.randomPKCECodeVerifier()),
    code_challenge_method: 'S256',
    ...more,
  };
}

// The server runs, and the provider does not.
const down = await fetch(client.buildAuthorizationUrl(config, await parameters({})), { redirect: 'manual' });
assert.deepEqual([down.status, down.headers.has('retry-after')], [503, true]);
step('without the provider people are told to try again, and everything else works');

const provider = new Provider(upstream.href.replace(/\/$/, ''), {
  clients: [
    {
      client_id: process.env.UPSTREAM_CLIENT_ID,
      client_secret: process.env.UPSTREAM_CLIENT_SECRET,
      redirect_uris: [`${issuer.href.replace(/\/$/, '')}/login/callback`],
    },
  ],
  claims: { openid: ['sub'], profile: ['name'], email: ['email', 'email_verified'] },
  findAccount: (_context, id) => ({
    accountId: id,
    claims: () => ({ sub: id, name: 'Ada of Acme', email: `${id}@acme.example`, email_verified: true }),
  }),
  cookies: { keys: ['only for this test'] },
});
const upstreamListener = provider.listen(Number(upstream.port), upstream.hostname);
await once(upstreamListener, 'listening');

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM_BIN || '/usr/bin/chromium',
  args: ['--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-quic'],
  chromiumSandbox: process.getuid() !== 0,
});

try {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);

  /** Opens an authorization request, lets `person` act, and returns where the browser ends: at the client. */
  const authorize = async (request, person) => {
    await page.goto(client.buildAuthorizationUrl(config, request).href);
    await person();
    await page.waitForURL((url) => url.href.startsWith(callbackUri.href)).catch((error) => {
      throw new Error(`still at ${page.url()}`, { cause: error });
    });
    return new URL(page.url());
  };
  const signInUpstream = async () => {
    await page.waitForURL((url) => url.origin === upstream.origin);
    await page.locator('[name=login]').fill('ada');
    await page.locator('[name=password]').fill('any');
    await page.keyboard.press('Enter');
  };
  const consentUpstream = async () => page.locator('button[type=submit]:has-text("Continue")').click();
  const consentHere = async () => page.getByRole('button', { name: 'Allow' }).click();

  // The cool-down after the fetch that failed has to pass first.
  const until = Date.now() + PATIENCE;
  for (;;) {
    const answer = await fetch(client.buildAuthorizationUrl(config, await parameters({})), { redirect: 'manual' });
    if (answer.status === 303) break;
    assert.ok(Date.now() < until, `the provider runs, and ${answer.status} is answered`);
    await new Promise((resolve) => { setTimeout(resolve, 500); });
  }

  const declined = await authorize(await parameters({ state: 'declined' }), async () => {
    await page.waitForURL((url) => url.origin === upstream.origin);
    await page.getByText('Cancel').click();
  });
  assert.equal(declined.searchParams.get('error'), 'access_denied');
  assert.equal(declined.searchParams.get('state'), 'declined');
  assert.equal(declined.searchParams.get('iss'), issuer.href.replace(/\/$/, ''));
  step('who cancels at the provider is sent back to the client, with access_denied');

  const pkceCodeVerifier = client.randomPKCECodeVerifier();
  const expectedState = client.randomState();
  const first = await authorize(
    await parameters({ state: expectedState, code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier) }),
    async () => {
      await signInUpstream();
      await consentUpstream();
      await page.getByText('Ada of Acme').waitFor();
      await consentHere();
    },
  );
  const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'));
  const tokens = await client.authorizationCodeGrant(config, first, { pkceCodeVerifier, expectedState }, undefined, { DPoP });
  const claims = JSON.parse(Buffer.from(tokens.access_token.split('.')[1], 'base64url'));
  assert.equal(claims.sub, 'ada');
  step('a person signs in at oidc-provider, is called by the name that UserInfo tells, and consents here');

  const again = await authorize(await parameters({ state: 'again' }), consentHere);
  assert.ok(again.searchParams.get('code'));
  step('the next request asks for consent only');

  const signedInAt = Math.floor(Date.now() / 1_000);
  const fresh = await authorize(await parameters({ state: 'fresh', prompt: 'login' }), async () => {
    await signInUpstream();
    await consentHere();
  });
  assert.ok(fresh.searchParams.get('code'));
  assert.ok(Math.floor(Date.now() / 1_000) >= signedInAt);
  step('prompt=login makes the provider ask again, and its auth_time is believed');

  const aged = await authorize(await parameters({ state: 'aged', max_age: '3600' }), consentHere);
  assert.ok(aged.searchParams.get('code'));
  step('max_age is met by a sign-in at the provider that is young enough');
} finally {
  await browser.close();
  listener.close();
  upstreamListener.close();
  upstreamListener.closeAllConnections();
}
