"""Responses as the bytes of HTTP/1.1, for what does not go through aiohttp's writer."""

import time
from email.utils import formatdate

from aiohttp import hdrs, web
from aiohttp.http import SERVER_SOFTWARE

_now = (0, "")


def http_date() -> str:
    """The time as the `Date` header has it (RFC 9110, section 5.6.7); the same object for a
    second."""
    global _now
    second = int(time.time())
    if second != _now[0]:
        _now = (second, formatdate(second, usegmt=True))
    return _now[1]


def written(response: web.Response, *, close: bool = False) -> bytes:
    """A response as it goes over a connection (RFC 9112).

    Args:
        response: Has its body as bytes.
        close: Whether the connection is closed after it.
    """
    body = response.body
    assert isinstance(body, bytes)
    headers = {
        **response.headers,
        hdrs.CONTENT_LENGTH: str(len(body)),
        hdrs.DATE: http_date(),
        hdrs.SERVER: SERVER_SOFTWARE,
    }
    if close:
        headers[hdrs.CONNECTION] = "close"
    lines = [f"HTTP/1.1 {response.status} {response.reason}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "replace") + body
