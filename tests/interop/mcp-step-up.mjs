// The MCP TypeScript client, in a revision that says in headers what it calls, before a server whose tools have scopes of their own: a
// tool that asks for more leads a person to the authorization server again, and then answers. With bearer tokens and DPoP.
import assert from 'node:assert/strict';
import { Client, DpopSession, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';
import { decodeJwt } from 'jose';
import { Browser } from './browser.mjs';
import { environment, step } from './environment.mjs';
import { Provider } from './mcp-provider.mjs';

const { redirectUri, resource, ...person } = environment();

for (const session of [undefined, await DpopSession.create()]) {
  const provider = new Provider(session);
  const transport = () => new StreamableHTTPClientTransport(new URL(resource), { authProvider: provider });
  const signIn = async (scope) => {
    assert.equal(provider.sentTo.searchParams.get('scope'), scope);
    const callback = await new Browser().authorize(provider.sentTo, redirectUri, person, 'approve');
    await transport().finishAuth(callback.searchParams);
    assert.equal(decodeJwt(provider.tokens().access_token).scope, scope);
  };
  const connect = async () => {
    const client = new Client({ name: 'interop', version: '1.0.0' }, { versionNegotiation: { mode: { pin: '2026-07-28' } } });
    await client.connect(transport());
    return client;
  };
  const call = async (client, name) => (await client.callTool({ name, arguments: { order: '7' } })).content[0].text;

  await assert.rejects(connect(), UnauthorizedError);
  await signIn('orders:read');
  const client = await connect();
  assert.match(await call(client, 'get_order'), /^get_order 7 \S+ - -$/u);
  await assert.rejects(call(client, 'delete_order'), UnauthorizedError);
  await signIn('orders:read orders:write');
  assert.match(await call(client, 'delete_order'), /^delete_order 7 \S+ - -$/u);
  step(`${session ? 'a DPoP-bound token' : 'a bearer token'} was enough for one tool, and another one led to a wider one`);
  await client.close();
}
