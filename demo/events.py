"""What the servers' logs say about their versions, in words."""

import json
import time
from collections.abc import Mapping
from typing import Any

from demo.tail import Tail


def print_news(logs: Mapping[str, Tail]) -> None:
    """Print each event about a version that was logged since the last call.

    Args:
        logs: The log of each server, by the server's name.
    """
    for name, log in logs.items():
        for sentence in filter(None, map(describe, log.new_lines())):
            print(f"{time.strftime('%H:%M:%S')}  {name}  {sentence}", flush=True)


def describe(line: str) -> str | None:
    """A sentence for a line of a log, or None where it isn't about a move of versions."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return _sentence(event) if isinstance(event, dict) else None


def _sentence(event: dict[str, Any]) -> str | None:
    match event:
        case {"event": "version_moved", "old_version": old, "new_version": new}:
            return f"version_moved  the registry says {new}, {old or 'nothing'} serves"
        case {"event": "model_swapped", "new_version": new, "trigger": trigger}:
            return f"model_swapped  {new} serves (trigger: {trigger})"
        case {"event": "reload_failed", "failed_version": version, "error": error}:
            return f"reload_failed  {version or 'no version'}: {error}"
        case _:
            return None
