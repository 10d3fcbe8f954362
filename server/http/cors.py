"""Pages of other origins may ask, where CORS_ALLOWED_ORIGINS names them (the Fetch standard)."""

from collections.abc import Collection

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from server.http.request_ids import REQUEST_ID_HEADER

_ANY = "*"
_EXPOSED = f"X-Model-Version, {REQUEST_ID_HEADER}"
_PREFLIGHT_SECONDS = 600


class Cors:
    """Tells browsers what pages may read.

    Args:
        origins: The allowed ones as browsers write them, or `*`.
        closed: Paths that no page of another origin gets to use.
    """

    def __init__(self, origins: Collection[str], closed: Collection[str]) -> None:
        self._origins = frozenset(origins)
        self._closed = frozenset(closed)

    def install(self, app: web.Application) -> None:
        """Have an application's answers, streamed ones too, say who may read them."""
        if self._origins:
            app.middlewares.append(self._answer_preflight)
            app.on_response_prepare.append(self._add_headers)

    @web.middleware
    async def _answer_preflight(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer what a browser asks before it sends a request that a form could not."""
        refusal = request.match_info.http_exception
        if (
            request.method != hdrs.METH_OPTIONS
            or hdrs.ACCESS_CONTROL_REQUEST_METHOD not in request.headers
            or not isinstance(refusal, web.HTTPMethodNotAllowed)
            or not self._allows(request)
        ):
            return await handler(request)
        headers = {
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: ", ".join(sorted(refusal.allowed_methods)),
            hdrs.ACCESS_CONTROL_MAX_AGE: str(_PREFLIGHT_SECONDS),
            hdrs.VARY: hdrs.ACCESS_CONTROL_REQUEST_HEADERS,
        }
        if asked := request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS):
            headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = asked
        return web.Response(status=204, headers=headers)

    async def _add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        # Even where it is the same for all: those that send none get no such headers.
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        if self._allows(request):
            allowed = _ANY if _ANY in self._origins else request.headers[hdrs.ORIGIN]
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = allowed
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED

    def _allows(self, request: web.Request) -> bool:
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None or request.path in self._closed:
            return False
        return _ANY in self._origins or origin in self._origins
