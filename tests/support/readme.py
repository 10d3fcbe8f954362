"""The requests that README shows, with the answers that it promises."""

import json
import re
from dataclasses import dataclass
from typing import Any

from tests.support.server import REPOSITORY

_EXAMPLE = re.compile(
    r"""
    curl\ -s\ localhost:(?P<port>\d+)/invocations\ .*\\\n
    \s+-d\ '(?P<body>.*)'\n
    \s+(?P<answer>\{.*\})
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Example:
    """What README has people post to `/invocations` of a port, and what comes back."""

    port: int
    body: Any
    answer: Any


def examples() -> dict[int, Example]:
    """README's example for each port."""
    text = (REPOSITORY / "README.md").read_text()
    found = [
        Example(int(match["port"]), json.loads(match["body"]), json.loads(match["answer"]))
        for match in _EXAMPLE.finditer(text)
    ]
    return {example.port: example for example in found}
