// A server without sessions, by the 1.x line of the official TypeScript SDK: every request may reach another process.
import assert from "node:assert/strict";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [first, second] = process.argv.slice(2);
let turn = 0;
const either = (url, init) => fetch(turn++ % 2 ? second : first, init);
const transport = new StreamableHTTPClientTransport(new URL(first), { fetch: either });
const client = new Client({ name: "interop", version: "1" });
await client.connect(transport);
assert.equal(transport.sessionId, undefined);
const capabilities = client.getServerCapabilities();
assert.ok(capabilities.tools && !capabilities.tools.listChanged && !capabilities.logging, JSON.stringify(capabilities));
const { tools } = await client.listTools();
assert.ok(tools.some((tool) => tool.name === "echo"));
for (let n = 0; n < 4; n++) {
  const sum = await client.callTool({ name: "add", arguments: { a: n, b: 1 } });
  assert.equal(sum.content[0].text, String(n + 1));
}
const progress = [];
await client.callTool({ name: "steps", arguments: { steps: 3, interval_ms: 20 } }, undefined, {
  onprogress: (update) => progress.push(update.progress),
});
assert.ok(progress.length >= 2, "progress before the answer");
await assert.rejects(client.subscribeResource({ uri: "demo://clock" }));
assert.match((await client.readResource({ uri: "demo://item/7" })).contents[0].text, /49/);
await transport.terminateSession();
await client.close();
assert.ok(turn > 8, "both processes were asked");
console.log("  stateless: list, calls, progress, read, of two processes in turns");
