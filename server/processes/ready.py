"""What a process says of the version that it has loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from server.errors import LoadFailed


@dataclass(frozen=True, slots=True)
class Ready:
    """The parts of a READY frame.

    Attributes:
        path: Where the model lies on disk.
        model: What MLflow knows of it, see `server.worker.loading.describe`.
        rehearsed: Requests answered in the rehearsal.
        example_failed: The `error`, and the `exception` with its traceback, where the model does
            not answer its own example and may serve all the same.
        replayed: How many real requests it was asked; there was no time for the others.
        answers_changed: How many of these it answered in another way than before.
        answers_failed: How many of these it refused, or answered worse.
        sandbox: What the model is kept from, or why from nothing.
        answers: What was answered to the real requests; empty where nothing was.
        merged_formats: Request formats whose requests share predictions.
        merging_reason: Why those.
        unshared: Why no workers can be forked from the process; None where they can.
    """

    path: str
    model: dict[str, Any]
    rehearsed: int
    example_failed: dict[str, str] | None
    replayed: int
    answers_changed: int
    answers_failed: int
    merged_formats: tuple[str, ...]
    merging_reason: str
    unshared: str | None
    sandbox: str
    answers: tuple[bytes, ...]

    @classmethod
    def of(cls, parts: Sequence[memoryview]) -> "Ready":
        """Read the parts.

        Raises:
            LoadFailed: they are not what a process says; a model's code may have written them.
        """
        try:
            return cls(**orjson.loads(parts[0]), answers=tuple(map(bytes, parts[1:])))
        except (LookupError, TypeError, ValueError) as error:
            raise LoadFailed("load", f"the process says what none does: {error}") from error
