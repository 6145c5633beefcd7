// The server of the workloads on the official TypeScript SDK: sessions before 2026-07-28, and none from then on. With --stdio it
// serves the process that started it.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { NodeStreamableHTTPServerTransport, toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import * as z from 'zod';

const text = (text) => ({ content: [{ type: 'text', text }] });
const watchers = new Set();
// The same for all: a schema is not built again for each server.
const echoed = z.object({ message: z.string() });
const stepped = z.object({ steps: z.number(), interval_ms: z.number().optional() });
const touched = z.object({ uri: z.string() });

function server() {
    const server = new McpServer(
        { name: 'typescript-bench', version: '1.0.0' },
        { capabilities: { resources: { subscribe: true }, tools: {} } },
    );
    server.registerTool('echo', { description: 'Say the message again', inputSchema: echoed }, ({ message }) => text(message));
    server.registerTool('steps', { description: 'Report progress', inputSchema: stepped }, async ({ steps }, context) => {
        const progressToken = context.mcpReq._meta?.progressToken;
        for (let step = 1; step <= steps; step += 1) {
            const params = { progressToken, progress: step, total: steps, message: `step ${step}` };
            await context.mcpReq.notify({ method: 'notifications/progress', params });
        }
        return text(`took ${steps} steps`);
    });
    server.registerTool('touch', { description: 'Say that a resource changed', inputSchema: touched }, async ({ uri }) => {
        modern.notify.resourceUpdated(uri);
        await Promise.all([...watchers].map((watcher) => watcher.sendResourceUpdated({ uri })));
        return text('touched');
    });
    server.server.setRequestHandler('resources/subscribe', () => {
        watchers.add(server.server);
        return {};
    });
    return server;
}

const modern = createMcpHandler(server, { legacy: 'reject' });

function serveHttp() {
    const sessions = new Map();
    const answerModern = toNodeHandler(modern);
    const answer = async (request, response) => {
        if (request.headers['mcp-protocol-version'] === '2026-07-28') {
            return answerModern(request, response);
        }
        let transport = sessions.get(request.headers['mcp-session-id']);
        if (!transport) {
            transport = new NodeStreamableHTTPServerTransport({
                sessionIdGenerator: randomUUID,
                onsessioninitialized: (id) => sessions.set(id, transport),
            });
            await server().connect(transport);
        }
        return transport.handleRequest(request, response);
    };
    const listener = createServer(answer);
    listener.keepAliveTimeout = 300_000;
    listener.listen(0, '127.0.0.1', 511, () => {
        console.error(`listening on http://127.0.0.1:${listener.address().port}/mcp`);
    });
}

if (process.argv.includes('--stdio')) {
    serveStdio(server);
} else {
    serveHttp();
}
