// What the programs here that are MCP clients have in common.
import { environment } from './environment.mjs';

const { clientId, redirectUri } = environment();

/** What a program keeps for its MCP client: who it is, what it was given, and where it sends people. */
export class Provider {
  #kept = {};
  redirectUrl = redirectUri;

  constructor(session) {
    if (session) this.dpop = () => session;
  }
  get clientMetadata() {
    return { redirect_uris: [redirectUri], grant_types: ['authorization_code', 'refresh_token'] };
  }
  clientInformation() {
    return { client_id: clientId, token_endpoint_auth_method: 'none' };
  }
  tokens() {
    return this.#kept.tokens;
  }
  saveTokens(tokens) {
    this.#kept.tokens = tokens;
  }
  saveCodeVerifier(verifier) {
    this.#kept.verifier = verifier;
  }
  codeVerifier() {
    return this.#kept.verifier;
  }
  saveDiscoveryState(state) {
    this.#kept.discovery = state;
  }
  discoveryState() {
    return this.#kept.discovery;
  }
  redirectToAuthorization(url) {
    this.sentTo = url;
  }
}
