"""A server made with the official Python SDK: over standard input and output, or with --http on a free port."""

import socket
import sys

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
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
