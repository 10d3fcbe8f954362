"""Request ids: taken from the request, or made."""

import itertools
import os
import re

from aiohttp import web

REQUEST_ID_HEADER = "X-Request-ID"
REQUEST_ID = "request_id"

# What may stand in a header, in a line of the log and in a shell command without quoting.
_ACCEPTED = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}")

_prefix = os.urandom(6).hex()
_numbers = itertools.count(1)


def request_id(request: web.BaseRequest) -> str:
    """The client's id for this request where it sent a usable one, else a new one."""
    given = request.headers.get(REQUEST_ID_HEADER)
    if given is not None and _ACCEPTED.fullmatch(given):
        return given
    return f"{_prefix}-{next(_numbers):x}"
