"""An aiohttp handler that reads the body and answers a constant: what this server's gateway would
do at best. `python -m benchmarks.peers.empty_handler PORT`."""

import asyncio
import sys

import uvloop
from aiohttp import web

from benchmarks.client import HOST

_ANSWER = b'{"predictions":["politics"]}'


async def _invocations(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(body=_ANSWER, content_type="application/json")


async def _health(_request: web.Request) -> web.Response:
    return web.Response(body=b"{}", content_type="application/json")


async def _serve(port: int) -> None:
    app = web.Application()
    app.router.add_post("/invocations", _invocations)
    app.router.add_get("/health", _health)
    runner = web.AppRunner(app, access_log=None, handle_signals=True)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as main:
        main.run(_serve(int(sys.argv[1])))
