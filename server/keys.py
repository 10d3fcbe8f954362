"""What the routes find in the application."""

from dataclasses import dataclass

from aiohttp import web

from server.deployment import Deployment
from server.metrics import Metrics
from server.settings import Settings
from watcher.job import Watcher


@dataclass(slots=True)
class Readiness:
    """Whether the server has begun to stop; `/health` says so before anything else does."""

    stopping: bool = False


SETTINGS: web.AppKey[Settings] = web.AppKey("settings", Settings)
DEPLOYMENT: web.AppKey[Deployment] = web.AppKey("deployment", Deployment)
WATCHER: web.AppKey[Watcher] = web.AppKey("watcher", Watcher)
METRICS: web.AppKey[Metrics] = web.AppKey("metrics", Metrics)
READINESS: web.AppKey[Readiness] = web.AppKey("readiness", Readiness)
