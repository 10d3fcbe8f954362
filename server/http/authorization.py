"""The token that guards `/reload`."""

import asyncio
import hmac

import structlog
from aiohttp import hdrs, web

from server.http.errors import error_response
from server.settings import Settings

log = structlog.get_logger("server.http.authorization")


async def refuse_unauthorized(request: web.Request, settings: Settings) -> web.Response | None:
    """The answer to a request without the token, or None if it may go on.

    The token comes as RFC 6750, section 2.1, has it: `Authorization: Bearer TOKEN`. A file that
    holds it is read each time, as it may change; while it can't be read, nobody is let in.
    """
    if not settings.asks_for_token:
        return None
    scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    # Headers hold any bytes; a file that is empty for the moment must not let everyone in.
    sent = given.strip().encode("utf-8", "surrogateescape")
    token = await _token(settings)
    correct = hmac.compare_digest(sent, token.encode()) and token != ""
    if correct and scheme.lower() == "bearer":
        return None
    return error_response(
        401,
        "send the reload token: Authorization: Bearer TOKEN",
        headers={hdrs.WWW_AUTHENTICATE: "Bearer"},
    )


async def _token(settings: Settings) -> str:
    if settings.reload_token_file is None:
        return settings.reload_token.get_secret_value() if settings.reload_token else ""
    try:
        return (await asyncio.to_thread(settings.reload_token_file.read_text)).strip()
    except (OSError, ValueError) as error:
        log.warning("reload_token_unreadable", error=str(error))
        return ""
