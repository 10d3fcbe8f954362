"""What a model may call: it answers every request 50 ms later, any number at a time.
`python -m benchmarks.peers.slow_service PORT`."""

import asyncio
import sys

import uvloop
from aiohttp import web

from benchmarks.client import HOST

DELAY_SECONDS = 0.05


async def _answer(_request: web.Request) -> web.Response:
    await asyncio.sleep(DELAY_SECONDS)
    return web.Response(body=b'{"known": true}', content_type="application/json")


async def _serve(port: int) -> None:
    app = web.Application()
    app.router.add_get("/", _answer)
    runner = web.AppRunner(app, access_log=None, handle_signals=True)
    await runner.setup()
    await web.TCPSite(runner, HOST, port, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as main:
        main.run(_serve(int(sys.argv[1])))
