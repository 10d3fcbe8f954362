"""What can go wrong, apart from how it is said over HTTP: `server.http.errors` maps these."""

from typing import Any

from watcher.versions import ModelVersion


class ServerError(Exception):
    """The root of what this package raises."""


class ServingError(ServerError):
    """A request can't be answered as it should be."""


class NotServing(ServingError):
    """There is no model to ask yet, or no longer."""


class QueueFull(ServingError):
    """As many requests wait as may."""


class TooMuchInFlight(ServingError):
    """What clients have the server hold takes as much memory as it may."""


class PredictionTimeout(ServingError):
    """A prediction took longer than one may."""


class WorkerDied(ServingError):
    """The worker died of this request, which it held alone."""


class KnownRequest(ServingError):
    """A request is refused for what it did before, alone in a worker of this version."""


class WorkerDiedBefore(KnownRequest):
    """It ended the worker."""


class TimedOutBefore(KnownRequest):
    """It computed for as long as a prediction may take."""


class LoadFailed(ServerError):
    """A version would not come up.

    Attributes:
        phase: Where it failed: `resolve`, `start`, `download`, `load` or `rehearsal`.
        details: More fields for the log.
        public: What anybody may be told; the message itself, if there is nothing else.
    """

    def __init__(
        self,
        phase: str,
        error: str,
        details: dict[str, Any] | None = None,
        public: str | None = None,
    ) -> None:
        super().__init__(error)
        self.phase = phase
        self.details = details or {}
        self.public = public or error


class ReloadFailed(ServerError):
    """A swap did not happen; what served before serves on.

    Attributes:
        phase: A phase of `LoadFailed`.
        serving: The version that serves on, if one does.
        failed: The version that would not serve, where the registry named one.
        public: As that of `LoadFailed`.
    """

    def __init__(
        self,
        phase: str,
        error: str,
        serving: ModelVersion | None,
        failed: ModelVersion | None,
        public: str | None = None,
    ) -> None:
        super().__init__(error)
        self.phase = phase
        self.public = public or error
        self.serving = serving
        self.failed = failed


class VersionNotFound(ReloadFailed):
    """The registry answered that there is no such version."""


class VersionNotReady(ReloadFailed):
    """The version that the registry names is still being registered."""


class RegistryDown(ReloadFailed):
    """The registry could not be asked."""


class ServerStopping(ReloadFailed):
    """The server is about to end, and begins nothing new."""
