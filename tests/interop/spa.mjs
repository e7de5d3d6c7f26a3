// The single-page application of the client guide: a person signs in, the application calls the API, refreshes, calls again.
import assert from 'node:assert/strict';
import { Browser } from './browser.mjs';
import { environment, step } from './environment.mjs';

const { issuer, clientId, redirectUri, scope, resource, ...person } = environment();
const { application } = await import(process.env.APPLICATION);

const kept = new Map();
const keep = { get: async (name) => kept.get(name), set: async (name, value) => void kept.set(name, value) };
const app = await application({ issuer: issuer.href.replace(/\/$/, ''), clientId, redirectUri, keep });
assert.equal(kept.get('key').privateKey.extractable, false);

const start = await app.signIn(scope, resource);
await app.signedIn(await new Browser().authorize(start, redirectUri, person, 'approve'));
step('a person signed in');

for (const what of ['the API knows the person', 'and after a refresh']) {
  const answer = await app.call('GET', `${resource}/orders`);
  assert.equal(answer.status, 200);
  assert.match((await answer.json()).headers['x-auth-subject'], /^ada/);
  step(what);
  await app.refresh();
}
