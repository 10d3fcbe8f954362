"""Large answers are packed where the client asks for it (RFC 9110, section 12.5.3), and sent in
pieces."""

import gzip
from collections.abc import Iterable

from aiohttp import Payload, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.typedefs import Handler
from multidict import CIMultiDictProxy

from server.http.budget import Hold, take_hold
from server.http.threads import in_thread

# Below this, packing takes longer than a network takes to carry what it saves.
LARGEST_PLAIN = 16 * 1024
# The fastest: numbers in JSON get hardly smaller by any other.
_LEVEL = 1
# What is given to aiohttp's writer at once; it copies that under some versions of Python.
_PIECE = 256 * 1024


@web.middleware
async def pack_large_answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Pack an answer that is large, unless it is packed already or sent piece by piece."""
    response = await handler(request)
    if isinstance(response, web.Response) and may_pack(response):
        response.headers.add(hdrs.VARY, hdrs.ACCEPT_ENCODING)
        if wants_gzip(request.headers):
            await pack(response)
        assert isinstance(response.body, bytes)
        response.body = _InPieces(response.body, take_hold(response))
    return response


class _InPieces(Payload):
    """A body that is written in pieces, and let go then: aiohttp keeps an answer until the next.

    Args:
        hold: What it takes of memory.
    """

    def __init__(self, body: bytes, hold: Hold | None) -> None:
        super().__init__(body)
        self._size = len(body)
        self._hold = hold

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return str(self._value, encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        body = memoryview(self._value)
        for start in range(0, len(body), _PIECE):
            await writer.write(body[start : start + _PIECE])
        await writer.drain()
        self._value, self._hold = b"", None


def may_pack(response: web.Response) -> bool:
    """Whether an answer is large enough, and has not been packed."""
    body = response.body
    return (
        isinstance(body, bytes)
        and len(body) > LARGEST_PLAIN
        and hdrs.CONTENT_ENCODING not in response.headers
    )


async def pack(response: web.Response) -> None:
    """Pack an answer, off the event loop."""
    assert isinstance(response.body, bytes)
    response.body = await in_thread(gzip.compress, response.body, _LEVEL, mtime=0)
    response.headers[hdrs.CONTENT_ENCODING] = "gzip"


def wants_gzip(headers: "CIMultiDictProxy[str]") -> bool:
    """Whether a client asks for gzip, and not rather for an answer as it is."""
    weights = dict(_weights(",".join(headers.getall(hdrs.ACCEPT_ENCODING, ()))))
    others = weights.get("*", 0.0)
    asked = max(weights.get("gzip", -1.0), weights.get("x-gzip", -1.0))
    weight = asked if asked >= 0 else others
    return weight > 0 and weight >= weights.get("identity", 0.0)


def _weights(value: str) -> Iterable[tuple[str, float]]:
    for item in value.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                weight = _number(parameter.removeprefix("q="))
        if name:
            yield name, weight


def _number(text: str) -> float:
    """A weight from 0 to 1; what is none counts as 0: better plain than not readable."""
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return number if 0 <= number <= 1 else 0.0
