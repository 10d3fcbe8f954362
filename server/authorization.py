"""The token that guards `/reload`."""

import hmac

from aiohttp import hdrs, web

from server.http_errors import error_response


def refuse_unauthorized(request: web.Request, token: str | None) -> web.Response | None:
    """The answer to a request without the token, or None if it may go on.

    The token comes as RFC 6750, section 2.1, has it: `Authorization: Bearer TOKEN`.
    """
    if token is None:
        return None
    scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    # Headers hold any bytes; a file that is empty for the moment must not let everyone in.
    sent = given.strip().encode("utf-8", "surrogateescape")
    correct = hmac.compare_digest(sent, token.encode()) and token != ""
    if correct and scheme.lower() == "bearer":
        return None
    return error_response(
        401,
        "send the reload token: Authorization: Bearer TOKEN",
        headers={hdrs.WWW_AUTHENTICATE: "Bearer"},
    )
