"""The server of the workloads on the official Python SDK: over HTTP on a free port, or with --stdio for the process that
started it."""

import logging
import socket
import sys

from mcp.server import MCPServer
from mcp.server.mcpserver import Context

server = MCPServer("python-bench", version="1.0.0")


@server.tool(structured_output=False)
async def echo(message: str) -> str:
    """Say the message again."""
    return message


@server.tool(structured_output=False)
async def steps(steps: int, ctx: Context, interval_ms: int = 0) -> str:
    """Report progress."""
    for step in range(steps):
        await ctx.report_progress(step + 1, steps, f"step {step + 1}")
    return f"took {steps} steps"


@server.tool(structured_output=False)
async def touch(uri: str, ctx: Context) -> str:
    """Say that a resource changed."""
    await ctx.notify_resource_updated(uri)
    return "touched"


logging.disable(logging.INFO)
if "--stdio" in sys.argv:
    server.run("stdio")
else:
    import uvicorn

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    port = listener.getsockname()[1]
    print(f"listening on http://127.0.0.1:{port}/mcp", file=sys.stderr, flush=True)
    config = uvicorn.Config(server.streamable_http_app(), log_level="error", timeout_keep_alive=300)
    uvicorn.Server(config).run(sockets=[listener])
