"""The server's life: everything is started, serves until a signal, and is ended in order."""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from aiohttp import web

from server import __version__
from server.http.runner import Runner
from server.processes.cores import thread_variables
from server.processes.environment import Environment
from server.processes.output import OutputPipe
from server.serving.deployment import Deployment
from server.serving.scratch import Scratch
from server.settings import Settings, mlflow_version
from watcher.job import Watcher
from watcher.lookup import Lookup
from watcher.retries import RetryPauses

_FIRST_RETRY_SECONDS = 1.0
# What is on its way when the signal comes, on a connection that is open already, is served as well.
_LAST_CALL_SECONDS = 0.25
# Connections that may wait to be accepted; the kernel's own limit, net.core.somaxconn, holds too.
_BACKLOG = 4096

log = structlog.get_logger("server.service")


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        OSError: the address can't be listened on.
    """
    stop = _StopSignals()
    async with AsyncExitStack() as stack:
        environment = await _start_environment(settings, stack)
        deployment, watcher = await stack.enter_async_context(deployed(settings, environment))
        runner = Runner(settings, deployment, watcher)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        # What is there by now stays: each collection that looked at it would take tens of
        # milliseconds, in which nobody is answered.
        gc.collect()
        gc.freeze()
        site = web.TCPSite(runner, settings.host, settings.port, backlog=_BACKLOG)
        await site.start()
        _announce(settings, runner)
        watcher.start()

        signal_name = await stop.wait()
        log.info("server_stopping", signal=signal_name)
        watcher.pause()
        await deployment.give_up_swaps()
        await asyncio.sleep(max(settings.shutdown_grace_seconds, _LAST_CALL_SECONDS))
        await site.stop()
        deadline = asyncio.get_running_loop().time() + settings.drain_timeout_seconds
        await deployment.close()
        await runner.finish(deadline)
    log.info("server_stopped")


@asynccontextmanager
async def deployed(
    settings: Settings, environment: Environment
) -> AsyncIterator[tuple[Deployment, Watcher]]:
    """What serves, and what has it follow the registry, without a way in; ended in order."""
    async with AsyncExitStack() as stack:
        scratch = Scratch()
        stack.callback(scratch.close)
        look_up = Lookup(
            settings.uri, environment.fork, allow_local_sources=settings.allow_local_sources
        )
        stack.push_async_callback(look_up.close)
        interval = settings.poll_interval_seconds
        retries = RetryPauses(max(interval, _FIRST_RETRY_SECONDS))
        threads = thread_variables(settings.workers)
        deployment = Deployment(settings, look_up, environment, scratch, retries, threads)
        stack.push_async_callback(deployment.close)
        watcher = Watcher(look_up, deployment, retries, interval, moves=settings.uri.moves)
        stack.callback(watcher.stop)
        yield deployment, watcher


async def _start_environment(settings: Settings, stack: AsyncExitStack) -> Environment:
    output = OutputPipe(process="environment")
    stack.callback(output.close)
    output.start()
    environment = Environment(output.writable, settings.preload or (), settings.log_level)
    environment.adopt_orphans()
    stack.push_async_callback(environment.stop)
    await environment.start()
    return environment


def _announce(settings: Settings, runner: web.BaseRunner) -> None:
    host, port = runner.addresses[0][:2]
    log.info(
        "server_started",
        host=host,
        port=port,
        model_uri=settings.model_uri,
        server_version=__version__,
        mlflow_version=mlflow_version(),
        watching=settings.uri.moves and settings.poll_interval_seconds > 0,
        poll_interval_seconds=settings.poll_interval_seconds,
        workers=settings.workers,
        pid=os.getpid(),
    )
    if not settings.uri.moves:
        log.info("nothing_to_watch", model_uri=settings.model_uri, form=settings.uri.form.value)


class _StopSignals:
    """The first SIGTERM or SIGINT asks to stop, the second ends the process at once."""

    def __init__(self) -> None:
        self._received: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._note, number)

    async def wait(self) -> str:
        """Return the name of the first signal when it comes."""
        return await self._received

    def _note(self, number: signal.Signals) -> None:
        if self._received.done():
            # Workers end as soon as their channels close.
            os._exit(128 + number)
        self._received.set_result(number.name)
