"""The 2.x line of the official Python client, in both eras."""

import asyncio
import json
import sys
import warnings

from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.types import CreateMessageResult, ElicitResult, TextContent


async def elicit(_context, _params):
    return ElicitResult(action="accept", content={"answer": "interop"})


async def sample(_context, _params):
    return CreateMessageResult(role="assistant", model="none", content=TextContent(type="text", text="a sample"))


def text(result):
    return result.content[0].text


async def updated(client, mode, uri, updates):
    """Subscribes, waits for one update, and ends the subscription."""
    if mode == "legacy":
        await client.subscribe_resource(uri)
        await asyncio.wait_for(updates.get(), 10)
        await client.unsubscribe_resource(uri)
        return
    async with client.listen(resource_subscriptions=[uri]) as subscription:
        await asyncio.wait_for(anext(aiter(subscription)), 10)


async def check(server, mode, label):
    def done(what):
        print(f"  {label}: {what}", flush=True)

    updates = asyncio.Queue()

    async def message(incoming):
        root = getattr(incoming, "root", incoming)
        if getattr(root, "method", "") == "notifications/resources/updated":
            updates.put_nowait(root)

    async with Client(
        server, mode=mode, elicitation_callback=elicit, sampling_callback=sample, message_handler=message
    ) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert {"echo", "add", "slow", "steps", "ask", "sample", "log", "touch", "changed", "region"} <= names, names
        done("list")
        assert text(await client.call_tool("echo", {"message": "hällo"})) == "hällo"
        assert text(await client.call_tool("add", {"a": 20, "b": 22})) == "42"
        region = await client.call_tool("region", {"name": "eu-west"})
        assert region.structured_content == {"name": "eu-west", "known": True}, region
        assert (await client.call_tool("add", {"a": "x"})).is_error
        done("call, structured result, bad arguments")

        progress = []

        async def report(value, total, _message):
            progress.append((value, total))

        await client.call_tool("steps", {"steps": 3, "interval_ms": 20}, progress_callback=report)
        assert progress == [(1, 3), (2, 3), (3, 3)], progress
        done("progress")
        assert text(await client.call_tool("ask", {"prompt": "Who?"})) == "They said: interop"
        assert text(await client.call_tool("sample", {"prompt": "Say it"})) == "The model said: a sample"
        done("elicitation and sampling")
        item = await client.read_resource("demo://item/7")
        assert json.loads(item.contents[0].text) == {"n": 7, "square": 49}
        templates = (await client.list_resource_templates()).resource_templates
        assert templates[0].uri_template == "demo://item/{n}"
        done("resource read and template")
        from mcp.types import PromptReference

        completion = await client.complete(PromptReference(type="ref/prompt", name="greet"), {"name": "name", "value": "a"})
        assert completion.completion.values == ["Ada", "Alan"], completion
        prompt = await client.get_prompt("greet", {"name": "Ada"})
        assert "Ada" in prompt.messages[0].content.text
        done("prompt and completion")
        await updated(client, mode, "demo://clock", updates)
        done("subscribe and update")
        slow = asyncio.create_task(client.call_tool("slow", {"ms": 60_000}))
        await asyncio.sleep(0.1)
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
        assert text(await client.call_tool("echo", {"message": "still here"})) == "still here"
        done("cancellation")


async def main():
    if sys.argv[1] == "--sse":
        # The transport is older than the modern era.
        await asyncio.wait_for(check(sse_client(sys.argv[2]), "legacy", "python 2.x, legacy, sse"), 60)
        return
    for mode in ["legacy", "2026-07-28"]:
        if sys.argv[1] == "--stdio":
            server, kind = StdioServerParameters(command=sys.argv[2], args=["serve", "--stdio"]), "stdio"
        else:
            server, kind = sys.argv[1], "http"
        await asyncio.wait_for(check(server, mode, f"python 2.x, {mode}, {kind}"), 60)


warnings.simplefilter("ignore")  # that an old revision is spoken is what is tested
asyncio.run(main())
