"""Request ids: taken from the request, or made."""

import itertools
import os
import re

from aiohttp import web

REQUEST_ID_HEADER = "X-Request-ID"
_KEY = web.RequestKey("request_id", str)

# What may stand in a header, in a line of the log and in a shell command without quoting.
_ACCEPTED = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}")

_prefix = os.urandom(6).hex()
_numbers = itertools.count(1)


def request_id(request: web.BaseRequest) -> str:
    """The id of this request: the client's where it sent a usable one, else one that is made when
    it is first asked for."""
    known: str | None = request.get(_KEY)
    if known is None:
        given = request.headers.get(REQUEST_ID_HEADER)
        usable = given is not None and _ACCEPTED.fullmatch(given)
        known = request[_KEY] = given if given and usable else f"{_prefix}-{next(_numbers):x}"
    return known
