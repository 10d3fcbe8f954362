"""Who keeps up the workers that a dispatcher gives requests to."""

from collections.abc import Awaitable
from typing import Protocol

from server.processes.worker_process import User, WorkerProcess


class Keeper(Protocol):
    """Hears what becomes of the workers."""

    def worker_lost(self, worker: WorkerProcess, *, held: bool) -> None:
        """Note that a worker is lost.

        Args:
            held: Whether it had requests.
        """

    def worker_retiring(self, worker: WorkerProcess) -> None:
        """Note that a worker gets no more requests, as one of those that it has will never be
        answered, and that it is ended once it has answered the others."""

    def worker_waits(self) -> None:
        """Note that a worker has found its model to wait most of the time."""

    def merging_found(self, reason: str, formats: list[str]) -> None:
        """Note what live requests have shown of merging: why, and the request formats of those that
        share predictions."""

    def spare_lost(self) -> None:
        """Note that a spare worker is lost."""

    def note_culprit(self, digest: bytes) -> None:
        """Note that a request killed or hung a worker by itself, where suspects are asked again in
        spare workers."""


class StartSpare(Protocol):
    """Starts a worker that serves nobody yet."""

    def __call__(self, user: User) -> Awaitable[WorkerProcess]:
        """Start one for a user.

        Raises:
            LoadFailed: there is none to be had.
        """
