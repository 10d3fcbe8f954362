"""What a server answered."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered; the names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> "Answer":
        """Make one of headers in any case."""
        return cls(status, {name.lower(): value for name, value in headers}, body)

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def version(self) -> str | None:
        """The version that says it answered."""
        return self.headers.get("x-model-version")
