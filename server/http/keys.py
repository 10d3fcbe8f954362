"""What the routes find in the application."""

from aiohttp import web

from server.http.invocations import Invocations
from server.http.metrics import Metrics
from server.http.tokens import Token
from server.serving.deployment import Deployment
from server.settings import Settings
from watcher.job import Watcher

SETTINGS: web.AppKey[Settings] = web.AppKey("settings", Settings)
DEPLOYMENT: web.AppKey[Deployment] = web.AppKey("deployment", Deployment)
WATCHER: web.AppKey[Watcher] = web.AppKey("watcher", Watcher)
METRICS: web.AppKey[Metrics] = web.AppKey("metrics", Metrics)
RELOAD_TOKEN: web.AppKey[Token] = web.AppKey("reload_token", Token)
# The handlers of predictions: they take the body, and ask for the API key.
PREDICTING: web.AppKey[frozenset[object]] = web.AppKey("predicting", frozenset)
INVOCATIONS: web.AppKey[Invocations] = web.AppKey("invocations", Invocations)
