"""The frames between gateway and worker."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.worker import frames
from server.worker.frames import Answer, Kind, Outcome

answers = st.builds(
    Answer,
    place=st.integers(0, 2**32 - 1),
    status=st.integers(100, 599),
    outcome=st.sampled_from(Outcome),
    body=st.binary(),
)


def decode(frame: bytes) -> tuple[Kind, list[memoryview]]:
    """Read one whole frame."""
    kind, count, size = frames.decode_header(frame[: frames.HEADER_SIZE])
    payload = frame[frames.HEADER_SIZE :]
    assert len(payload) == size
    return kind, frames.decode_parts(count, payload)


@given(kind=st.sampled_from(Kind), parts=st.lists(st.binary()))
def test_what_is_written_is_read(kind: Kind, parts: list[bytes]) -> None:
    read_kind, read_parts = decode(b"".join(frames.encode(kind, parts)))
    assert read_kind is kind
    assert [bytes(part) for part in read_parts] == parts


@given(written=st.lists(answers))
def test_answers_are_read_as_they_were_written(written: list[Answer]) -> None:
    number = frames.encode_number(7)
    kind, (first, *parts) = decode(b"".join(frames.encode_answers(number, written)))
    assert kind is Kind.ANSWERS
    assert frames.decode_number(first) == 7
    assert frames.decode_answers(parts) == written


def test_large_parts_are_not_copied() -> None:
    body = bytes(1000)
    assert any(buffer is body for buffer in frames.encode(Kind.PREDICT, [body]))


def test_a_kind_that_is_not_known_is_refused() -> None:
    frame = b"".join(frames.encode(Kind.DONE, [b""]))
    with pytest.raises(ValueError, match="200"):
        frames.decode_header(bytes([200]) + frame[1 : frames.HEADER_SIZE])


@given(parts=st.lists(st.binary(), min_size=1), change=st.integers(-60, 60).filter(bool))
def test_a_payload_of_another_length_is_refused(parts: list[bytes], change: int) -> None:
    payload = b"".join(frames.encode(Kind.PREDICT, parts))[frames.HEADER_SIZE :]
    other = payload + bytes(change) if change > 0 else payload[:change]
    with pytest.raises((ValueError, struct.error)):
        frames.decode_parts(len(parts), other)


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"", b"body"],
        [struct.pack("!IHB", 0, 200, Outcome.OK)],
        [struct.pack("!IHB", 0, 200, Outcome.OK)[:-1], b"body"],
        [struct.pack("!IHB", 0, 200, len(Outcome)), b"body"],
    ],
    ids=["nothing", "no head", "no body", "head cut short", "unknown outcome"],
)
def test_what_is_no_answer_is_refused(parts: list[bytes]) -> None:
    with pytest.raises((ValueError, struct.error)):
        frames.decode_answers([memoryview(part) for part in parts])


@given(payload=st.binary(max_size=200), count=st.integers(0, 30))
def test_noise_is_refused_or_adds_up(payload: bytes, count: int) -> None:
    try:
        parts = frames.decode_parts(count, payload)
    except (ValueError, struct.error):
        return
    assert sum(map(len, parts)) + 8 * count == len(payload)
