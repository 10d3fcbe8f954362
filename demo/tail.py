"""Reading a file while another process still writes it."""

from pathlib import Path
from types import TracebackType
from typing import Self


class Tail:
    """Reads a text file from its beginning, line by line as they are finished.

    Args:
        path: The file, which exists.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._unfinished = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def new_lines(self) -> list[str]:
        """The lines that were finished since the last call, without their ends."""
        *lines, self._unfinished = (self._unfinished + self._file.read()).split(b"\n")
        return [line.decode(errors="replace") for line in lines]
