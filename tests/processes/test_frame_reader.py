"""What comes from a worker, cut into frames, whatever it is."""

import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.processes.frame_reader import FrameReader
from server.worker import frames
from server.worker.frames import Kind

written = st.lists(
    st.tuples(st.sampled_from(Kind), st.lists(st.binary(max_size=40), max_size=4)), max_size=5
)


@given(frames_written=written, cuts=st.lists(st.integers(1, 60), min_size=1))
def test_frames_are_read_whichever_pieces_they_come_in(
    frames_written: list[tuple[Kind, list[bytes]]], cuts: list[int]
) -> None:
    data = b"".join(b"".join(frames.encode(*frame)) for frame in frames_written)
    reader = FrameReader()
    read: list[tuple[Kind, list[memoryview]]] = []
    number = 0
    while data:
        size = cuts[number % len(cuts)]
        number += 1
        read += reader.feed(data[:size])
        data = data[size:]
    assert [(kind, [bytes(part) for part in parts]) for kind, parts in read] == frames_written


@given(pieces=st.lists(st.binary(max_size=100)))
def test_noise_is_refused_or_waited_for(pieces: list[bytes]) -> None:
    reader = FrameReader()
    try:
        for piece in pieces:
            for _, parts in reader.feed(piece):
                assert len(parts) <= reader.most_parts
    except (ValueError, struct.error):
        pass


@pytest.mark.parametrize(
    ("count", "size"), [(2**27 - 1, 0), (2**32 - 1, 0), (1, 2**40), (5, 2**20)]
)
def test_a_head_that_announces_too_much_is_refused_at_once(count: int, size: int) -> None:
    with pytest.raises(ValueError, match="a frame of"):
        list(FrameReader().feed(struct.pack("!BIQ", Kind.ANSWERS, count, size)))


def test_as_many_parts_as_were_asked_for_are_taken() -> None:
    reader = FrameReader()
    reader.most_parts = 30
    ((_, parts),) = reader.feed(b"".join(frames.encode(Kind.ANSWERS, [b"x"] * 30)))
    assert len(parts) == 30
    with pytest.raises(ValueError, match="31 parts"):
        list(reader.feed(b"".join(frames.encode(Kind.ANSWERS, [b"x"] * 31))))


def test_a_large_frame_is_in_memory_once() -> None:
    size = 32 * 1024 * 1024
    head = struct.pack("!BIQQ", Kind.ANSWERS, 1, size, size)
    piece = bytes(256 * 1024)
    reader = FrameReader()
    tracemalloc.start()
    try:
        list(reader.feed(head))
        pieces = size // len(piece)
        read = [frame for _ in range(pieces - 1) for frame in reader.feed(piece)]
        # What the worker says next comes with the last piece.
        read += reader.feed(piece + b"".join(frames.encode(Kind.DONE, [b"", b""])))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [kind for kind, _ in read] == [Kind.ANSWERS, Kind.DONE]
    assert peak < 1.5 * size
