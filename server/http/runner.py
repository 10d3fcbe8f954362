"""aiohttp's server, with this server's connections and access log."""

import asyncio
from typing import Any

import structlog
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.web_protocol import RequestHandler

from server.http.app import make_app
from server.http.connection import Connection, Limits
from server.http.descriptors import open_to
from server.http.invocations import Invocations
from server.http.metrics import Metrics
from server.http.request_ids import request_id
from server.serving.deployment import Deployment
from server.settings import Settings
from watcher.job import Watcher

# Longer than proxies keep idle connections.
_KEEPALIVE_SECONDS = 75.0
# A connection whose shutdown is not held up by a model any more gets this long to read its answer.
_SHORTEST_SHUTDOWN_SECONDS = 1.0
# What a client whose body is refused gets to finish sending, so that it reads the answer.
_LINGERING_SECONDS = 5.0

log = structlog.get_logger("server.http")


class Runner(web.AppRunner):
    """Runs the application for one deployment.

    Args:
        settings: Limits, and whether to log each request.
        deployment: Whose serving release answers.
        watcher: Whose state is shown.
    """

    __slots__ = ("_invocations", "_settings")

    def __init__(self, settings: Settings, deployment: Deployment, watcher: Watcher) -> None:
        metrics = Metrics(deployment)
        self._invocations = Invocations(deployment, metrics, settings)
        self._settings = settings
        app = make_app(settings, deployment, watcher, metrics, self._invocations)
        super().__init__(app, shutdown_timeout=settings.drain_timeout_seconds)

    async def finish(self, deadline: float) -> None:
        """Close the connections whose requests are answered, and the others at the deadline.

        Args:
            deadline: Loop time.
        """
        left = deadline - asyncio.get_running_loop().time()
        # aiohttp waits so long for the handler, and once more for the connection.
        self._shutdown_timeout = max(left, _SHORTEST_SHUTDOWN_SECONDS) / 2
        await self.cleanup()

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        return _Server(
            server.request_handler,
            request_factory=server.request_factory,
            limits=Limits(
                open_to(self._settings.max_connections), self._settings.request_timeout_seconds
            ),
            # The short way writes no access log.
            invocations=None if self._settings.access_log else self._invocations,
            access_log=log if self._settings.access_log else None,
            access_log_class=_AccessLog,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            lingering_time=_LINGERING_SECONDS,
        )


class _Server(web.Server):
    def __init__(
        self, handler: Any, *, limits: Limits, invocations: Invocations | None, **options: Any
    ) -> None:
        # What a client that has gone asked for is not predicted any more.
        super().__init__(
            handler, request_factory=options.pop("request_factory"), handler_cancellation=True
        )
        self._limits = limits
        self._invocations = invocations
        self._options = options

    def __call__(self) -> RequestHandler:
        loop = asyncio.get_running_loop()
        return Connection(self, self._limits, self._invocations, loop=loop, **self._options)


class _AccessLog(AbstractAccessLogger):
    """One event for each request, where ACCESS_LOG asks for it."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        log.info(
            "request",
            method=request.method,
            path=request.path,
            request_id=request_id(request),
            status=response.status,
            seconds=round(time, 6),
            bytes_sent=response.body_length,
            remote=request.remote,
        )
