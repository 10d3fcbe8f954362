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
_NUMBER = struct.Struct("!Q")

HEADER_SIZE = _HEADER.size

JOIN_BELOW = 64 * 1024
"""Bytes of a frame below which joining its buffers costs less than writing each."""


SLOTS_OF_WAITING = 32
"""How many batches at a time a worker is given whose model waits most of the time."""

STREAM_WINDOW = 64 * 1024
"""Bytes of a stream that its client has not taken: a worker sends no chunk where there are as many
or more."""

TRIED_AT_A_TIME = 8
"""How many requests a worker may get at a time that has not yet seen whether they may share a
prediction, and tries it."""

CHUNK_OVERHEAD = 64
"""What a chunk of a stream counts for beside its bytes: there may be many small ones."""


class Kind(enum.IntEnum):
    """What a frame says. The comment after each is who sends it, and its parts."""

    START = 7  # gateway: what the process is to do, see `server.worker.spec`
    PHASE = 1  # worker: name of the phase of loading that begins; seconds that it may take, if few
    READY = 2  # worker: see `server.processes.ready.Ready`; forked: nothing; downloaded: the path
    FAILED = (
        3  # worker: JSON object with `error` and `exception`; `public`, what anybody may be told
    )
    PREDICT = 4  # gateway: the batch's number; content type, request id and body of each request
    STREAM = 11  # gateway: as PREDICT, of one request, which may be answered in chunks
    CREDIT = 9  # gateway: the number; how many bytes of the batch's stream its client has taken
    CANCEL = 10  # gateway: the number; nobody waits for the answer any more
    CHUNK = 8  # worker: the number; a chunk of the batch's stream, or none: it has begun
    ANSWERS = 5  # worker: the number; heads of some answers, in any order, as one part; the bodies
    DONE = 6  # worker: the number; see `Finding`
    MERGING = 12  # worker: why requests share predictions or don't; the formats of those that do


class Finding(bytes, enum.Enum):
    """What a worker says of itself when every request of a batch has been answered."""

    MERGES = b""  # it may get merged batches
    TRIES = b"tries"  # it may get some requests at a time: they are tried
    ALONE = b"alone"  # it is to get each request by itself
    WAITS = b"waits"  # likewise, and several at a time: its model waits most of the time


class Outcome(enum.IntEnum):
    """How a prediction ended, for the counters; the HTTP status says the rest."""

    OK = 0
    INVALID_INPUT = 1
    MODEL_ERROR = 2
    INTERNAL_ERROR = 3


class Answer(NamedTuple):
    """The answer to one request of a batch: `place` is where it stands in the PREDICT frame. The
    answer to one that has got a stream ends that, and has a body only if it is an error."""

    place: int
    status: int
    outcome: Outcome
    body: bytes


def encode(kind: Kind, parts: Sequence[Buffer]) -> list[Buffer]:
    """Return the buffers to write, in order, for one frame; the parts are not copied."""
    lengths = [len(part) for part in parts]
    head = _HEADER.pack(kind, len(parts), sum(lengths)) + struct.pack(f"!{len(parts)}Q", *lengths)
    return [head, *parts]


def encode_number(number: int) -> bytes:
    """Write a batch's number, or how many bytes, as a part of a frame."""
    return _NUMBER.pack(number)


def decode_number(part: Buffer) -> int:
    """Read such a part.

    Raises:
        struct.error: it is none.
    """
    (number,) = _NUMBER.unpack(part)
    return int(number)


def encode_answers(number: bytes, answers: Iterable[Answer]) -> list[Buffer]:
    """Return the buffers of one ANSWERS frame.

    Args:
        number: The batch's, as `encode_number` writes it.
    """
    heads = bytearray()
    parts: list[Buffer] = [number, heads]
    for place, status, outcome, body in answers:
        heads += _ANSWER.pack(place, status, outcome)
        parts.append(body)
    return encode(Kind.ANSWERS, parts)


def decode_answers(parts: Sequence[memoryview]) -> list[Answer]:
    """Read the parts of an ANSWERS frame that follow the batch's number.

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
