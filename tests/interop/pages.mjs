// Chromium at the pages for people. Without arguments: devices let in and turned away, by keyboard, by mouse, without
// JavaScript, with the back button, too late and twice. With locales as arguments: axe-core judges every page in each of
// them, light and dark; with SCREENSHOTS set to a folder, every page is photographed too, also as wide as a phone.
import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { step } from './environment.mjs';

const { ISSUER: issuer, HASTY_ISSUER: hasty, USERNAME: username, PASSWORD: password, SCREENSHOTS: screenshots } = process.env;
/** Milliseconds after which a page that has not come never will. */
const PATIENCE = 15_000;
const DESKTOP = { width: 1024, height: 768 };
const PHONE = { width: 360, height: 740 };
const CALLBACK = 'https://app.example/cb';
const AUTHORIZE =
  `${issuer}/oauth/authorize?response_type=code&client_id=spa&redirect_uri=${encodeURIComponent(CALLBACK)}` +
  '&scope=orders%3Aread+orders%3Awrite&code_challenge_method=S256&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM';
const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
if (screenshots) await mkdir(screenshots, { recursive: true });

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM_BIN || '/usr/bin/chromium',
  args: ['--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-quic'],
  chromiumSandbox: process.getuid() !== 0,
});

/** Sends a form to the server, as a device does. */
async function send(endpoint, parameters) {
  const response = await fetch(`${issuer}${endpoint}`, { method: 'POST', body: new URLSearchParams(parameters) });
  return response.json();
}

/** Begins to wait for a person. */
async function beginDevice() {
  const device = await send('/oauth/device_authorization', { client_id: 'tv', scope: 'orders:read orders:write' });
  assert.ok(device.user_code, JSON.stringify(device));
  return device;
}

/** What the device is told: `tokens`, or the error. */
async function poll(device) {
  const answer = await send('/oauth/token', {
    grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
    device_code: device.device_code,
    client_id: 'tv',
  });
  return answer.access_token ? 'tokens' : answer.error;
}

/** A new profile, with one page. Its complaints about the pages' policy are collected. */
async function person(options = {}) {
  const context = await browser.newContext({ viewport: DESKTOP, locale: 'en-US', ...options });
  await context.route(`${new URL(CALLBACK).origin}/**`, (route) => route.fulfill({ body: 'the client' }));
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const complaints = [];
  page.on('console', (message) => {
    const expected = message.text().startsWith('Failed to load resource'); // a refused form
    if (['warning', 'error'].includes(message.type()) && !expected) complaints.push(message.text());
  });
  return { context, page, complaints };
}

async function signIn(page) {
  await page.fill('[name=username]', username);
  await page.fill('[name=password]', password);
  await page.click('[name=password] ~ button');
}

/** Enters a code and signs in if asked to. */
async function enter(page, userCode) {
  await page.goto(`${issuer}/activate`);
  await page.fill('[name=user_code]', userCode);
  await page.click('main form button');
  if (await page.locator('[type=password]').count()) await signIn(page);
}

/** Moves the focus with Tab until it is on the element, as one does who has no mouse. */
async function tabTo(page, selector) {
  for (let presses = 0; presses < 20; presses += 1) {
    if (await page.locator(`${selector}:focus`).count()) return;
    await page.keyboard.press('Tab');
  }
  assert.fail(`${selector} cannot be reached with Tab`);
}

/** Lets axe-core judge the page that is shown, in light and dark, and photographs it. */
async function inspect({ page }, name, language) {
  assert.equal(await page.locator('html').getAttribute('lang'), language, name);
  assert.equal(await page.locator('h1').count(), 1, name);
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() =>
      globalThis.axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }),
    );
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
    assert.deepEqual(found, [], `${name} in ${language}, ${colorScheme}`);
    if (screenshots) await photograph(page, `${name}-${language}-${colorScheme}`);
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize(PHONE);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.equal(wide, 0, `${name} has to be scrolled sideways on a phone`);
  if (screenshots) await photograph(page, `${name}-${language}-phone`);
  await page.setViewportSize(DESKTOP);
}

async function photograph(page, name) {
  await page.screenshot({ path: path.join(screenshots, `${name}.png`), fullPage: true });
}

/** Every page, in one language. */
async function tour(locale) {
  const language = locale.split('-')[0];
  const visitor = await person({ locale });
  const { page, complaints, context } = visitor;
  const look = (name) => inspect(visitor, name, language);
  const device = await beginDevice();

  await page.goto(device.verification_uri_complete);
  assert.equal(await page.inputValue('[name=user_code]'), device.user_code);
  await look('1-code-from-a-link');
  await page.goto(`${issuer}/activate`);
  assert.ok(await page.locator('[name=user_code]:focus').count(), 'the field has the focus');
  await look('1-code');
  await page.fill('[name=user_code]', 'what?');
  await page.keyboard.press('Enter');
  await page.locator('[role=alert]').waitFor();
  assert.ok(await page.locator('[name=user_code]:focus').count(), 'the wrong field has the focus');
  await look('1-code-wrong');
  // Forgiving: lower case, spaces, no dash.
  await page.fill('[name=user_code]', ` ${device.user_code.replace('-', ' ').toLowerCase()} `);
  await page.keyboard.press('Enter');
  await page.locator('[type=password]').waitFor();
  await look('2-sign-in-for-a-device');
  await page.fill('[name=username]', username);
  await page.fill('[name=password]', 'wrong');
  await page.keyboard.press('Enter');
  await page.locator('[role=alert]').waitFor();
  await look('2-sign-in-wrong');
  await signIn(page);
  await page.locator('p.user-code').waitFor();
  assert.equal((await page.textContent('p.user-code')).trim(), device.user_code);
  await look('3-device');
  await page.click('[value=approve]');
  await page.locator('[role=status]').waitFor();
  await look('4-approved');
  assert.equal(await poll(device), 'tokens');

  const other = await beginDevice();
  await enter(page, other.user_code);
  await page.click('[value=deny]');
  await page.locator('[role=status]').waitFor();
  await look('4-declined');
  assert.equal(await poll(other), 'access_denied');

  await page.goto(AUTHORIZE);
  await page.locator('[value=approve]').waitFor();
  await look('5-consent');
  await page.goto(`${issuer}/oauth/authorize?client_id=nobody`);
  await look('6-refused');
  await page.goto(`${issuer}/login`);
  await look('6-nothing-to-see');

  await page.goto(`${issuer}/account`);
  await page.locator('[value=end]').first().waitFor();
  await look('7-account');
  const before = await page.locator('[value=end]').count();
  await page.locator('[value=end]').first().click();
  await page.locator('[role=status]').waitFor();
  assert.equal(await page.locator('[value=end]').count(), before - 1);
  await look('7-account-ended');
  await page.goto(`${issuer}/logout`);
  await look('8-sign-out');
  await page.click('main button');
  await page.locator('[role=status]').waitFor();
  await look('8-signed-out');
  await page.goto(`${issuer}/account`);
  await page.locator('[type=password]').waitFor();
  await look('9-sign-in-for-the-account');
  assert.deepEqual(complaints, []);
  await context.close();
}

try {
  const [, , ...locales] = process.argv;
  for (const locale of locales) {
    await tour(locale);
    step(`axe-core found nothing wrong with any page in ${locale}, light and dark`);
  }
  if (locales.length === 0) await stories();
} finally {
  await browser.close();
}

/** What people do with devices, and what they should not do. */
async function stories() {
  {
    const { page, context, complaints } = await person({ javaScriptEnabled: false });
    const device = await beginDevice();
    await page.goto(device.verification_uri_complete);
    await tabTo(page, 'main button');
    await page.keyboard.press('Enter');
    await page.locator('[name=username]').waitFor();
    await tabTo(page, '[name=username]');
    await page.keyboard.type(username);
    await page.keyboard.press('Tab');
    await page.keyboard.type(password);
    await page.keyboard.press('Enter');
    await page.locator('[value=approve]').waitFor();
    await tabTo(page, '[value=approve]');
    await page.keyboard.press('Enter');
    await page.locator('[role=status]').waitFor();
    assert.equal(await poll(device), 'tokens');
    await page.goto(`${issuer}/account`);
    const before = await page.locator('[value=end]').count();
    await tabTo(page, '[value=end]');
    await page.keyboard.press('Enter');
    await page.locator('[role=status]').waitFor();
    assert.equal(await page.locator('[value=end]').count(), before - 1);
    assert.deepEqual(complaints, []);
    await context.close();
    step('a device was let in, and its access ended, by keyboard and without JavaScript');
  }

  {
    const [first, second] = [await person(), await person()];
    const device = await beginDevice();
    await enter(first.page, device.user_code);
    await first.page.locator('[value=approve]').waitFor();
    await enter(second.page, device.user_code);
    await second.page.locator('[role=alert]').waitFor();
    assert.equal(await second.page.locator('[value=approve]').count(), 0);
    assert.equal(await poll(device), 'authorization_pending');
    // The page of the first browser, posted in the second one.
    const fields = await first.page.locator('form.pair input').evaluateAll((inputs) =>
      inputs.map(({ name, value }) => [name, value]),
    );
    const form = Object.fromEntries([...fields, ['decision', 'approve']]);
    const forged = await second.context.request.post(`${issuer}/activate`, { form });
    assert.equal(forged.status(), 403);
    await first.page.click('[value=approve]');
    await first.page.locator('[role=status]').waitFor();
    assert.equal(await poll(device), 'tokens');
    step('a second browser that knows the code could not approve');

    await first.page.goBack();
    assert.equal(await first.page.locator('[value=approve]').count(), 0, 'the question is still there');
    const again = await beginDevice();
    await enter(first.page, again.user_code);
    await first.page.locator('[value=approve]').waitFor();
    await first.page.locator('[value=approve]').dblclick({ noWaitAfter: true });
    await first.page.locator('[role=status], [role=alert]').waitFor();
    assert.equal(await poll(again), 'tokens');
    assert.equal(await poll(again), 'invalid_grant');
    step('the back button brought nothing back, and a double click approved once');
    await first.context.close();
    await second.context.close();
  }

  {
    const { page, context } = await person();
    await page.goto(AUTHORIZE.replace(issuer, hasty));
    // Its pages live for a second. Wrong passwords are answered until then.
    while (await page.locator('[type=password]').count()) {
      await page.fill('[name=username]', 'nobody');
      await page.fill('[name=password]', 'wrong');
      await page.click('[name=password] ~ button');
      await page.locator('[role=alert]').waitFor();
    }
    assert.match(await page.textContent('main'), /transaction_unknown/);
    await context.close();
    step('a page that has expired says so');
  }

  {
    const { page, context } = await person();
    let wrong = 0;
    let status;
    page.on('response', (response) => {
      if (response.url().includes('/activate/callback')) status = response.status();
    });
    do {
      await enter(page, 'BBBB-BBBB');
      await page.locator('[role=alert]').waitFor();
      wrong += 1;
    } while (status === 400 && wrong < 10);
    assert.equal(status, 429);
    assert.ok(wrong <= 6, `${wrong} wrong codes were looked at`);
    const device = await beginDevice();
    await enter(page, device.user_code);
    await page.locator('[role=alert]').waitFor();
    assert.equal(await page.locator('[value=approve]').count(), 0, 'a right code counts for nothing now');
    await context.close();
    step('after five wrong codes no other one was looked at');
  }
}
