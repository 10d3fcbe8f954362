"""What the gateway in the tests' own event loop logs."""

from collections.abc import Sequence

from structlog.typing import EventDict

from tests.support.waiting import eventually


class Log:
    """The events since the test began, as `tests.support.server.Server` has those of a server.

    Args:
        events: Grows while events are logged, see `structlog.testing.capture_logs`.
    """

    def __init__(self, events: Sequence[EventDict]) -> None:
        self.events = events

    def find(self, event: str, **fields: object) -> list[EventDict]:
        """The events with this name and these fields."""
        return [
            e
            for e in self.events
            if e["event"] == event and all(e.get(k) == v for k, v in fields.items())
        ]

    async def wait_for(
        self, event: str, seconds: float = 30.0, *, count: int = 1, **fields: object
    ) -> EventDict:
        """Wait until there are `count` such events and return the last of them."""

        async def found() -> list[EventDict]:
            events = self.find(event, **fields)
            return events if len(events) >= count else []

        return (await eventually(found, f"{count} {event} {fields}", seconds))[-1]
