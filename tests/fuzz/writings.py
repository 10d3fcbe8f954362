"""What a model may write to the gateway in its worker's place: frames, and what is none."""

from typing import Any

import orjson
from hypothesis import strategies as st

from server.worker.frames import Kind
from tests.support.puppet import answer, frame

_NUMBERS = st.sampled_from([0, 1, 2, 2**16 - 1, 2**27, 2**31, 2**32 - 1])
_JSON: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=5,
)
_READY = {
    "path": "/nowhere",
    "model": {
        "run_id": None,
        "model_id": None,
        "model_uuid": None,
        "mlflow_version": "3",
        "flavors": [],
        "signature": None,
        "from_type_hint": False,
        "example": None,
    },
    "rehearsed": 0,
    "example_failed": None,
    "replayed": 0,
    "answers_changed": 0,
    "answers_failed": 0,
    "sandbox": "none: it says so",
    "merged_formats": [],
    "merging_reason": "",
    "unshared": "it says so",
}
_FAILED = {"error": "it says so", "exception": "Traceback"}


@st.composite
def _object(draw: st.DrawFn, like: dict[str, Any]) -> bytes:
    """JSON like this, with something else in some places."""
    told = orjson.loads(orjson.dumps(like))
    for _ in range(draw(st.integers(0, 2))):
        place = told
        key = draw(st.sampled_from(sorted(place)))
        if isinstance(place[key], dict) and draw(st.booleans()):
            place = place[key]
            key = draw(st.sampled_from(sorted(place)))
        place[key] = draw(_JSON)
    return orjson.dumps(told)


_ANSWERS = st.builds(
    answer,
    status=st.one_of(st.just(200), st.integers(0, 2**16 - 1)),
    body=st.one_of(st.just(b"{}"), st.binary(max_size=200), st.just(bytes(3_000_000))),
    place=st.one_of(st.just(0), _NUMBERS),
    outcome=st.integers(0, 5),
)
_FRAMES = st.one_of(
    _ANSWERS,
    st.just(frame(Kind.DONE, b"")),
    st.builds(frame, st.just(Kind.DONE), st.binary(max_size=5)),
    st.builds(frame, st.just(Kind.PHASE), st.sampled_from([b"load", b"rehearsal", b"\xff", b""])),
    st.builds(frame, st.just(Kind.READY), _object(_READY)),
    st.builds(frame, st.just(Kind.FAILED), _object(_FAILED)),
    st.builds(
        lambda kind, parts: frame(kind, *parts), st.sampled_from(Kind), st.lists(st.binary())
    ),
    st.builds(
        lambda kind, count, size: bytes([kind]) + count.to_bytes(4) + size.to_bytes(8),
        st.integers(0, 255),
        _NUMBERS,
        _NUMBERS,
    ),
    st.binary(max_size=100),
)


@st.composite
def writings(draw: st.DrawFn) -> bytes:
    """Some frames, perhaps with a few bytes changed, left out or put in."""
    data = bytearray(b"".join(draw(st.lists(_FRAMES, min_size=1, max_size=4))))
    for _ in range(draw(st.integers(0, 3))):
        where = draw(st.integers(0, len(data)))
        data[where : where + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(data)
