"""`POST /reload`: the swap, for those who do not wait for the watcher."""

from aiohttp import web

from server.errors import ReloadFailed
from server.http.authorization import refuse_unauthorized
from server.http.errors import json_response, reload_failed_response
from server.http.keys import DEPLOYMENT, SETTINGS
from server.http.request_ids import request_id
from server.serving.swaps import Swap, Trigger

PATH = "/reload"

routes = web.RouteTableDef()


@routes.post(PATH)
async def reload(request: web.Request) -> web.Response:
    """Swap to what the registry names now."""
    settings = request.app[SETTINGS]
    force = _wants_force(request)
    if (refusal := await refuse_unauthorized(request, settings, force=force)) is not None:
        return refusal
    name, uri = settings.name, settings.model_uri
    try:
        swap = await request.app[DEPLOYMENT].reload(
            Trigger.MANUAL, force=force, request_id=request_id(request)
        )
    except ReloadFailed as error:
        return reload_failed_response(error, name, uri, trusted=settings.asks_for_token)
    return json_response(
        200,
        {
            "status": "success",
            "message": _reload_message(name, swap),
            "model_uri": uri,
            "old_version": swap.old and swap.old.display,
            "new_version": swap.new.display,
            "version_changed": swap.version_changed,
            "answers_changed": swap.answers_changed,
            "answers_failed": swap.answers_failed,
        },
    )


def _wants_force(request: web.Request) -> bool:
    return request.query.get("force", "").lower() in ("1", "true", "yes")


def _reload_message(name: str, swap: Swap) -> str:
    failed = swap.answers_failed
    # Only where there is something to tell: the messages are known.
    told = f"; {failed} recent requests failed" if failed and not failed.startswith("0 ") else ""
    if swap.version_changed:
        return f"Model '{name}' reloaded successfully - version changed!{told}"
    return f"Model '{name}' reloaded successfully - version unchanged, loaded afresh{told}"
