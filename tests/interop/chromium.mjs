// Chromium, by keyboard and without JavaScript: the sign-in and consent pages as a person meets them.
//
// A real browser enforces what `browser.mjs` cannot: the pages' Content-Security-Policy, also for the redirect that
// answers a form, and the rules for cookies.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import * as client from 'openid-client';
import { chromium } from 'playwright-core';
import { clientKey, environment, step } from './environment.mjs';

const { issuer, clientId, redirectUri, username, password, scope, resource } = environment();
/** Milliseconds after which a page that has not come never will. */
const PATIENCE = 15_000;

const config = await client.discovery(issuer, clientId, undefined, client.PrivateKeyJwt(await clientKey()), {
  algorithm: 'oauth2',
  execute: [client.allowInsecureRequests],
});

// The client listens where it is registered.
const listener = createServer((_request, response) => {
  response.setHeader('content-type', 'text/plain').end('You may close this window.');
});
const callbackUri = new URL(redirectUri);
listener.listen(Number(callbackUri.port), callbackUri.hostname);
await once(listener, 'listening');

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM_BIN || '/usr/bin/chromium',
  args: ['--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-quic'],
  chromiumSandbox: process.getuid() !== 0,
});

/** Opens the authorization request in a new profile, lets `person` act on the pages, and returns the callback. */
async function authorize(parameters, person) {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const complaints = [];
  page.on('console', (message) => {
    // A missing icon and the status of a refused sign-in are not complaints about the page.
    const expected = message.text().startsWith('Failed to load resource');
    if (['warning', 'error'].includes(message.type()) && !expected) complaints.push(message.text());
  });
  await page.goto(client.buildAuthorizationUrl(config, parameters).href);
  await person(page);
  await page.waitForURL((url) => url.href.startsWith(callbackUri.href)).catch((error) => {
    throw new Error(`still at ${page.url()}; the browser says: ${complaints.join('; ') || 'nothing'}`, { cause: error });
  });
  assert.deepEqual(complaints, []);
  const callback = new URL(page.url());
  await context.close();
  return callback;
}

/** Signs in as one does without a mouse: Tab between the fields, Enter to submit. */
async function signIn(page, secret) {
  await page.locator('[name=username]').focus();
  await page.keyboard.press('Control+A'); // after a mistake the name is still there; Tab would have selected it
  await page.keyboard.type(username);
  await page.keyboard.press('Tab');
  await page.keyboard.type(secret);
  await page.keyboard.press('Enter');
}

try {
  const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'));
  const pkceCodeVerifier = client.randomPKCECodeVerifier();
  const expectedState = client.randomState();
  const parameters = {
    redirect_uri: callbackUri.href,
    scope,
    resource,
    state: expectedState,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
  };

  const declined = await authorize(parameters, async (page) => {
    await signIn(page, password);
    await page.locator('[name=decision][value=deny]').click();
  });
  assert.equal(declined.searchParams.get('error'), 'access_denied');
  assert.equal(declined.searchParams.get('state'), expectedState);
  step('a person declined');

  const callback = await authorize(parameters, async (page) => {
    await signIn(page, `not ${password}`);
    await page.locator('[role=alert]').waitFor(); // which the page before had not
    assert.equal(await page.locator('[type=password]').inputValue(), '', 'the page gives a wrong password back');
    await signIn(page, password);
    const consent = page.locator('[name=decision][value=approve]');
    await consent.waitFor();
    const origin = new URL(page.url()).origin;
    assert.equal(origin, issuer.origin, 'the consent page is not the issuer');
    await consent.click();
  });
  step('a person mistyped the password, signed in and approved');

  const tokens = await client.authorizationCodeGrant(
    config,
    callback,
    { pkceCodeVerifier, expectedState },
    { resource },
    { DPoP },
  );
  assert.equal(tokens.token_type, 'dpop');
  step('the code from the address bar became a token');
} finally {
  await browser.close();
  listener.close();
}
