"""OpenAI's routes, for its clients and for models that speak chat or responses.

The worker reads and writes what they say, see `server.worker.protocol.openai`.
"""

from typing import Any

from aiohttp import web

from server.http.connection import discard_body
from server.http.errors import error_response, in_openais_shape, json_response
from server.http.keys import DEPLOYMENT, INVOCATIONS, SETTINGS
from server.worker.codecs import OPENAI_CHAT, OPENAI_RESPONSES, why_unspoken

routes = web.RouteTableDef()


@routes.post("/v1/chat/completions")
async def chat_completions(request: web.Request) -> web.StreamResponse:
    """Answer with a chat completion, or its chunks."""
    return await _answer(request, OPENAI_CHAT)


@routes.post("/v1/responses")
@routes.post("/responses")
async def responses(request: web.Request) -> web.StreamResponse:
    """Answer with a response, or its events. MLflow's AgentServer has the second path."""
    return await _answer(request, OPENAI_RESPONSES)


@routes.get("/v1/models")
async def models(request: web.Request) -> web.Response:
    """List the model that serves, if these routes are for it."""
    return json_response(200, {"object": "list", "data": _models(request)})


@routes.get("/v1/models/{model}")
async def model(request: web.Request) -> web.Response:
    """Show it, by its name."""
    name = request.match_info["model"]
    for found in _models(request):
        if found["id"] == name:
            return json_response(200, found)
    return error_response(404, f"no model {name!r} serves here", "MODEL_NOT_FOUND")


async def _answer(request: web.Request, codec: bytes) -> web.StreamResponse:
    release = request.app[DEPLOYMENT].release
    # Where none serves, that is told like to any other request.
    if release is not None and release.ready is not None:
        reason = why_unspoken(codec, release.ready.speaks)
        if reason is not None:
            discard_body(request)
            return error_response(404, reason)
    return await request.app[INVOCATIONS].answer(request, codec, in_openais_shape)


def _models(request: web.Request) -> list[dict[str, Any]]:
    deployment = request.app[DEPLOYMENT]
    release = deployment.release
    if release is None or release.ready is None or release.ready.speaks is None:
        return []
    loaded_at = deployment.loaded_at
    return [
        {
            "id": request.app[SETTINGS].name,
            "object": "model",
            "created": int(loaded_at.timestamp()) if loaded_at is not None else 0,
            "owned_by": "mlflow",
        }
    ]
