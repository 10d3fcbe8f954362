"""The aiohttp application."""

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from server.errors import ServingError, TooMuchInFlight
from server.http import openai, reload, routes
from server.http.authorization import ask_for_key, reload_token
from server.http.budget import hold_answer
from server.http.connection import discard_body
from server.http.cors import Cors
from server.http.errors import (
    error_response,
    http_exception_response,
    in_openais_shape,
    serving_error_response,
)
from server.http.heads import MAX_HEAD_BYTES, head_size, refuse_large_head
from server.http.invocations import PATH, Invocations
from server.http.keys import (
    DEPLOYMENT,
    INVOCATIONS,
    METRICS,
    PREDICTING,
    RELOAD_TOKEN,
    SETTINGS,
    WATCHER,
)
from server.http.metrics import Metrics
from server.http.packing import pack_large_answers
from server.http.paths import is_openais, spellings
from server.http.request_ids import REQUEST_ID_HEADER, request_id
from server.serving.deployment import Deployment
from server.settings import Settings
from watcher.job import Watcher

log = structlog.get_logger("server.http.app")


def make_app(
    settings: Settings,
    deployment: Deployment,
    watcher: Watcher,
    metrics: Metrics,
    invocations: Invocations,
) -> web.Application:
    """Put the routes together with what they need."""
    app = web.Application(
        middlewares=[pack_large_answers, _answer_errors], client_max_size=settings.max_body_bytes
    )
    app[SETTINGS] = settings
    app[DEPLOYMENT] = deployment
    app[WATCHER] = watcher
    app[METRICS] = metrics
    app[RELOAD_TOKEN] = reload_token(settings)
    app[INVOCATIONS] = invocations
    if invocations.key.asked_for:
        app.middlewares.append(ask_for_key)
    predicting = [r for r in openai.routes if isinstance(r, web.RouteDef)]
    predicting.append(web.post(PATH, invocations.handle))
    app[PREDICTING] = frozenset(route.handler for route in predicting)
    for route in (*predicting, *routes.routes, *reload.routes):
        assert isinstance(route, web.RouteDef)
        for path in spellings(route.path, settings.root_path):
            app.add_routes([web.RouteDef(route.method, path, route.handler, route.kwargs)])
    Cors(settings.cors_allowed_origins, spellings(reload.PATH, settings.root_path)).install(app)
    return app


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error in JSON, and log under the request's id."""
    identifier = request_id(request)
    structlog.contextvars.bind_contextvars(request_id=identifier)
    invocations = request.app[INVOCATIONS]
    if request.match_info.handler not in request.app[PREDICTING]:
        discard_body(request)
    try:
        if head_size(request) > MAX_HEAD_BYTES:
            response: web.StreamResponse = refuse_large_head()
            response.force_close()
        else:
            response = await handler(request)
            hold_answer(response, invocations.budget)
    except web.HTTPException as error:
        response = http_exception_response(error, request)
    except ServingError as error:
        response = serving_error_response(error)
        if isinstance(error, TooMuchInFlight) and not request.content.is_eof():
            # What is left of the body must not be read as the next request.
            response.force_close()
    except Exception:
        log.exception("request_crashed", path=request.path)
        response = error_response(500, "internal error; the server's log says more")
    if response.status >= 400 and is_openais(request.path, request.app[SETTINGS].root_path):
        assert isinstance(response, web.Response)
        assert isinstance(response.body, bytes)
        response.body = in_openais_shape(response.status, response.body)
    response.headers[REQUEST_ID_HEADER] = identifier
    if request.app[DEPLOYMENT].stopping:
        # The client should take its next request elsewhere.
        response.force_close()
    return response
