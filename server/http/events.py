"""Streams over HTTP: server-sent events with data only, as MLflow's AgentServer sends them
(mlflow/genai/agent_server/server.py), and its clients (mlflow/deployments/databricks, which takes
no other lines) and OpenAI's read them."""

from collections.abc import Mapping

from aiohttp import hdrs, web

_LARGE = 64 * 1024


def may_want(body: bytes) -> bool:
    """Whether a request may ask for a stream. JSON could spell the key otherwise: such a request
    gets its answer whole."""
    return b'"stream"' in body


def event_stream(headers: Mapping[str, str]) -> web.StreamResponse:
    """The answer that events are written to.

    Args:
        headers: More of its headers.
    """
    own = {
        hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8",
        hdrs.CACHE_CONTROL: "no-cache",
        # Nginx would keep chunks back, otherwise.
        "X-Accel-Buffering": "no",
    }
    return web.StreamResponse(headers={**own, **headers})


DONE = b"[DONE]"
"""What the last event of each stream says."""


async def write_event(response: web.StreamResponse, data: bytes) -> None:
    """Write an event of one line, and wait until the client has taken it."""
    if len(data) < _LARGE:
        await response.write(b"data: %b\n\n" % data)
    else:
        # Without a copy.
        for piece in (b"data: ", data, b"\n\n"):
            await response.write(piece)


def in_mlflows_shape(_status: int, body: bytes) -> bytes:
    """What a stream says of an error.

    Args:
        body: The error as it would be answered by itself, in JSON.
    """
    return b'{"error":%b}' % body
