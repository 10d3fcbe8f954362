"""The frames that the gateway and a worker exchange over their socket pair.

A frame is a kind and a list of byte strings::

    kind: u8 | number of parts: u32 | bytes of all parts: u64 | length of each part: u64 … | parts …

All integers are big-endian. Nothing is ever pickled: a worker runs the model's code, and what it
sends must not be able to run anything in the gateway.
"""

import enum
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

_HEADER = struct.Struct("!BIQ")
_ANSWER = struct.Struct("!IHB")

HEADER_SIZE = _HEADER.size

JOIN_BELOW = 64 * 1024
"""Bytes of a frame below which joining its buffers costs less than writing each."""


class Kind(enum.IntEnum):
    """What a frame says. The comment after each is who sends it, and its parts."""

    START = 7  # gateway: what the process is to do, see `server.worker.spec`
    PHASE = 1  # worker: name of the phase of loading that begins; seconds that it may take, if few
    READY = 2  # worker: see `server.processes.ready.Ready`; forked: nothing; downloaded: the path
    FAILED = (
        3  # worker: JSON object with `error` and `exception`; `public`, what anybody may be told
    )
    PREDICT = 4  # gateway: content type, request id and body of each request
    ANSWERS = 5  # worker: heads of some answers, in any order, as one part; the body of each
    DONE = 6  # worker: every request of the last PREDICT has been answered


class Outcome(enum.IntEnum):
    """How a prediction ended, for the counters; the HTTP status says the rest."""

    OK = 0
    INVALID_INPUT = 1
    MODEL_ERROR = 2
    INTERNAL_ERROR = 3


class Answer(NamedTuple):
    """The answer to one request of a batch: `place` is where it stands in the PREDICT frame."""

    place: int
    status: int
    outcome: Outcome
    body: bytes


def encode(kind: Kind, parts: Sequence[Buffer]) -> list[Buffer]:
    """Return the buffers to write, in order, for one frame; the parts are not copied."""
    lengths = [len(part) for part in parts]
    head = _HEADER.pack(kind, len(parts), sum(lengths)) + struct.pack(f"!{len(parts)}Q", *lengths)
    return [head, *parts]


def encode_answers(answers: Iterable[Answer]) -> list[Buffer]:
    """Return the buffers of one ANSWERS frame."""
    heads = bytearray()
    parts: list[Buffer] = [heads]
    for place, status, outcome, body in answers:
        heads += _ANSWER.pack(place, status, outcome)
        parts.append(body)
    return encode(Kind.ANSWERS, parts)


def decode_answers(parts: Sequence[memoryview]) -> list[Answer]:
    """Read the parts of an ANSWERS frame.

    Raises:
        struct.error, ValueError: the parts do not hold answers.
    """
    heads, *bodies = parts
    return [
        Answer(place, status, Outcome(outcome), bytes(body))
        for (place, status, outcome), body in zip(_ANSWER.iter_unpack(heads), bodies, strict=True)
    ]


def decode_header(header: Buffer) -> tuple[Kind, int, int]:
    """Return kind, number of parts and the number of bytes that follow the header.

    Raises:
        ValueError: the kind is not one of `Kind`.
    """
    kind, count, size = _HEADER.unpack(header)
    return Kind(kind), count, count * 8 + size


def decode_parts(count: int, payload: Buffer) -> list[memoryview]:
    """Cut what follows the header into its parts, without copying.

    Raises:
        struct.error, ValueError: the lengths do not add up to the payload.
    """
    view = memoryview(payload)
    lengths = struct.unpack_from(f"!{count}Q", view)
    parts = []
    start = count * 8
    for length in lengths:
        parts.append(view[start : start + length])
        start += length
    if start != len(view):
        raise ValueError(f"frame of {len(view)} bytes holds {start} bytes of parts")
    return parts
