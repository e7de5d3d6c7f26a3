// What every script here is told by its environment, and how it tells what it saw.
import { readFile } from 'node:fs/promises';
import { importJWK } from 'jose';

function setting(name) {
  const value = process.env[name];
  if (!value) {
    console.error(`${name} is not set`);
    process.exit(2);
  }
  return value;
}

/** Where the authorization server is, who the client and the person are, and what they ask for. */
export function environment() {
  return {
    issuer: new URL(setting('ISSUER')),
    clientId: setting('CLIENT_ID'),
    redirectUri: setting('REDIRECT_URI'),
    username: setting('USERNAME'),
    password: setting('PASSWORD'),
    scope: setting('SCOPE'),
    resource: setting('RESOURCE'),
  };
}

/** The client's private key from the JWK file CLIENT_KEY, in the form that openid-client and oauth4webapi take. */
export async function clientKey() {
  const jwk = JSON.parse(await readFile(setting('CLIENT_KEY'), 'utf8'));
  return { key: await importJWK(jwk, jwk.alg ?? 'ES256'), kid: jwk.kid };
}

/** Prints the step that has just been seen to work. */
export function step(text) {
  console.log(`ok  ${text}`);
}
