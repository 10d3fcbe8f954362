"""Servers that have their turns under the same load, round by round."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.ground import Ground
from benchmarks.samples import Samples
from benchmarks.servers import Running

_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """Clients that send the same request again and again, each when it has its answer.

    Attributes:
        body: The request's, to be sent as JSON.
        clients: How many.
        seconds: For how long they begin another one.
    """

    body: dict[str, Any]
    clients: int
    seconds: float


def in_turns(
    ground: Ground, servers: Sequence[Running], load: Load, rounds: int
) -> dict[str, list[Samples]]:
    """Put one server after the other under a load, so many rounds; return what was seen of each by
    its title."""
    seen: dict[str, list[Samples]] = {}
    for _ in range(rounds):
        for server in servers:
            samples = ground.closed_loop(
                server.port, load.body, load.clients, load.seconds, _PATIENCE_SECONDS
            )
            seen.setdefault(server.competitor.title, []).append(samples)
    return seen


def failures(rounds: Iterable[Samples]) -> int:
    """How many requests were not answered well."""
    return sum(status != 200 for samples in rounds for status in samples.status)
