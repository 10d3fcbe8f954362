"""What child processes print becomes lines of the log, whatever it is."""

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from server.processes.output import LINES_PER_SECOND, LONGEST_LINE, OutputPipe
from server.worker.alias import NAME
from tests.support.events import FIELDS
from tests.support.waiting import wait_until

RECORD = b"\x1e"


@pytest.fixture
def pipe() -> Iterator[OutputPipe]:
    pipe = OutputPipe(version="v1", pid=7)
    yield pipe
    pipe.close()


def printed(pipe: OutputPipe, *chunks: bytes, end: bool = False) -> list[dict[str, Any]]:
    """What is logged of these bytes."""
    with capture_logs() as logs:
        for chunk in chunks:
            pipe.feed(chunk)
        if end:
            pipe.ended()
    return [dict(entry) for entry in logs]


def messages(logs: list[dict[str, Any]]) -> list[str]:
    assert {entry["event"] for entry in logs} <= {"worker_output"}
    return [entry["message"] for entry in logs]


def test_each_line_is_an_event_with_its_source(pipe: OutputPipe) -> None:
    assert printed(pipe, b"one\ntwo\r\n") == [
        {
            "event": "worker_output",
            "message": message,
            "version": "v1",
            "pid": 7,
            "log_level": "info",
        }
        for message in ("one", "two")
    ]


def test_a_line_may_come_in_pieces_and_the_last_without_its_end(pipe: OutputPipe) -> None:
    assert messages(printed(pipe, b"o", b"n", b"e\ntw", b"o\nth")) == ["one", "two"]
    assert messages(printed(pipe, b"ree", end=True)) == ["three"]


def test_empty_lines_are_left_out(pipe: OutputPipe) -> None:
    assert printed(pipe, b"\n\n  \n\r\n") == []


def test_what_is_not_utf_8_is_escaped(pipe: OutputPipe) -> None:
    assert messages(printed(pipe, b"\xff\xfe\n")) == ["\\xff\\xfe"]


def test_a_line_that_does_not_end_is_cut(pipe: OutputPipe) -> None:
    logs = printed(pipe, *[b"x" * 1000] * 100, b"\nnext\n")
    long, following = messages(logs)
    assert long.startswith("x" * LONGEST_LINE)
    assert len(long) < LONGEST_LINE + 10
    assert following == "next"


def test_a_flood_is_counted_instead_of_logged(pipe: OutputPipe) -> None:
    logs = printed(pipe, b"first\n" + b"flood\n" * 10_000, b"flood\n" * 10_000)
    assert len(logs) == LINES_PER_SECOND
    lines = 20_001

    def afterwards() -> list[dict[str, Any]]:
        nonlocal lines
        lines += 1
        return printed(pipe, b"afterwards\n")

    dropped, following = wait_until(afterwards, "the flood is over", 5)
    assert dropped["event"] == "worker_output_dropped"
    assert dropped["lines"] + LINES_PER_SECOND + 1 == lines
    assert messages([following]) == ["afterwards"]


def record(**fields: Any) -> bytes:
    """A log record as a worker sends it."""
    return RECORD + json.dumps(fields).encode() + b"\n"


def test_a_record_keeps_its_level_logger_and_request(pipe: OutputPipe) -> None:
    (entry,) = printed(
        pipe, record(event="careful", level="warning", logger="my.model", request_id="r1")
    )
    assert (entry["event"], entry["message"]) == ("worker_output", "careful")
    assert (entry["log_level"], entry["logger"], entry["request_id"]) == (
        *("warning", "my.model", "r1"),
    )
    assert entry["version"] == "v1"


def test_the_workers_own_events_keep_their_names(pipe: OutputPipe) -> None:
    (entry,) = printed(
        pipe,
        record(event="prediction_failed", level="error", logger=NAME, exception="Traceback"),
    )
    assert (entry["event"], entry["log_level"]) == ("prediction_failed", "error")
    assert (entry["logger"], entry["exception"]) == ("server.worker", "Traceback")


@pytest.mark.parametrize(
    "logger", [NAME, "server.worker", "server.serving.deployment", "root", None, 1, []]
)
@pytest.mark.parametrize("event", [*FIELDS, None, 1, [], {}])
def test_no_record_gets_the_name_of_an_event_of_the_gateway(
    pipe: OutputPipe, event: Any, logger: Any
) -> None:
    logs = printed(pipe, record(event=event, level="info", logger=logger))
    assert messages(logs) == [str(event)]


values: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 1, "", "info", "error", NAME, "prediction_failed", "model_swapped", []]
)
names = st.sampled_from(
    ["event", "level", "logger", "fields", "request_id", "exception", "version", "pid", "message"]
)
records = st.dictionaries(names, values | st.dictionaries(names, values, max_size=3)).map(
    lambda fields: RECORD + json.dumps(fields).encode() + b"\n"
)
anything = st.binary(max_size=40) | st.sampled_from([b"\n", RECORD, b"\x1e{}\n", b"\x1e[]\n"])


@given(chunks=st.lists(records | anything, max_size=8))
def test_nothing_that_is_printed_raises_or_changes_its_source(chunks: list[bytes]) -> None:
    pipe = OutputPipe(version="v1", pid=7)
    try:
        logs = printed(pipe, *chunks, end=True)
    finally:
        pipe.close()
    for entry in logs:
        assert entry["event"] not in FIELDS
        assert (entry["version"], entry["pid"]) == ("v1", 7)


async def test_it_reads_until_the_last_writer_has_closed() -> None:
    pipe = OutputPipe(version="v1")
    with capture_logs() as logs:
        pipe.start()
        os.write(pipe.writable, b"printed\n")
        os.write(pipe.writable, b"without an end")
        pipe.close_writable()
        async with asyncio.timeout(10):
            while len(logs) < 2:
                await asyncio.sleep(0.01)
    pipe.close()
    assert [entry["message"] for entry in logs] == ["printed", "without an end"]


def test_one_that_was_never_read_is_closed_at_both_ends() -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    pipe = OutputPipe()
    assert len(os.listdir("/proc/self/fd")) == before + 2  # noqa: PTH208
    pipe.close()
    pipe.close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_pipe_that_is_closed_takes_nobody_elses_descriptor_with_it() -> None:
    done = threading.Event()
    lost: list[OSError] = []

    def open_and_close() -> None:
        # As starting a process and removing a directory do, in threads of their own.
        while not done.is_set():
            descriptors = [os.open(os.devnull, os.O_RDONLY) for _ in range(4)]
            for descriptor in descriptors:
                try:
                    os.close(descriptor)
                except OSError as error:
                    lost.append(error)

    async def open_and_close_pipes() -> None:
        for _ in range(3000):
            pipe = OutputPipe()
            pipe.start()
            pipe.close()

    threads = [threading.Thread(target=open_and_close) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(open_and_close_pipes())
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert lost == []
