// An MCP server made with the official library that knows nothing of tokens: one tool to look, one to delete. It serves clients of every
// revision, and tells a tool's caller which identity reached it.
import { createServer } from 'node:http';
import { Readable } from 'node:stream';
import { McpServer, createMcpHandler } from '@modelcontextprotocol/server';
import { z } from 'zod';

const handler = createMcpHandler((context) => {
  const server = new McpServer({ name: 'orders', version: '1.0.0' });
  const who = () => ['x-auth-client', 'authorization', 'dpop'].map((name) => context.requestInfo?.headers.get(name) ?? '-').join(' ');
  const order = { inputSchema: z.object({ order: z.string() }) };
  for (const name of ['get_order', 'delete_order']) {
    server.registerTool(name, order, ({ order }) => ({ content: [{ type: 'text', text: `${name} ${order} ${who()}` }] }));
  }
  return server;
});

const listener = createServer(async (request, response) => {
  const headers = new Headers(Object.entries(request.headersDistinct).flatMap(([name, values]) => values.map((value) => [name, value])));
  const body = ['GET', 'HEAD'].includes(request.method) ? {} : { body: Readable.toWeb(request), duplex: 'half' };
  const answer = await handler.fetch(new Request(`http://127.0.0.1${request.url}`, { method: request.method, headers, ...body }));
  response.writeHead(answer.status, Object.fromEntries(answer.headers));
  if (answer.body) Readable.fromWeb(answer.body).pipe(response);
  else response.end();
});
listener.listen(Number(process.env.PORT), '127.0.0.1');
