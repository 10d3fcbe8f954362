"""The routes that tell what serves; `invocations` and `reload` have modules of their own."""

from typing import Any

from aiohttp import web

from server.http.errors import json_response
from server.http.keys import DEPLOYMENT, METRICS, SETTINGS, WATCHER
from server.http.openapi import describe
from server.settings import mlflow_version

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
    last = deployment.reports.last
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
        "workers_share": None,
        "workers_share_reason": None,
        "sandbox": None,
        "watcher": request.app[WATCHER].state(),
        "last_reload": deployment.reports.last and deployment.reports.last.to_json(),
        "signature": None,
        "example_failed": None,
    }
    if release is not None and release.ready is not None:
        model, loaded = release.model, release.ready.model
        failed = release.ready.example_failed
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
            "workers_share": release.unshared is None,
            "workers_share_reason": release.unshared,
            "sandbox": release.ready.sandbox,
            "signature": loaded["signature"],
            "example_failed": failed and failed["error"],
            "batching": {
                "merging": bool(release.ready.merged_formats),
                "formats": release.ready.merged_formats,
                "reason": release.ready.merging_reason,
            },
            "concurrency": {
                "slots": release.ready.slots,
                "waits": release.ready.waits,
                "streams": release.ready.streams,
                "reason": release.ready.slots_reason,
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
    ready = release.ready if release else None
    settings = request.app[SETTINGS]
    described = describe(
        settings.name,
        label,
        ready.model if ready else None,
        settings.root_path,
        ready.speaks if ready else None,
        streams=ready is not None and ready.streams,
    )
    return json_response(200, described)
