"""A model that does what the text of a request tells it to."""

from pathlib import Path

from tests.support.models import SavedModels

_OBEY = """
    import ctypes, os, pathlib, sys, time

    def obey(text):
        if text.startswith("/"):
            while not pathlib.Path(text).exists():
                time.sleep(0.01)
        elif text == "exit":
            os._exit(3)
        elif text == "segfault":
            ctypes.string_at(0)
        elif text == "hang":
            while True:
                time.sleep(1)
        elif text == "leave":
            sys.exit("good bye")
        return f"echo {text}"

    return [obey(text) for text in model_input["text"]]
"""


def obedient(saved: SavedModels) -> Path:
    """A model that answers a text with `echo` before it, and each row by itself.

    `exit`, `segfault`, `hang` and `leave` are obeyed; a path is waited for.
    """
    return saved.save(_OBEY)


def text(*rows: str) -> dict[str, list[str]]:
    """The body of a request."""
    return {"instances": list(rows)}


def echo(*rows: str) -> dict[str, list[str]]:
    """What the obedient model answers to it."""
    return {"predictions": [f"echo {row}" for row in rows]}
