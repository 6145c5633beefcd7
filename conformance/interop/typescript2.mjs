// The 2.x line of the official TypeScript client, in both eras.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { accepted, check, place, sampled } from "./checks.mjs";

const where = place();
for (const mode of ["legacy", { pin: "2026-07-28" }]) {
  const client = new Client(
    { name: "interop", version: "2" },
    { capabilities: { sampling: {}, elicitation: {}, roots: {} }, versionNegotiation: { mode } },
  );
  const notifications = [];
  client.setRequestHandler("elicitation/create", async () => accepted);
  client.setRequestHandler("sampling/createMessage", async () => sampled);
  client.setNotificationHandler("notifications/resources/updated", (known) => notifications.push(known.params));
  await client.connect(where.url ? new StreamableHTTPClientTransport(where.url) : new StdioClientTransport(where));
  const peer = {
    client,
    notifications,
    call: (name, args, options) => client.callTool({ name, arguments: args }, options),
    subscribe: async (uri) => {
      if (mode === "legacy") {
        await client.subscribeResource({ uri });
        return () => client.unsubscribeResource({ uri });
      }
      const subscription = await client.listen({ resourceSubscriptions: [uri] });
      return () => subscription.close();
    },
  };
  const era = mode === "legacy" ? "legacy" : "modern";
  await check(peer, `typescript 2.x, ${era}, ${where.url ? "http" : "stdio"}`);
}
process.exit(0);
