"""aiohttp's server, with this server's connections and access log."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import structlog
from aiohttp import HttpVersion11, hdrs, web
from aiohttp import __version__ as aiohttp_version
from aiohttp.abc import AbstractAccessLogger

from server.http.app import make_app
from server.http.authorization import api_key
from server.http.budget import Budget
from server.http.clients import Clients, Limits
from server.http.connection import Connection
from server.http.descriptors import open_to
from server.http.errors import error_response
from server.http.invocations import Invocations
from server.http.metrics import Metrics
from server.http.ordinary_way import OrdinaryWay
from server.http.request_ids import REQUEST_ID_HEADER, request_id
from server.http.trial import short_way_problem
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


class Runner(web.ServerRunner):
    """Runs the application for one deployment.

    Args:
        settings: Limits, and whether to log each request.
        deployment: Whose serving release answers.
        watcher: Whose state is shown.
        limits: Those of connections, where they are not what the settings make of them.
    """

    def __init__(
        self,
        settings: Settings,
        deployment: Deployment,
        watcher: Watcher,
        limits: Limits | None = None,
    ) -> None:
        clients = Clients(limits or _limits(settings), Budget(settings.bytes_in_flight))
        metrics = Metrics(deployment, clients)
        key = api_key(settings)
        invocations = Invocations(deployment, metrics, settings, clients.budget, key)
        app = make_app(settings, deployment, watcher, metrics, invocations)
        self._app_runner = web.AppRunner(app)
        self._connections = _Server(settings, invocations, clients)
        super().__init__(self._connections, shutdown_timeout=settings.drain_timeout_seconds)

    @property
    def app(self) -> web.Application:
        """The application."""
        return self._app_runner.app

    async def setup(self) -> None:
        """Start the application, and choose how predictions are answered."""
        await self._app_runner.setup()
        assert self._app_runner.server is not None
        problem = await short_way_problem()
        if problem is not None:
            log.warning("short_way_unavailable", aiohttp_version=aiohttp_version, error=problem)
        self._connections.begin(self._app_runner.server, short_way=problem is None)
        await super().setup()

    async def cleanup(self) -> None:
        """Close what is open, and end the application."""
        await super().cleanup()
        await self._app_runner.cleanup()

    async def finish(self, deadline: float) -> None:
        """Close the connections whose requests are answered, and the others at the deadline.

        Args:
            deadline: Loop time.
        """
        left = deadline - asyncio.get_running_loop().time()
        # What has arrived is begun with before idle connections are closed.
        await asyncio.sleep(0)
        self._connections.pre_shutdown()
        # aiohttp waits so long for the handler, and once more for the connection.
        await self._connections.shutdown(max(left, _SHORTEST_SHUTDOWN_SECONDS) / 2)
        await self.cleanup()


def _limits(settings: Settings) -> Limits:
    limits = Limits(open_to(settings.max_connections))
    return replace(limits, head_seconds=min(limits.head_seconds, settings.request_timeout_seconds))


class _Server(web.Server):
    """Makes the connections; `begin` gives it the application whose requests they bring."""

    def __init__(self, settings: Settings, invocations: Invocations, clients: Clients) -> None:
        # What a client that has gone asked for is not predicted any more.
        super().__init__(self._answer, request_factory=self._request, handler_cancellation=True)
        self._settings = settings
        self._invocations = invocations
        self._clients = clients
        self._connect: Callable[[], web.RequestHandler]

    def begin(self, application: web.Server, *, short_way: bool) -> None:
        """Take connections from now on.

        Args:
            application: Answers the requests.
            short_way: Whether predictions can be answered past it.
        """
        self._application = application
        access_log = self._settings.access_log
        options: dict[str, Any] = {
            "loop": asyncio.get_running_loop(),
            "access_log": log if access_log else None,
            "access_log_class": _AccessLog,
            "keepalive_timeout": _KEEPALIVE_SECONDS,
            "lingering_time": _LINGERING_SECONDS,
        }
        if short_way:
            # What it rests on may be gone.
            from server.http.short_way import ShortWay

            # It writes no access log.
            invocations = None if access_log else self._invocations
            self._connect = partial(ShortWay, self, self._clients, invocations, **options)
        else:
            self._connect = partial(OrdinaryWay, self, self._clients, **options)

    def __call__(self) -> web.RequestHandler:
        return self._connect()

    def _request(self, *parts: Any) -> web.BaseRequest:
        return self._application.request_factory(*parts)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)
        connection.request_begun(request)
        try:
            return _expectation_failed(request) or await self._application.request_handler(request)
        finally:
            connection.request_answered()


def _expectation_failed(request: web.BaseRequest) -> web.Response | None:
    """The answer to a request that expects what can't be met (RFC 9110, section 10.1.1), or None.

    aiohttp would refuse it before any of the application's own code is asked.
    """
    expected = request.headers.get(hdrs.EXPECT)
    if not expected or expected.lower() == "100-continue" or request.version != HttpVersion11:
        return None
    response = error_response(417, f"Expect takes 100-continue, not {expected[:40]!a}")
    response.headers[REQUEST_ID_HEADER] = request_id(request)
    return response


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
