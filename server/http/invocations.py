"""`POST /invocations`: bytes in, bytes out; the worker reads and writes them.

A prediction comes in one of two ways. A request that arrived whole, as most do, costs about what an
empty handler costs: `server.http.short_way` hands its body over with `submit` and writes what
`finish` makes. Any other goes through aiohttp's routing to `handle`.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from http import HTTPStatus
from time import perf_counter
from typing import NamedTuple

import structlog
from aiohttp import hdrs, web
from multidict import CIMultiDictProxy

from server.errors import KnownRequest, NotServing, QueueFull, ServingError, TooMuchInFlight
from server.http.bodies import Bodies
from server.http.budget import UNCOUNTED, Budget, Hold, hold_answer
from server.http.connection import Connection
from server.http.errors import error_response, serving_error_response
from server.http.events import DONE, event_stream, in_mlflows_shape, may_want, write_event
from server.http.metrics import Metrics
from server.http.packing import LARGEST_PLAIN, may_pack, pack, wants_gzip
from server.http.paths import spellings
from server.http.request_ids import REQUEST_ID_HEADER, id_in, request_id
from server.http.tokens import Token
from server.http.wire import http_date, written
from server.redaction import redact_json
from server.serving.calls import Answered, taken
from server.serving.deployment import Deployment
from server.serving.streams import Stream
from server.settings import Settings
from server.worker.frames import Answer

PATH = "/invocations"
VERSION_HEADER = "X-Model-Version"

log = structlog.get_logger("server.http.invocations")


class Prediction(NamedTuple):
    """A request that waits for its answer.

    Attributes:
        request_id: Stands in the answer, and in every line of the log about it.
        started: When it came (seconds, `time.perf_counter`).
        answered: Brings the answer, or a `ServingError`.
        headers: Those of the request.
    """

    request_id: str
    started: float
    answered: Answered
    headers: "CIMultiDictProxy[str]"


class Invocations:
    """Answers `/invocations`.

    Attributes:
        budget: What bodies and answers may take of memory.
        key: What requests have to show.
        paths: Where requests that need no routing are posted to.

    Args:
        deployment: Whose serving release is asked.
        metrics: Told of each answer.
        settings: The largest body, and how long one may take to arrive.
        budget: See above.
        key: See above.
    """

    def __init__(
        self,
        deployment: Deployment,
        metrics: Metrics,
        settings: Settings,
        budget: Budget,
        key: Token,
    ) -> None:
        self._deployment = deployment
        self._metrics = metrics
        self.budget = budget
        self.key = key
        self._max_body_bytes = settings.max_body_bytes
        self._bodies = Bodies(budget, settings.max_body_bytes, settings.request_timeout_seconds)
        self._asks_for_key = key.asked_for
        self._leaves_origins = bool(settings.cors_allowed_origins)
        self.paths = frozenset(p for p in spellings(PATH, settings.root_path) if p[-1] != "/")
        self._refusals = _Refusals(metrics)
        self._heads = _Heads()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request that came through aiohttp's routing.

        Raises:
            ServingError: it can't be answered as it should be.
            HTTPException: the body can't be had, see `Bodies.read`.
        """
        content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
        return await self.answer(request, content_type.encode("utf-8", "surrogateescape"))

    async def answer(
        self,
        request: web.Request,
        content_type: bytes,
        error_of: Callable[[int, bytes], bytes] = in_mlflows_shape,
    ) -> web.StreamResponse:
        """Answer a request, whole or as a stream.

        Args:
            content_type: How its body is to be read.
            error_of: Makes of an error's status and body, which has MLflow's shape, what a stream
                that has begun says of it, as JSON.

        Raises:
            ServingError, HTTPException: as `handle`.
        """
        identifier = request_id(request)
        client = request.protocol.client if isinstance(request.protocol, Connection) else b""
        try:
            body, hold = await self._bodies.read(request)
            streams = self.streams and may_want(body)
            prediction = self._submit(
                request.headers, content_type, body, identifier, client, hold, streams=streams
            )
            del body, hold
            answer, label = await taken(prediction.answered)
            if isinstance(answer, Stream):
                return await self._send(request, answer, label, prediction, error_of)
            self._metrics.observe(answer.outcome, perf_counter() - prediction.started)
            response = _response(answer, label)
            hold_answer(response, self.budget)
        except ServingError as error:
            self._refusals.note(error, identifier)
            raise
        return response

    async def _send(
        self,
        request: web.Request,
        stream: Stream,
        label: str,
        prediction: Prediction,
        error_of: Callable[[int, bytes], bytes],
    ) -> web.StreamResponse:
        """Send a stream as it comes, as server-sent events."""
        response = event_stream({VERSION_HEADER: label, REQUEST_ID_HEADER: prediction.request_id})
        try:
            await response.prepare(request)
            await self._send_chunks(response, stream)
            if (failed := self._failure_of(stream, prediction)) is not None:
                await write_event(response, error_of(*failed))
            await write_event(response, DONE)
            await response.write_eof()
        except ConnectionResetError:
            # The client has gone.
            pass
        finally:
            stream.cancel()
        return response

    async def _send_chunks(self, response: web.StreamResponse, stream: Stream) -> None:
        async with aclosing(stream.chunks()) as chunks:
            async for chunk in chunks:
                try:
                    hold = self.budget.hold(len(chunk))
                except TooMuchInFlight as error:
                    stream.finish(error)
                    return
                await write_event(response, chunk)
                del chunk, hold

    def _failure_of(self, stream: Stream, prediction: Prediction) -> tuple[int, bytes] | None:
        """Count a stream that has ended, and return the status and the body of the error that has
        ended it, if one has."""
        end = stream.end
        assert end is not None
        if isinstance(end, ServingError):
            self._refusals.note(end, prediction.request_id)
            refusal = serving_error_response(end)
            assert isinstance(refusal.body, bytes)
            return refusal.status, refusal.body
        self._metrics.observe(end.outcome, perf_counter() - prediction.started)
        return None if end.status == HTTPStatus.OK else (end.status, redact_json(end.body))

    @property
    def streams(self) -> bool:
        """Whether the model that serves can answer in chunks."""
        release = self._deployment.release
        return release is not None and release.streams

    def takes(self, headers: "CIMultiDictProxy[str]", size: int) -> bool:
        """Whether `submit` takes a request with such headers and a body of so many bytes."""
        return (
            size <= self._max_body_bytes
            and hdrs.EXPECT not in headers
            and hdrs.CONTENT_ENCODING not in headers
            and not (self._leaves_origins and hdrs.ORIGIN in headers)
            and (not self._asks_for_key or self.key.is_known_in(headers))
            # Connections are closed after the answer, then: aiohttp knows how.
            and not self._deployment.stopping
        )

    def submit(self, headers: "CIMultiDictProxy[str]", body: bytes, client: bytes) -> Prediction:
        """Have a request of a client answered whose body has arrived.

        A request that is refused at once gets its error like any other: in `answered`.
        """
        identifier = id_in(headers)
        try:
            hold = self.budget.hold(len(body)) if len(body) > UNCOUNTED else None
            content_type = headers.get(hdrs.CONTENT_TYPE, "").encode("utf-8", "surrogateescape")
            return self._submit(headers, content_type, body, identifier, client, hold)
        except ServingError as error:
            refused: Answered = asyncio.get_running_loop().create_future()
            # Its traceback would lead back here, to the future: a cycle for the collector, which
            # under overload would have thousands a second to find.
            refused.set_exception(error.with_traceback(None))
            return Prediction(identifier, perf_counter(), refused, headers)

    def finish(self, prediction: Prediction, later: Callable[[bytes], None]) -> bytes | None:
        """The whole HTTP answer to a request, once `answered` is done; or None, and `later` gets
        it as soon as it is packed."""
        error = prediction.answered.exception()
        if error is None:
            answer, label = prediction.answered.result()
            assert isinstance(answer, Answer), "none of these may get a stream"
            self._metrics.observe(answer.outcome, perf_counter() - prediction.started)
            if answer.status == HTTPStatus.OK and len(answer.body) <= LARGEST_PLAIN:
                return b"%b%d\r\n%b: %b\r\n\r\n%b" % (
                    self._heads.ok(label),
                    len(answer.body),
                    REQUEST_ID_HEADER.encode(),
                    prediction.request_id.encode(),
                    answer.body,
                )
            response = _response(answer, label)
            try:
                hold_answer(response, self.budget)
            except TooMuchInFlight as refusal:
                error = refusal.with_traceback(None)
        if isinstance(error, ServingError):
            self._refusals.note(error, prediction.request_id)
            response = serving_error_response(error)
        elif error is not None:
            log.error("request_crashed", exc_info=error, request_id=prediction.request_id)
            response = error_response(500, "internal error; the server's log says more")
        response.headers[REQUEST_ID_HEADER] = prediction.request_id
        if may_pack(response):
            response.headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
            if wants_gzip(prediction.headers):
                packing = asyncio.ensure_future(pack(response))
                packing.add_done_callback(lambda _: later(written(response)))
                return None
        return written(response)

    def _submit(
        self,
        headers: "CIMultiDictProxy[str]",
        content_type: bytes,
        body: bytes,
        identifier: str,
        client: bytes,
        hold: Hold | None,
        *,
        streams: bool = False,
    ) -> Prediction:
        started = perf_counter()
        release = self._deployment.release
        if release is None:
            raise NotServing("no model serves yet; /health says why")
        answered = release.submit(
            content_type, identifier.encode(), body, client, hold, streams=streams
        )
        return Prediction(identifier, started, answered, headers)


def _response(answer: Answer, label: str) -> web.Response:
    good = answer.status == HTTPStatus.OK
    return web.Response(
        status=answer.status,
        # A model may raise with what it connects to.
        body=answer.body if good else redact_json(answer.body),
        content_type="application/json",
        headers={VERSION_HEADER: label},
    )


class _Refusals:
    """Logs what was refused. Under overload that is most requests, so a full queue is told of once
    a second."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._unsaid = 0
        self._next = 0.0

    def note(self, error: ServingError, identifier: str) -> None:
        self._metrics.refused(error)
        if isinstance(error, KnownRequest):
            # Told of where it is known.
            return
        if not isinstance(error, QueueFull | NotServing | TooMuchInFlight):
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
        date = http_date()
        if date is not self._date or label is not self._label:
            self._date, self._label = date, label
            self._head = (
                f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: {date}\r\n"
                f"{VERSION_HEADER}: {label}\r\nContent-Length: "
            ).encode("latin-1", "replace")
        return self._head
