"""What can go wrong, apart from how it is said over HTTP: `server.http_errors` maps these."""

from typing import Any

from watcher.versions import ModelVersion


class ServingError(Exception):
    """Something that a client must be told."""


class NotServing(ServingError):
    """There is no model to ask yet, or no longer."""


class QueueFull(ServingError):
    """As many requests wait as may."""


class PredictionTimeout(ServingError):
    """A prediction took longer than one may."""


class WorkerDied(ServingError):
    """The worker died of this request, which it held alone."""


class LoadFailed(ServingError):
    """A version would not come up.

    Attributes:
        phase: Where it failed: `start`, `download`, `load` or `rehearsal`.
        details: More fields for the log.
    """

    def __init__(self, phase: str, error: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(error)
        self.phase = phase
        self.details = details or {}


class ReloadFailed(ServingError):
    """A swap did not happen; what served before serves on.

    Attributes:
        phase: `resolve`, or a phase of `LoadFailed`.
        serving: The version that serves on, if one does.
        failed: The version that would not serve, where the registry named one.
    """

    def __init__(
        self, phase: str, error: str, serving: ModelVersion | None, failed: ModelVersion | None
    ) -> None:
        super().__init__(error)
        self.phase = phase
        self.serving = serving
        self.failed = failed


class VersionNotFound(ReloadFailed):
    """The registry answered that there is no such version."""


class RegistryDown(ReloadFailed):
    """The registry could not be asked."""
