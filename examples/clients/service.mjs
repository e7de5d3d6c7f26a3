// A service that calls an API, with openid-client: client_credentials, a DPoP-bound token, nonces.
import * as oauth from 'openid-client';

const { ISSUER, CLIENT_ID, CLIENT_SECRET, RESOURCE } = process.env;

const execute = ISSUER.startsWith('http://127.0.0.1') ? [oauth.allowInsecureRequests] : [];
const authentication = oauth.ClientSecretBasic(CLIENT_SECRET);
const config = await oauth.discovery(new URL(ISSUER), CLIENT_ID, undefined, authentication, {
  algorithm: 'oauth2',
  execute,
});

// One key for the life of the process. Keep the handle: it remembers the nonces of each server.
const DPoP = oauth.getDPoPHandle(config, await oauth.randomDPoPKeyPair('ES256'));
const { access_token } = await oauth.clientCredentialsGrant(config, { resource: RESOURCE }, { DPoP });

const url = new URL('/orders', RESOURCE);
const answer = await oauth.fetchProtectedResource(config, access_token, url, 'GET', undefined, undefined, { DPoP });
console.log(answer.status, await answer.text());
