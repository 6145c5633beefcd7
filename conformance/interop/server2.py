"""A server made with the official Python SDK: over standard input and output, or with --http on a free port."""

import asyncio
import socket
import sys

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import Completion, SamplingMessage, TextContent
from pydantic import BaseModel

server = MCPServer("python-fixture", version="1.0.0")


class Sum(BaseModel):
    sum: int


class Who(BaseModel):
    name: str


@server.tool()
def add(a: int, b: int) -> Sum:
    """Add two numbers."""
    return Sum(sum=a + b)


@server.tool()
def fail() -> str:
    """Fail."""
    raise ValueError("on purpose")


@server.tool()
async def steps(count: int, ctx: Context) -> str:
    """Report progress."""
    for step in range(count):
        await ctx.report_progress(step + 1, count, f"step {step + 1}")
    return "done"


@server.tool()
async def greet(ctx: Context) -> str:
    """Ask who is there."""
    answer = await ctx.elicit("Who is there?", Who)
    return f"hello {answer.data.name}" if answer.action == "accept" else answer.action


@server.tool()
async def sample(ctx: Context) -> str:
    """Ask for a sample."""
    question = SamplingMessage(role="user", content=TextContent(type="text", text="x"))
    answer = await ctx.session.create_message([question], max_tokens=5, related_request_id=ctx.request_id)
    return answer.content.text


@server.tool()
async def roots(ctx: Context) -> str:
    """Ask for the roots."""
    return str((await ctx.session.list_roots()).roots[0].uri)


@server.tool()
async def log(ctx: Context) -> str:
    """Log."""
    await ctx.info("noise")
    return "done"


@server.tool()
async def slow() -> str:
    """Take long."""
    await asyncio.sleep(20)
    return "done"


@server.tool()
async def touch(uri: str, ctx: Context) -> str:
    """Say that a resource changed."""
    await ctx.notify_resource_updated(uri)
    return "done"


@server.completion()
async def complete(ref, argument, context) -> Completion:
    """Complete everything alike."""
    return Completion(values=[argument.value + "nn"], total=1, has_more=False)


@server.resource("fixture://greeting")
def greeting() -> str:
    """A greeting."""
    return "hello"


@server.resource("fixture://item/{n}")
def item(n: str) -> str:
    """A numbered item."""
    return f"item {n}"


@server.prompt()
def introduce(name: str) -> str:
    """Introduce somebody."""
    return f"This is {name}."


if "--http" in sys.argv:
    import uvicorn

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    port = listener.getsockname()[1]
    print(f"listening on http://127.0.0.1:{port}/mcp", file=sys.stderr, flush=True)
    config = uvicorn.Config(server.streamable_http_app(), log_level="error")
    uvicorn.Server(config).run(sockets=[listener])
else:
    server.run("stdio")
