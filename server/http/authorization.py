"""Who may post to `/reload`, and who may ask for predictions."""

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from server.http.connection import discard_body
from server.http.errors import error_response
from server.http.keys import INVOCATIONS, PREDICTING, RELOAD_TOKEN
from server.http.pages import is_from_page, is_trusted
from server.http.peers import address_of
from server.http.tokens import Token, ask_for
from server.settings import Settings

# What proxies say of those who ask them; some say but one of these.
_FORWARDED = ("forwarded", "via", "x-forwarded", "x-real-ip")
# So long an API key may still be taken after its file has changed.
_KEY_FRESH_SECONDS = 1.0

log = structlog.get_logger("server.http.authorization")


def reload_token(settings: Settings) -> Token:
    """What `/reload` asks for. Its file is read each time."""

    def tell(error: Exception) -> None:
        log.warning("reload_token_unreadable", error=str(error))

    return Token("reload_token", settings.reload_token, settings.reload_token_file, tell)


def api_key(settings: Settings) -> Token:
    """What predictions ask for. Its file is read once a second at most."""

    def tell(error: Exception) -> None:
        log.warning("api_key_unreadable", error=str(error))

    return Token("api_key", settings.api_key, settings.api_key_file, tell, _KEY_FRESH_SECONDS)


@web.middleware
async def ask_for_key(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Have predictions made only for those who show the API key."""
    predicts = request.match_info.handler in request.app[PREDICTING]
    if predicts and not await request.app[INVOCATIONS].key.is_in(request.headers):
        discard_body(request)
        return ask_for("the API key")
    return await handler(request)


async def refuse_unauthorized(
    request: web.Request, settings: Settings, *, force: bool
) -> web.Response | None:
    """The answer to a request that may not reload, or None if it may.

    Where there is a token, whoever sends it may; else all may but pages that are not this server's
    own, and this machine alone may force.

    Args:
        force: Whether the request asks to skip the rehearsal.
    """
    token = request.app[RELOAD_TOKEN]
    if token.asked_for:
        return None if await token.is_in(request.headers) else ask_for("the reload token")
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
