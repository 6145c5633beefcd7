// The 1.x line of the official TypeScript SDK: the handshake era.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CreateMessageRequestSchema, ElicitRequestSchema, ResourceUpdatedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { accepted, check, place, sampled } from "./checks.mjs";

const where = place();
const client = new Client({ name: "interop", version: "1" }, { capabilities: { sampling: {}, elicitation: {}, roots: {} } });
const notifications = [];
client.setRequestHandler(ElicitRequestSchema, async () => accepted);
client.setRequestHandler(CreateMessageRequestSchema, async () => sampled);
client.setNotificationHandler(ResourceUpdatedNotificationSchema, (known) => notifications.push(known.params));
const transports = {
  http: () => new StreamableHTTPClientTransport(where.url),
  sse: () => new SSEClientTransport(where.url),
  stdio: () => new StdioClientTransport(where),
};
await client.connect(transports[where.kind]());
const peer = {
  client,
  notifications,
  call: (name, args, options) => client.callTool({ name, arguments: args }, undefined, options),
  subscribe: async (uri) => {
    await client.subscribeResource({ uri });
    return () => client.unsubscribeResource({ uri });
  },
};
await check(peer, `typescript 1.x, ${where.kind}`);
process.exit(0);
