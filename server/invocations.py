"""`POST /invocations`: bytes in, bytes out; the worker reads and writes them.

This is the path that every prediction takes, so it costs about what an empty handler costs: it
stands before aiohttp's routing and middlewares, takes a body that has arrived already as it is,
and writes an answer whose head was built once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from time import perf_counter
from typing import cast

import structlog
from aiohttp import ClientPayloadError, HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time

from server.deployment import Deployment
from server.errors import NotServing, QueueFull, ServingError
from server.http_errors import http_exception_response, serving_error_response
from server.metrics import Metrics
from server.request_ids import REQUEST_ID_HEADER, request_id
from server.settings import Settings

PATH = "/invocations"
VERSION_HEADER = "X-Model-Version"

# A larger answer is left to aiohttp, which writes it as the client reads it.
_LARGEST_PREPARED = 64 * 1024

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

log = structlog.get_logger("server.invocations")


class Invocations:
    """Answers `/invocations`.

    Args:
        deployment: Whose serving release is asked. While it stops, connections are closed after the
            answer.
        metrics: Told of each answer.
        settings: The largest body, and how long one may take to arrive.
    """

    def __init__(self, deployment: Deployment, metrics: Metrics, settings: Settings) -> None:
        self._deployment = deployment
        self._metrics = metrics
        self._max_body_bytes = settings.max_body_bytes
        self._body_seconds = settings.request_timeout_seconds
        self._refusals = _Refusals(metrics)
        self._heads = _Heads()

    def before(self, others: Handler) -> Handler:
        """A handler that answers predictions at once and passes other requests on."""

        def dispatch(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
            if request.raw_path == PATH and request.method == hdrs.METH_POST:
                return self._answer(request)
            return others(request)

        return dispatch

    async def answer_with_query(self, request: web.Request) -> web.StreamResponse:
        """Answer a request that came through the application's routing."""
        return await self._answer(request, prepared=False)

    async def _answer(
        self, request: web.BaseRequest, *, prepared: bool = True
    ) -> web.StreamResponse:
        started = perf_counter()
        identifier = request_id(request)
        try:
            body = await self._body(request)
            release = self._deployment.release
            if release is None:
                raise NotServing("no model serves yet; /health says why")
            content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
            answer, label = await release.submit(
                content_type.encode("utf-8", "surrogateescape"), identifier.encode(), body
            )
        except ServingError as error:
            self._refusals.note(error, identifier)
            response = serving_error_response(error)
        except web.HTTPException as error:
            response = http_exception_response(error, request)
        else:
            self._metrics.observe(answer.outcome, perf_counter() - started)
            if (
                prepared
                and answer.status == HTTPStatus.OK
                and len(answer.body) <= _LARGEST_PREPARED
                and request.keep_alive
                and request.version == HttpVersion11
                and not self._deployment.stopping
            ):
                return self._prepared(request, label, identifier, answer.body)
            response = web.Response(
                status=answer.status, body=answer.body, content_type="application/json"
            )
            response.headers[VERSION_HEADER] = label
        response.headers[REQUEST_ID_HEADER] = identifier
        if self._deployment.stopping:
            response.force_close()
        return response

    async def _body(self, request: web.BaseRequest) -> bytes:
        """The whole body, unpacked.

        Raises:
            HTTPException: 413 if it is too large, 408 if it does not arrive in time, 400 if it
                can't be unpacked or breaks off.
        """
        content = request.content
        try:
            if content.is_eof() and content.total_bytes <= self._max_body_bytes:
                return content.read_nowait()
            if (request.content_length or 0) > self._max_body_bytes:
                raise web.HTTPRequestEntityTooLarge(self._max_body_bytes)
            async with asyncio.timeout(self._body_seconds):
                return await request.read()
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        except (web.RequestPayloadError, ClientPayloadError) as error:
            raise web.HTTPBadRequest(reason="the body can't be read") from error

    def _prepared(
        self, request: web.BaseRequest, label: str, identifier: str, body: bytes
    ) -> web.StreamResponse:
        data = b"%b%d\r\nX-Request-ID: %b\r\n\r\n%b" % (
            self._heads.ok(label),
            len(body),
            identifier.encode(),
            body,
        )
        return cast(web.StreamResponse, _Prepared(request.writer, data, len(body)))


class _Refusals:
    """Logs what was refused. Under overload that is most requests, so a full queue is told of once
    a second."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._unsaid = 0
        self._next = 0.0

    def note(self, error: ServingError, identifier: str) -> None:
        self._metrics.refused(error)
        if not isinstance(error, QueueFull | NotServing):
            log.warning("request_failed", error=str(error), request_id=identifier)
            return
        self._unsaid += 1
        now = perf_counter()
        if now >= self._next:
            log.warning("requests_refused", error=str(error), requests=self._unsaid)
            self._unsaid, self._next = 0, now + 1.0


class _Heads:
    """Builds the head of a good answer once a second for the version that serves."""

    def __init__(self) -> None:
        self._label = ""
        self._date = ""
        self._head = b""

    def ok(self, label: str) -> bytes:
        """The head, up to where the length of the body goes."""
        date = rfc822_formatted_time()
        if date is not self._date or label is not self._label:
            self._date, self._label = date, label
            self._head = (
                f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: {date}\r\n"
                f"{VERSION_HEADER}: {label}\r\nContent-Length: "
            ).encode("latin-1", "replace")
        return self._head


class _Prepared:
    """What aiohttp's `RequestHandler.finish_response` needs of a response, and no more."""

    __slots__ = ("_data", "_writer", "body_length")

    status = int(HTTPStatus.OK)
    keep_alive = True

    def __init__(self, writer: AbstractStreamWriter, data: bytes, body_length: int) -> None:
        self._writer = writer
        self._data = data
        self.body_length = body_length

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is left to prepare."""

    async def write_eof(self) -> None:
        """Write head and body in one piece."""
        await self._writer.write(self._data)
