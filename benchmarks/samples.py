"""What an open-loop load has seen, request by request."""

import json
from array import array
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

from benchmarks.errors import BenchmarkError


class Samples:
    """What became of each request, in the order of their answers.

    Attributes:
        due: When it was to be sent, in seconds of the monotonic clock that all processes share.
        late: Seconds from `due` to the client's noticing: what it was held up itself.
        latency: Seconds from `due` to the answer.
        status: 0 for a broken connection and for no answer.
        version: The model version that says it answered, 0 for none.
    """

    def __init__(self) -> None:
        self.due = array("d")
        self.late = array("d")
        self.latency = array("d")
        self.status = array("H")
        self.version = array("L")

    def __len__(self) -> int:
        return len(self.due)

    def add(self, due: float, noticed: float, done: float, status: int, version: int) -> None:
        """Note what became of a request; the times are of the monotonic clock."""
        self.due.append(due)
        self.late.append(noticed - due)
        self.latency.append(done - due)
        self.status.append(status)
        self.version.append(version)

    def save(self, path: Path) -> None:
        """Write them to a file, which `load` reads."""
        columns = {name: values.tolist() for name, values in vars(self).items()}
        path.write_text(json.dumps(columns))

    @classmethod
    def load(cls, path: Path) -> "Samples":
        """Read what `save` wrote."""
        samples = cls()
        for name, values in json.loads(path.read_text()).items():
            vars(samples)[name].extend(values)
        return samples


def good_spans(samples: Samples) -> list[tuple[float, float]]:
    """When each request that was answered with 200 was due, and when it was answered.

    Raises:
        BenchmarkError: there is none.
    """
    good = [
        (due, due + latency)
        for due, latency, status in zip(samples.due, samples.latency, samples.status, strict=True)
        if status == HTTPStatus.OK
    ]
    if not good:
        raise BenchmarkError(f"there was no good answer, but the statuses {set(samples.status)}")
    return good


def split_by_windows(
    samples: Samples, windows: Sequence[tuple[float, float]], began: float
) -> tuple[list[int], list[int]]:
    """Sort requests into those of the steady state and those that met a swap, by their indices.

    A request meets a swap if any moment from its being due to its answer is in a window. What was
    due before `began` is in neither.
    """
    steady: list[int] = []
    swapping: list[int] = []
    for index, due in enumerate(samples.due):
        done = due + samples.latency[index]
        if due < began:
            continue
        met = any(due <= end and done >= start for start, end in windows)
        (swapping if met else steady).append(index)
    return steady, swapping
