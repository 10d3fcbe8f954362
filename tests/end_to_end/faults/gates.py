"""A model whose swap can be held up at each of its steps."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.models import SavedModels
from tests.support.waiting import wait_until

_PREAMBLE = """
import os, pathlib, time

def gate(step):
    closed = pathlib.Path({directory!r}, step)
    if closed.exists():
        closed.with_suffix(".reached").touch()
        while closed.exists():
            time.sleep(0.01)
"""


class Gates:
    """Gates at the steps `load`, `rehearsal` and `fork` of a model; they stand open.

    Args:
        directory: Of their files, which the model looks for.

    Attributes:
        settings: What a server of the model needs.
    """

    def __init__(self, directory: Path) -> None:
        self.settings = {"SANDBOX_WRITABLE": str(directory)}
        self._directory = directory

    def model(self, saved: SavedModels) -> Path:
        """A model with these gates that answers "done" to each row."""
        return saved.save(
            """
            if model_input.text[0] == "some text":
                gate("rehearsal")
            return ["done"] * len(model_input)
            """,
            load="gate('load'); os.register_at_fork(before=lambda: gate('fork'))",
            preamble=_PREAMBLE.format(directory=str(self._directory)),
        )

    @contextmanager
    def closed(self, step: str) -> Iterator[None]:
        """Whoever comes to this step waits there, until the block ends."""
        gate = self._directory / step
        gate.with_suffix(".reached").unlink(missing_ok=True)
        gate.touch()
        try:
            yield
        finally:
            gate.unlink(missing_ok=True)

    def wait_reached(self, step: str) -> None:
        """Wait until somebody waits at a closed gate."""
        wait_until((self._directory / step).with_suffix(".reached").exists, f"it reached {step}")
