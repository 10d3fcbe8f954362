"""A server that many tests share, each with versions of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.models import SavedModels
from tests.support.registry import Registry
from tests.support.server import Event, Server


class Live:
    """A server that follows the Production stage of one registered model.

    Args:
        server: The server.
        registry: Where the model is registered.
        name: The registered model.
        saved: Where its versions come from.
    """

    def __init__(self, server: Server, registry: Registry, name: str, saved: SavedModels) -> None:
        self.server = server
        self.registry = registry
        self.name = name
        self.saved = saved

    def add(self, model: str | Path) -> str:
        """Register a saved model, or the one that says a word, and return its version."""
        path = self.saved.saying(model) if isinstance(model, str) else model
        return self.registry.add(self.name, path)

    def promote(self, version: str) -> None:
        """Move a version to Production, the only one there."""
        self.registry.promote(self.name, version)

    def serve(self, model: str | Path) -> str:
        """Register a model, promote it, wait until it serves, and return its version."""
        version = self.add(model)
        self.swap_to(version)
        return version

    def swap_to(self, version: str) -> Event:
        """Promote a version and wait until it serves."""
        mark = self.server.mark()
        self.promote(version)
        return self.server.wait_swapped(version, since=mark)


@contextmanager
def serving(
    directory: Path,
    registry: Registry,
    saved: SavedModels,
    name: str,
    model: str | Path = "first",
    **settings: str,
) -> Iterator[Live]:
    """A server of a new registered model, until the block ends.

    Args:
        directory: The server's scratch directory.
        registry: Where the model is registered.
        saved: Where versions come from.
        name: What to register it as.
        model: The first version.
        settings: The server's, besides the model; by default it reaches the registry directly.
    """
    registry.create(name)
    path = saved.saying(model) if isinstance(model, str) else model
    registry.promote(name, registry.add(name, path))
    settings.setdefault("MLFLOW_TRACKING_URI", registry.uri)
    server = Server(directory, MODEL_URI=f"models:/{name}/Production", **settings)
    try:
        server.wait_healthy()
        yield Live(server, registry, name, saved)
    finally:
        server.close()
