// Core tasks of 2025-11-25, by the 1.x line of the official TypeScript SDK and the tools of the fixture server.
import assert from "node:assert/strict";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { CallToolResultSchema, ElicitRequestSchema, TaskStatusNotificationSchema } from "@modelcontextprotocol/sdk/types.js";

const client = new Client({ name: "interop", version: "1" }, { capabilities: { elicitation: {} } });
const asked = [];
const told = [];
client.setRequestHandler(ElicitRequestSchema, async ({ params }) => {
  asked.push(params._meta["io.modelcontextprotocol/related-task"].taskId);
  return { action: "accept", content: { name: "Ada", confirm: true } };
});
client.setNotificationHandler(TaskStatusNotificationSchema, ({ params }) => told.push([params.taskId, params.status].join()));
await client.connect(new StreamableHTTPClientTransport(new URL(process.argv[2])));
await client.listTools();
const tasks = client.experimental.tasks;

/** What the stream of a call says, and the id of its task. */
async function run(name, args) {
  const seen = { statuses: [] };
  for await (const message of tasks.callToolStream({ name, arguments: args }, CallToolResultSchema, { task: { ttl: 60_000 } })) {
    if (message.type === "taskCreated") seen.id = message.task.taskId;
    if (message.type === "taskStatus") seen.statuses.push(message.task.status);
    if (message.type === "result") seen.text = message.result.content[0].text;
    if (message.type === "error") seen.error = message.error;
  }
  return seen;
}

const slow = await run("slow_compute", { seconds: 0.2, label: "it" });
assert.equal(slow.text, "it took 0.2 s");
// It comes on another stream than the result.
for (const end = Date.now() + 10_000; !told.includes(`${slow.id},completed`);) {
  assert.ok(Date.now() < end, `no notification of the end: ${told.join("; ")}`);
  await new Promise((resolve) => setTimeout(resolve, 10));
}
for (const [name, text, questions] of [
  ["confirm_delete", "file: deleted", 1], ["multi_input", "Ada and Ada", 2], ["test_tool_with_task", "Hello, Ada!", 1],
]) {
  asked.length = 0;
  const seen = await run(name, { filename: "file" });
  assert.equal(seen.text, text);
  assert.deepEqual(asked, Array(questions).fill(seen.id));
}
for (const name of ["failing_job", "protocol_error_job"]) {
  const seen = await run(name, {});
  assert.equal(seen.statuses.at(-1), "failed");
}
const stream = tasks.callToolStream({ name: "slow_compute", arguments: { seconds: 60 } }, CallToolResultSchema, { task: {} });
const { taskId } = (await stream.next()).value.task;
assert.equal((await tasks.cancelTask(taskId)).status, "cancelled");
await assert.rejects(tasks.cancelTask(taskId));
const { tasks: listed } = await tasks.listTasks();
assert.equal(listed.length, 7);
assert.equal(listed.find((task) => task.taskId === taskId).status, "cancelled");
console.log("  typescript 1.x: tasks, their questions, ends and notifications");
process.exit(0);
