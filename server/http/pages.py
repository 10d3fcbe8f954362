"""Which pages in browsers may post to a route that is not for every page."""

import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import hdrs
from multidict import CIMultiDictProxy

from server.http.peers import parsed
from server.origins import is_of

_SITE = "Sec-Fetch-Site"


def is_from_page(headers: "CIMultiDictProxy[str]") -> bool:
    """Whether a browser sent a request for a page, rather than for its user or by no browser.

    Browsers add `Origin` to each POST (the Fetch standard, "append a request `Origin` header"), and
    `Sec-Fetch-Site`, which is `none` for what the user does (Fetch Metadata Request Headers, 2.3).
    """
    return hdrs.ORIGIN in headers or headers.get(_SITE, "none").strip().lower() != "none"


def is_trusted(headers: "CIMultiDictProxy[str]", allowed_hosts: Iterable[str]) -> bool:
    """Whether the page is of an allowed host, or this server's own.

    Its own is a page of the host that the request is for, where that is known to be this server: an
    address, `localhost` or the machine's name. Any other name may be one that somebody else has
    had resolve to this server's address since the page was loaded (DNS rebinding).

    Args:
        allowed_hosts: As `server.settings.Settings` has them.
    """
    origins = headers.getall(hdrs.ORIGIN, [])
    if len(origins) != 1:
        return False
    origin = origins[0].lower()
    if any(is_of(origin, allowed) for allowed in allowed_hosts):
        return True
    host = headers.get(hdrs.HOST, "").lower()
    return origin.partition("://")[2] == host and _is_own(host)


def _is_own(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name in ("localhost", socket.gethostname().lower()) or parsed(name) is not None
