"""Request ids: taken from the request, or made."""

import itertools
import os
import re
from collections.abc import Mapping

from aiohttp import web

REQUEST_ID_HEADER = "X-Request-ID"
_KEY = web.RequestKey("request_id", str)

# What may stand in a header, in a line of the log and in a shell command without quoting.
_ACCEPTED = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}")

_prefix = os.urandom(6).hex()
_numbers = itertools.count(1)


def id_in(headers: Mapping[str, str]) -> str:
    """The client's id where the headers hold a usable one, else a new one."""
    given = headers.get(REQUEST_ID_HEADER)
    if given is not None and _ACCEPTED.fullmatch(given):
        return given
    return f"{_prefix}-{next(_numbers):x}"


def request_id(request: web.BaseRequest) -> str:
    """The id of this request, the same each time it is asked for."""
    if _KEY not in request:
        request[_KEY] = id_in(request.headers)
    return request[_KEY]
