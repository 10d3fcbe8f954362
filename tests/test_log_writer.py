"""Lines on their way to a reader that is slow, stopped or gone."""

import os
import threading
import time
from collections.abc import Iterator

import pytest

from server.log_writer import MOST_BYTES, MOST_LINES, LineWriter
from tests.support.waiting import wait_until

# What a pipe holds by itself (pipe(7)).
PIPE_BYTES = 65536


class Pipe:
    """A pipe that is read when a test says so.

    Attributes:
        writable: The descriptor to write to.
        received: What has been read.
    """

    def __init__(self) -> None:
        self.readable, self.writable = os.pipe()
        self.received = b""
        self._thread = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        while data := os.read(self.readable, 65536):
            self.received += data

    def read_on(self) -> None:
        """Read all that comes from here on."""
        self._thread.start()

    def lines(self) -> list[str]:
        """All lines, once nothing more can come."""
        os.close(self.writable)
        self._thread.join(30)
        return self.received.decode().splitlines()


@pytest.fixture
def pipe() -> Pipe:
    return Pipe()


def gap(lines: int) -> bytes:
    return b"gap %d\n" % lines


def fill(writer: LineWriter, count: int, size: int = 100) -> None:
    """Put so many lines, each of its number and some bytes."""
    for number in range(count):
        writer.put(b"%d %s\n" % (number, b"x" * size))


def numbers(lines: list[str]) -> list[int]:
    return [int(line.split()[0]) for line in lines]


def test_every_line_is_written_in_order_before_it_is_closed(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writable, gap)
    pipe.read_on()
    fill(writer, MOST_LINES // 2)
    writer.close(30)
    assert numbers(pipe.lines()) == list(range(MOST_LINES // 2))


@pytest.mark.parametrize(("count", "size"), [(MOST_LINES * 2, 10), (200, MOST_BYTES // 100)])
def test_what_does_not_fit_is_dropped_and_counted_where_it_is_missing(
    pipe: Pipe, count: int, size: int
) -> None:
    writer = LineWriter(pipe.writable, gap)
    began = time.monotonic()
    fill(writer, count, size)
    assert time.monotonic() - began < 10
    pipe.read_on()
    wait_until(lambda: writer.dropped == 0, "it is told of")
    writer.put(b"then\n")
    writer.close(30)

    *before, told, then = pipe.lines()
    assert then == "then"
    # As many as fit, and none of those behind.
    assert numbers(before) == list(range(len(before)))
    length = len(before[-1]) + 1
    fit = min(MOST_LINES, MOST_BYTES // length)
    assert fit <= len(before) <= fit + PIPE_BYTES // (length - 4) + 1
    assert told == f"gap {count - len(before)}"


def test_a_line_larger_than_what_may_wait_is_written_where_none_waits(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writable, gap)
    pipe.read_on()
    fill(writer, 1, MOST_BYTES + 1)
    writer.close(30)
    assert numbers(pipe.lines()) == [0]


def test_closing_waits_no_longer_than_it_may(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writable, gap)
    fill(writer, MOST_LINES)
    began = time.monotonic()
    writer.close(0.2)
    assert 0.2 <= time.monotonic() - began < 1.5
    # And lets its thread go.
    pipe.read_on()
    assert len(pipe.lines()) > 0


@pytest.fixture
def full() -> Iterator[int]:
    """A descriptor of a full disk."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


def test_on_a_full_disk_lines_are_dropped_and_told_of_once_there_is_room(
    pipe: Pipe, full: int
) -> None:
    writer = LineWriter(full, gap)
    fill(writer, 3)
    # All have been tried, and it waits for room.
    wait_until(lambda: writer.dropped == 3, "all are lost")
    os.dup2(pipe.writable, full)
    pipe.read_on()
    wait_until(lambda: writer.dropped == 0, "it is told of")
    writer.put(b"then\n")
    writer.close(30)
    os.dup2(os.open(os.devnull, os.O_WRONLY), full)
    assert pipe.lines() == ["gap 3", "then"]


def test_a_disk_that_stays_full_holds_up_no_end(full: int) -> None:
    writer = LineWriter(full, gap)
    fill(writer, 3)
    began = time.monotonic()
    writer.close(30)
    assert time.monotonic() - began < 5


def test_what_follows_half_a_line_begins_a_line_of_its_own(pipe: Pipe) -> None:
    other = Pipe()
    descriptor = os.dup(pipe.writable)
    os.close(pipe.writable)
    writer = LineWriter(descriptor, gap)
    fill(writer, 1, 1_000_000)
    assert os.read(pipe.readable, 10) != b""
    os.close(pipe.readable)
    wait_until(lambda: writer.dropped == 1, "it breaks off")
    os.dup2(other.writable, descriptor)
    other.read_on()
    wait_until(lambda: b"gap" in other.received, "it is told of")
    writer.close(30)
    os.close(descriptor)
    assert other.lines() == ["", "gap 1"]


def test_a_pipe_that_somebody_has_made_non_blocking_is_waited_for(pipe: Pipe) -> None:
    os.set_blocking(pipe.writable, False)
    writer = LineWriter(pipe.writable, gap)
    fill(writer, 5000)
    pipe.read_on()
    writer.close(30)
    assert numbers(pipe.lines()) == list(range(5000))
