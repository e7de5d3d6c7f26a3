// A single-page application, with oauth4webapi: code with PKCE, a key that the page cannot read out, refresh, nonces.
//
// `keep` has get(name) and set(name, value) and outlives the redirect. In a browser make it of IndexedDB, which stores
// the key pair as it is; everything else here is the same in every browser and in Node.js.
import * as oauth from 'oauth4webapi';

/** An application that is registered as the public client `clientId` at `issuer`. */
export async function application({ issuer, clientId, redirectUri, keep }) {
  const insecure = { [oauth.allowInsecureRequests]: new URL(issuer).hostname === '127.0.0.1' };
  const discovered = await oauth.discoveryRequest(new URL(issuer), { algorithm: 'oauth2', ...insecure });
  const server = await oauth.processDiscoveryResponse(new URL(issuer), discovered);
  const client = { client_id: clientId };
  if (!(await keep.get('key'))) await keep.set('key', await oauth.generateKeyPair('ES256')); // not extractable
  const DPoP = oauth.DPoP(client, await keep.get('key'));

  /** Sends a request, and once more if the answer wants a nonce: the library has then learned it. */
  async function withNonce(send) {
    try {
      return await send();
    } catch (error) {
      if (!oauth.isDPoPNonceError(error)) throw error;
      return send();
    }
  }

  /** Where to send the person. */
  async function signIn(scope, resource) {
    const [verifier, state] = [oauth.generateRandomCodeVerifier(), oauth.generateRandomState()];
    await keep.set('request', { verifier, state, resource });
    const url = new URL(server.authorization_endpoint);
    url.search = new URLSearchParams({
      client_id: clientId,
      response_type: 'code',
      redirect_uri: redirectUri,
      scope,
      resource,
      state,
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      dpop_jkt: await DPoP.calculateThumbprint(),
    });
    return url;
  }

  /** Turns the address that the person came back to into tokens. */
  async function signedIn(address) {
    const { verifier, state, resource } = await keep.get('request');
    const answer = oauth.validateAuthResponse(server, client, new URL(address), state);
    const tokens = await withNonce(async () => {
      const options = { DPoP, additionalParameters: { resource }, ...insecure };
      const response = await oauth.authorizationCodeGrantRequest(
        server,
        client,
        oauth.None(),
        answer,
        redirectUri,
        verifier,
        options,
      );
      return oauth.processAuthorizationCodeResponse(server, client, response);
    });
    await keep.set('tokens', tokens);
  }

  /** Gets a new access token when the old one has expired. */
  async function refresh() {
    const { refresh_token } = await keep.get('tokens');
    const tokens = await withNonce(async () => {
      const response = await oauth.refreshTokenGrantRequest(server, client, oauth.None(), refresh_token, {
        DPoP,
        ...insecure,
      });
      return oauth.processRefreshTokenResponse(server, client, response);
    });
    // Without rotation there is no new refresh token.
    await keep.set('tokens', { refresh_token, ...tokens });
  }

  /** Calls the API. */
  async function call(method, url) {
    const { access_token } = await keep.get('tokens');
    return withNonce(() =>
      oauth.protectedResourceRequest(access_token, method, new URL(url), undefined, undefined, { DPoP, ...insecure }),
    );
  }

  return { signIn, signedIn, refresh, call };
}
