"""What asks for a swap, and what comes of it."""

import asyncio
import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from watcher.versions import ModelVersion


class Trigger(enum.StrEnum):
    """What asked for a swap."""

    STARTUP = "startup"
    WATCHER = "watcher"
    MANUAL = "manual"
    FALLBACK = "fallback"


@dataclass(frozen=True, slots=True)
class Swap:
    """What came of a request to swap.

    Attributes:
        old: What served before, or None.
        new: What serves now.
        answers_changed: How many recent requests the new one answers in another way, as
            `3 of 32`; None where none was rehearsed.
        answers_failed: How many it refuses or answers worse, likewise.
    """

    old: ModelVersion | None
    new: ModelVersion
    answers_changed: str | None = None
    answers_failed: str | None = None

    @property
    def version_changed(self) -> bool:
        """Whether another version serves than before."""
        return self.old is None or self.old.identity != self.new.identity


@dataclass(frozen=True, slots=True)
class LastReload:
    """What `/info` shows of the last swap, or of the last that failed."""

    trigger: Trigger
    outcome: str
    at: datetime
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As values that JSON holds."""
        return {
            "trigger": self.trigger,
            "outcome": self.outcome,
            "at": self.at.isoformat(timespec="milliseconds"),
            "error": self.error,
        }


class Run:
    """A swap that has not begun its look-up, and who waits for it.

    Args:
        force: Whether to skip the rehearsal, as all who wait for it asked.
    """

    def __init__(self, *, force: bool) -> None:
        self.triggers: set[Trigger] = set()
        self.force = force
        self.request_id: str | None = None
        self.task: asyncio.Task[Swap] | None = None

    def add(self, trigger: Trigger, request_id: str | None = None) -> None:
        """Let one more caller share this swap."""
        self.triggers.add(trigger)
        self.request_id = self.request_id or request_id

    @property
    def trigger(self) -> Trigger:
        """The one that is logged: a person's request before the watcher's."""
        for trigger in (Trigger.MANUAL, Trigger.STARTUP, Trigger.FALLBACK):
            if trigger in self.triggers:
                return trigger
        return Trigger.WATCHER

    @property
    def log_fields(self) -> dict[str, str]:
        """The request that asked for the swap, if one did."""
        return {"request_id": self.request_id} if self.request_id else {}
