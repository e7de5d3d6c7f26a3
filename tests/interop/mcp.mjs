// The MCP TypeScript client before an MCP server that knows nothing of tokens, with the gate between: it finds the
// authorization server from the first 401, has a person sign in, calls a tool, and refreshes; with bearer tokens and DPoP.
import assert from 'node:assert/strict';
import { Client, DpopSession, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';
import { decodeJwt } from 'jose';
import { Browser } from './browser.mjs';
import { environment, step } from './environment.mjs';
import { Provider } from './mcp-provider.mjs';

const { issuer, redirectUri, resource, ...person } = environment();

/** Connects with what the provider has; the first time that ends in a page for a person. */
async function connect(provider) {
  const client = new Client({ name: 'interop', version: '1.0.0' });
  const transport = new StreamableHTTPClientTransport(new URL(resource), { authProvider: provider });
  await client.connect(transport);
  return client;
}

async function echo(client, message) {
  const { content } = await client.callTool({ name: 'echo', arguments: { message } });
  assert.match(content[0].text, new RegExp(message));
}

for (const session of [undefined, await DpopSession.create()]) {
  const kind = session ? 'a DPoP-bound token' : 'a bearer token';
  const provider = new Provider(session);
  await assert.rejects(connect(provider), UnauthorizedError);
  const { resourceMetadata } = provider.discoveryState();
  assert.equal(resourceMetadata.resource, resource);
  assert.deepEqual(resourceMetadata.authorization_servers, [issuer.href.replace(/\/$/, '')]);
  const asked = provider.sentTo.searchParams;
  assert.equal(asked.get('resource'), resource);
  assert.equal(asked.get('code_challenge_method'), 'S256');
  step(`the first 401 led to ${provider.sentTo.origin}${provider.sentTo.pathname}, for ${asked.get('scope')}`);

  const callback = await new Browser().authorize(provider.sentTo, redirectUri, person, 'approve');
  const transport = new StreamableHTTPClientTransport(new URL(resource), { authProvider: provider });
  await transport.finishAuth(callback.searchParams);
  const { access_token: first, refresh_token: refresh } = provider.tokens();
  assert.equal(decodeJwt(first).aud, resource);
  assert.equal(decodeJwt(first).cnf?.jkt, session?.thumbprint);
  const client = await connect(provider);
  await echo(client, 'hello');
  step(`${kind} reached the MCP server, and a tool answered`);

  provider.saveTokens({ ...provider.tokens(), access_token: `${first.slice(0, -8)}AAAAAAAA` });
  await echo(client, 'again');
  assert.ok(refresh && provider.tokens().access_token !== first);
  step(`${kind} that counts no more was refreshed on the way`);
  await client.close();
}
