"""The real application with real workers, in the event loop of the tests.

What needs a process of its own (signals, standard output, exit codes) runs `tests.support.server`.
"""

import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import BaseTestServer, TestClient

from server.http.clients import Limits
from server.http.runner import Runner
from server.processes.environment import Environment
from server.service import deployed
from server.serving.deployment import Deployment
from server.serving.swaps import Swap, Trigger
from server.settings import Settings
from tests.support.answers import Answer
from tests.support.models import SavedModels
from tests.support.registry import Registry
from watcher.job import Watcher


class Gateway:
    """All of a server but its way in, following the Production stage of one registered model.

    The watcher polls when it is told to: `await gateway.watcher.poll()`.
    """

    def __init__(
        self,
        settings: Settings,
        deployment: Deployment,
        watcher: Watcher,
        registry: Registry,
        saved: SavedModels,
        scratch: Path,
    ) -> None:
        self.settings = settings
        self.deployment = deployment
        self.watcher = watcher
        self.registry = registry
        self.saved = saved
        self.scratch = scratch

    @property
    def name(self) -> str:
        """The registered model."""
        return self.settings.uri.name

    def add(self, model: str | Path) -> str:
        """Register a saved model, or the one that says a word, and return its version."""
        path = self.saved.saying(model) if isinstance(model, str) else model
        return self.registry.add(self.name, path)

    def promote(self, version: str) -> None:
        """Move a version to Production, the only one there."""
        self.registry.promote(self.name, version)

    async def serve(self, model: str | Path) -> str:
        """Register a model, promote it, swap to it, and return its version."""
        version = self.add(model)
        await self.swap_to(version)
        return version

    async def swap_to(self, version: str) -> Swap:
        """Promote a version and swap to it.

        Raises:
            ReloadFailed: it would not serve.
        """
        self.promote(version)
        return await self.deployment.reload(Trigger.MANUAL)

    def release_directories(self) -> list[Path]:
        """The download directories that exist now."""
        return sorted(p for p in self.scratch.glob("mlflow-server-*/*") if p.is_dir())


@asynccontextmanager
async def running(
    environment: Environment,
    registry: Registry,
    saved: SavedModels,
    scratch: Path,
    name: str,
    model: str | Path | None,
    **settings: Any,
) -> AsyncIterator[Gateway]:
    """A gateway with these settings, which serves this model first if there is one.

    Its temporary files are in the directory `scratch`.
    """
    settings.setdefault("model_uri", f"models:/{name}/Production")
    chosen = Settings(mlflow_tracking_uri=registry.uri, **settings)
    async with AsyncExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tempfile, "tempdir", str(scratch))
            deployment, watcher = await stack.enter_async_context(deployed(chosen, environment))
        gateway = Gateway(chosen, deployment, watcher, registry, saved, scratch)
        if model is not None:
            gateway.promote(gateway.add(model))
            await watcher.poll()
            assert deployment.serving is not None, deployment.reports.last
        yield gateway


class Listener(BaseTestServer):
    """A way in to a gateway, for `aiohttp_client`; the gateway outlives it.

    Args:
        limits: Those of connections, where they are not what the settings make of them.
    """

    def __init__(
        self, gateway: Gateway, host: str = "127.0.0.1", limits: Limits | None = None
    ) -> None:
        super().__init__(host=host)
        self._gateway = gateway
        self._limits = limits

    async def _make_runner(self, **_: Any) -> Runner:
        gateway = self._gateway
        return Runner(gateway.settings, gateway.deployment, gateway.watcher, self._limits)


@asynccontextmanager
async def connected(gateway: Gateway, host: str = "127.0.0.1") -> AsyncIterator["Client"]:
    """A client that comes from this address of this machine, to the same address."""
    client: TestClient[Any, Any]
    async with TestClient(Listener(gateway, host)) as client:
        yield Client(client, gateway)


class Client:
    """Asks a gateway over HTTP, as `tests.support.server.Server` asks a server."""

    def __init__(self, client: "TestClient[Any, Any]", gateway: Gateway) -> None:
        self.gateway = gateway
        self._client = client

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._client.port is not None
        return self._client.port

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send a request; `body` is sent as JSON unless it is bytes."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **(headers or {})}
        async with self._client.request(method, path, data=data, headers=headers) as response:
            return Answer.of(response.status, response.headers.items(), await response.read())

    async def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        """GET a path."""
        return await self.request("GET", path, headers=headers)

    async def predict(self, body: Any, headers: dict[str, str] | None = None) -> Answer:
        """POST to /invocations."""
        return await self.request("POST", "/invocations", body, headers)

    async def reload(self) -> Answer:
        """POST to /reload."""
        return await self.request("POST", "/reload")

    async def info(self) -> Any:
        """What /info answers."""
        return (await self.get("/info")).json

    async def worker_pids(self) -> list[int]:
        """The process ids of the serving release's workers."""
        return [worker["pid"] for worker in (await self.info())["workers"]]
