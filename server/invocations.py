"""`POST /invocations`: bytes in, bytes out; the worker reads and writes them."""

import structlog
from aiohttp import web

from server.errors import NotServing, ServingError
from server.http_errors import serving_error_response
from server.keys import DEPLOYMENT
from server.request_ids import REQUEST_ID

log = structlog.get_logger("server.invocations")


async def invocations(request: web.Request) -> web.StreamResponse:
    """Have the serving release predict."""
    body = await request.read()
    release = request.app[DEPLOYMENT].release
    identifier: str = request[REQUEST_ID]
    content_type = request.headers.get("Content-Type", "")
    try:
        if release is None:
            raise NotServing("no model serves yet; /health says why")
        answer = await release.submit(
            content_type.encode("latin-1", "replace"), identifier.encode("latin-1", "replace"), body
        )
    except ServingError as error:
        log.warning("request_refused", error=str(error), reason=type(error).__name__)
        response = serving_error_response(error)
    else:
        response = web.Response(
            status=answer.status, body=answer.body, content_type="application/json"
        )
        response.headers["X-Model-Version"] = release.model.label
    return response
