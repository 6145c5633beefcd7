// What every TypeScript client does with the demo server, whatever its line and era. `peer` hides what differs.
import assert from "node:assert/strict";

const text = (result) => result.content[0].text;

/** Waits for `ready` to be true of what was heard; fails loudly instead of hanging. */
async function heard(list, ready, what) {
  const end = Date.now() + 10_000;
  while (!list.some(ready)) {
    assert.ok(Date.now() < end, `${what} never came: ${JSON.stringify(list)}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export async function check(peer, label) {
  const { client, notifications } = peer;
  const done = (what) => console.log(`  ${label}: ${what}`);

  const { tools } = await client.listTools();
  for (const name of ["echo", "add", "slow", "steps", "ask", "sample", "log", "touch", "changed", "region"]) {
    assert.ok(tools.some((tool) => tool.name === name), `tool ${name}`);
  }
  done("list");

  assert.equal(text(await peer.call("echo", { message: "hällo \u{1f680}" })), "hällo \u{1f680}");
  assert.equal(text(await peer.call("add", { a: 20, b: 22 })), "42");
  assert.deepEqual((await peer.call("region", { name: "eu-west" })).structuredContent, { name: "eu-west", known: true });
  assert.equal((await peer.call("add", { a: "x" })).isError, true);
  await assert.rejects(peer.call("no-such-tool", {}));
  done("call, structured result, bad arguments, unknown tool");

  const progress = [];
  await peer.call("steps", { steps: 3, interval_ms: 20 }, { onprogress: (update) => progress.push(update) });
  // The TypeScript clients forget a call's handler as they read its answer, and hand out notifications a turn later: the
  // last progress is lost to them when it comes in one read with the answer.
  assert.ok(progress.length >= 2, "progress before the answer");
  assert.deepEqual(progress.map((update) => [update.progress, update.total]), [[1, 3], [2, 3], [3, 3]].slice(0, progress.length));
  done("progress");

  assert.equal(text(await peer.call("ask", { prompt: "Who?" })), "They said: interop");
  assert.equal(text(await peer.call("sample", { prompt: "Say it" })), "The model said: a sample");
  done("elicitation and sampling");

  const item = await client.readResource({ uri: "demo://item/7" });
  assert.deepEqual(JSON.parse(item.contents[0].text), { n: 7, square: 49 });
  await assert.rejects(client.readResource({ uri: "demo://item/none" }));
  const { resourceTemplates } = await client.listResourceTemplates();
  assert.equal(resourceTemplates[0].uriTemplate, "demo://item/{n}");
  done("resource read and template");

  const completion = await client.complete({
    ref: { type: "ref/prompt", name: "greet" }, argument: { name: "name", value: "a" },
  });
  assert.deepEqual(completion.completion.values, ["Ada", "Alan"]);
  const prompt = await client.getPrompt({ name: "greet", arguments: { name: "Ada" } });
  assert.match(prompt.messages[0].content.text, /Ada/);
  done("prompt and completion");

  const stop = await peer.subscribe("demo://clock");
  await heard(notifications, (known) => known.uri === "demo://clock", "an update of the clock");
  await stop();
  done("subscribe and update");

  const abort = new AbortController();
  const slow = peer.call("slow", { ms: 60_000 }, { signal: abort.signal });
  setTimeout(() => abort.abort(), 100);
  await assert.rejects(slow);
  assert.equal(text(await peer.call("echo", { message: "still here" })), "still here");
  done("cancellation");
  await client.close();
}

export const accepted = { action: "accept", content: { answer: "interop" } };
export const sampled = { role: "assistant", model: "none", content: { type: "text", text: "a sample" } };
export const place = () => {
  const [first, command] = process.argv.slice(2);
  if (first === "--stdio") return { kind: "stdio", command, args: ["serve", "--stdio"] };
  return first === "--sse" ? { kind: "sse", url: new URL(command) } : { kind: "http", url: new URL(first) };
};
