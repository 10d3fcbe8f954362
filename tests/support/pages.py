"""README, CONTRIBUTING and docs/: what they say, and the requests that they have people send."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.server import REPOSITORY

README = REPOSITORY / "README.md"
CONTRIBUTING = REPOSITORY / "CONTRIBUTING.md"
DOCS = REPOSITORY / "docs"
HTTP_API = DOCS / "http-api.md"
LOG = DOCS / "log.md"
OPERATIONS = DOCS / "operations.md"
PAGES = (README, CONTRIBUTING, *sorted(DOCS.glob("*.md")))

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
    found = [
        Example(int(match["port"]), json.loads(match["body"]), json.loads(match["answer"]))
        for match in _EXAMPLE.finditer(README.read_text())
    ]
    return {example.port: example for example in found}


def prose(page: Path) -> str:
    """What a page says, without the code that it shows."""
    return "\n".join(line for line, shown in _lines(page) if not shown)


def shown_code(page: Path) -> str:
    """The code, commands and output that a page shows; a command that goes over lines in one."""
    return "\n".join(line for line, shown in _lines(page) if shown).replace("\\\n", "")


def _lines(page: Path) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it is in a block of code: between fences, or indented by four."""
    fenced = False
    for line in page.read_text().splitlines():
        fence = line.startswith("```")
        yield line, fenced or fence or line.startswith("    ")
        fenced ^= fence


def python_blocks(page: Path) -> list[str]:
    """The Python code on a page."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def json_lines(page: Path) -> list[dict[str, Any]]:
    """The lines of a log on a page."""
    lines = page.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith('{"timestamp"')]


def rows(page: Path, heading: str) -> Iterator[list[str]]:
    """The rows of the tables on a page whose first column has this heading, as lists of cells."""
    inside = False
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif inside and set(line) - set("|-: "):
            yield cells
        elif cells[0] == heading:
            inside = True


def code(text: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`\n]+)`", text)
