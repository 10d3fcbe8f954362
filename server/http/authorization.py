"""Who may post to `/reload`."""

import asyncio
import hmac

import structlog
from aiohttp import hdrs, web

from server.http.errors import error_response
from server.http.pages import is_from_page, is_trusted
from server.http.peers import address_of
from server.redaction import hide_token
from server.settings import Settings

# What proxies say of those who ask them; some say but one of these.
_FORWARDED = ("forwarded", "via", "x-forwarded", "x-real-ip")

log = structlog.get_logger("server.http.authorization")


async def refuse_unauthorized(
    request: web.Request, settings: Settings, *, force: bool
) -> web.Response | None:
    """The answer to a request that may not reload, or None if it may.

    Where there is a token, whoever sends it may; else all may but pages that are not this server's
    own, and this machine alone may force.

    Args:
        force: Whether the request asks to skip the rehearsal.
    """
    if settings.asks_for_token:
        if await _has_token(request, settings):
            return None
        return error_response(
            401,
            "send the reload token: Authorization: Bearer TOKEN",
            headers={hdrs.WWW_AUTHENTICATE: "Bearer"},
        )
    if is_from_page(request.headers) and not is_trusted(request.headers, settings.allowed_hosts):
        return error_response(
            403,
            "a page in a browser may not reload; have ALLOWED_HOSTS name its host, or set "
            "RELOAD_TOKEN and send it",
        )
    if force and not _is_local(request):
        return error_response(
            403,
            "only this machine itself may force, with no proxy in between; set RELOAD_TOKEN and "
            "send it",
        )
    return None


def _is_local(request: web.Request) -> bool:
    """Whether a request comes from this machine, as far as it shows."""
    address = address_of(request.transport)
    forwarded = any(name.lower().startswith(_FORWARDED) for name in request.headers)
    return address is not None and address.is_loopback and not forwarded


async def _has_token(request: web.Request, settings: Settings) -> bool:
    """Whether a request has the token, as RFC 6750, section 2.1, has it: `Authorization: Bearer
    TOKEN`. A file that holds it is read each time, as it may change; while it can't be read, nobody
    is let in."""
    scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    # Headers hold any bytes; a file that is empty for the moment must not let everyone in.
    sent = given.strip().encode("utf-8", "surrogateescape")
    token = await _token(settings)
    correct = hmac.compare_digest(sent, token.encode()) and token != ""
    return correct and scheme.lower() == "bearer"


async def _token(settings: Settings) -> str:
    if settings.reload_token_file is None:
        return settings.reload_token.get_secret_value() if settings.reload_token else ""
    try:
        token = (await asyncio.to_thread(settings.reload_token_file.read_text)).strip()
    except (OSError, ValueError) as error:
        log.warning("reload_token_unreadable", error=str(error))
        return ""
    hide_token(token)
    return token
