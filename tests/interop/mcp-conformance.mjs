// What the conformance suite of the Model Context Protocol leaves to others (`scripts/mcp-conformance`): the person who signs in at
// the authorization server, and the client, which is `tollgate curl`.
//
//   person ISSUER COMMAND...   runs the suite, and signs ada of examples/users.yaml in where it says
//   client TOLLGATE SERVER     is run by the suite: finds the authorization server of an MCP server, and calls three times
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { createInterface } from 'node:readline';
import { Browser } from './browser.mjs';

const [, , role, ...rest] = process.argv;
process.exitCode = await (role === 'person' ? person : client)(...rest);

/** Runs a program that prints the address of a page; has somebody go there, and tells how the program ended. */
async function follow(program, args, options, output, visit) {
  const child = spawn(program, args, { ...options, stdio: ['ignore', output === 'stdout' ? 'pipe' : 'inherit', output === 'stderr' ? 'pipe' : 'inherit'] });
  const ended = once(child, 'exit');
  for await (const line of createInterface({ input: child[output] })) {
    console.error(line);
    const page = /https?:\S*response_type=\S*/u.exec(line)?.[0];
    if (page) await visit(page);
  }
  return (await ended)[0];
}

async function person(issuer, program, ...args) {
  return follow(program, args, {}, 'stdout', async (page) => {
    assert.ok(page.startsWith(issuer));
    const redirectUri = new URL(page).searchParams.get('redirect_uri');
    const ada = { username: 'ada', password: 'analytical engine' };
    await fetch(await new Browser().authorize(page, redirectUri, ada, 'approve'));
  });
}

async function client(tollgate, server) {
  const media = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
  const first = await fetch(server, { method: 'POST', headers: media, body: '{}' });
  const [, place] = /resource_metadata="([^"]+)"/u.exec(first.headers.get('www-authenticate'));
  const { resource, authorization_servers: [issuer] } = await (await fetch(place)).json();
  const metadata = await (await fetch(new URL('/.well-known/oauth-authorization-server', issuer))).json();
  const registration = { redirect_uris: ['http://127.0.0.1/callback'], token_endpoint_auth_method: 'none' };
  const registered = await fetch(metadata.registration_endpoint, { method: 'POST', headers: media, body: JSON.stringify(registration) });
  const { client_id: id } = await registered.json();

  const state = await mkdtemp(`${tmpdir()}/mcp-conformance-`);
  const env = { ...process.env, XDG_STATE_HOME: state };
  const clientInfo = { name: 'tollgate curl', version: '1' };
  let code = 0;
  for (const call of [
    { id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo } },
    { method: 'notifications/initialized' },
    { id: 2, method: 'tools/list' },
  ]) {
    const headers = [...Object.entries(media), ['mcp-protocol-version', '2025-11-25']].flatMap(([name, value]) => ['--header', `${name}: ${value}`]);
    const body = JSON.stringify({ jsonrpc: '2.0', ...call });
    const args = ['curl', '--login', '--no-browser', '--issuer', issuer, '--client-id', id, '--resource', resource, ...headers];
    code ||= await follow(tollgate, [...args, '--data-binary', body, server], { env }, 'stderr', fetch); // this server asks nobody
  }
  await rm(state, { recursive: true });
  return code;
}
