"""Every route but `/invocations`."""

from typing import Any

from aiohttp import web

from server.authorization import refuse_unauthorized
from server.errors import ReloadFailed
from server.http_errors import json_response, reload_failed_response
from server.keys import DEPLOYMENT, METRICS, SETTINGS, WATCHER
from server.openapi import describe
from server.request_ids import request_id
from server.settings import mlflow_version
from server.swaps import Swap, Trigger

routes = web.RouteTableDef()


@routes.get("/health")
@routes.get("/ping")
async def health(request: web.Request) -> web.Response:
    """Whether this server should get requests."""
    settings = request.app[SETTINGS]
    state, reason = _health(request)
    body = {
        "status": state,
        "model_name": settings.name,
        "model_uri": settings.model_uri,
    }
    if reason is None:
        return json_response(200, body)
    return json_response(503, {**body, "reason": reason})


def _health(request: web.Request) -> tuple[str, str | None]:
    deployment = request.app[DEPLOYMENT]
    if deployment.stopping:
        return "unhealthy", "the server is stopping"
    if deployment.release is not None:
        if deployment.release.workers_alive:
            return "healthy", None
        return "unhealthy", "the model's workers died and are being replaced"
    last = deployment.last_reload
    if last is not None and last.error is not None:
        return "unhealthy", last.error
    problem = request.app[WATCHER].problem
    if problem is not None:
        return "unhealthy", problem
    return "loading", "the model is being loaded"


@routes.get("/livez")
async def livez(request: web.Request) -> web.Response:
    """Whether the event loop turns."""
    return json_response(200, {"status": "alive"})


@routes.get("/version")
async def version(request: web.Request) -> web.Response:
    """The MLflow version, as MLflow's own scoring server answers it."""
    return web.Response(text=mlflow_version())


@routes.get("/info")
async def info(request: web.Request) -> web.Response:
    """What serves, from when on, and how the last reload went."""
    settings = request.app[SETTINGS]
    deployment = request.app[DEPLOYMENT]
    release = deployment.release
    body: dict[str, Any] = {
        "model_name": settings.name,
        "model_uri": settings.model_uri,
        "metadata": None,
        "status": "not loaded",
        "alias": None,
        "workers": [],
        "watcher": request.app[WATCHER].state(),
        "last_reload": deployment.last_reload and deployment.last_reload.to_json(),
        "signature": None,
    }
    if release is not None and release.ready is not None:
        model, loaded = release.model, release.ready.model
        body |= {
            "metadata": {
                "model_name": settings.name,
                "version": model.version,
                "stage": model.stage,
                "run_id": model.run_id or loaded["run_id"],
                "status": model.status,
                "loaded_at": deployment.loaded_at and deployment.loaded_at.isoformat(),
                "model_id": model.model_id or loaded["model_id"],
            },
            "status": "loaded",
            "alias": model.alias,
            "workers": release.state(),
            "signature": loaded["signature"],
            "batching": {
                "merging": bool(release.ready.merged_formats),
                "formats": release.ready.merged_formats,
                "reason": release.ready.merging_reason,
            },
        }
    return json_response(200, body)


@routes.get("/metrics")
async def metrics(request: web.Request) -> web.Response:
    """Counters and gauges in Prometheus' text format."""
    body, content_type = request.app[METRICS].exposition()
    return web.Response(body=body, headers={"Content-Type": content_type})


@routes.get("/openapi.json")
async def openapi(request: web.Request) -> web.Response:
    """The description of these routes; it changes with the version."""
    release = request.app[DEPLOYMENT].release
    label = release.model.label if release else None
    model = release.ready.model if release and release.ready else None
    return json_response(200, describe(request.app[SETTINGS].name, label, model))


@routes.post("/reload")
async def reload(request: web.Request) -> web.Response:
    """Swap to what the registry names now."""
    settings = request.app[SETTINGS]
    if (refusal := await refuse_unauthorized(request, settings)) is not None:
        return refusal
    name, uri = settings.name, settings.model_uri
    try:
        swap = await request.app[DEPLOYMENT].reload(
            Trigger.MANUAL, force=_wants_force(request), request_id=request_id(request)
        )
    except ReloadFailed as error:
        return reload_failed_response(error, name, uri)
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
        },
    )


def _wants_force(request: web.Request) -> bool:
    return request.query.get("force", "").lower() in ("1", "true", "yes")


def _reload_message(name: str, swap: Swap) -> str:
    if swap.version_changed:
        return f"Model '{name}' reloaded successfully - version changed!"
    return f"Model '{name}' reloaded successfully - version unchanged, loaded afresh"
