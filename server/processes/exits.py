"""How a process ended, in words and in fields of the log."""

import signal
from typing import Any


def exit_fields(code: int | None) -> dict[str, Any]:
    """`exit_code`, or the `signal` that ended it.

    Args:
        code: An exit code, or the number of a signal below zero, as `multiprocessing` has it.
    """
    if code is None or code >= 0:
        return {"exit_code": code}
    try:
        return {"signal": signal.Signals(-code).name}
    except ValueError:
        # Of the real-time signals, only the first and the last have names.
        return {"signal": f"signal {-code}"}


def describe_exit(code: int | None) -> str:
    """The same as text."""
    return " ".join(f"{name} {value}" for name, value in exit_fields(code).items())
