"""Predicting real requests in several sizes before anyone waits for it."""

import time
from collections.abc import Mapping, Sequence
from itertools import cycle, islice

from .. import logs
from ..merging.proof import Proof
from ..merging.together import Answered, predict_together
from ..protocol import MergeKey, Protocol

# Rows, the smallest first.
_SIZES = (2, 8, 32, 256)
_SECONDS = 0.5


def warm(
    protocol: Protocol,
    recorded: Mapping[MergeKey, Sequence[Answered]],
    proof: Proof,
    most_rows: int,
) -> None:
    """Predict real requests together, so that the first large batch meets warm code.

    It takes some half a second at most. What goes wrong is left to when it matters.

    Args:
        recorded: Requests of one row each, by merge key.
        proof: Which of them may share predictions; learns what these take.
        most_rows: Most rows in one prediction.
    """
    deadline = time.monotonic() + _SECONDS
    for key, members in recorded.items():
        if not proof.keys.merges(key):
            continue
        seconds_per_row = 0.0
        for size in _SIZES:
            started = time.monotonic()
            if size > most_rows or started + seconds_per_row * size > deadline:
                break
            requests = [member.request for member in islice(cycle(members), size)]
            try:
                predict_together(protocol, requests)
            except BaseException:
                break
            seconds = time.monotonic() - started
            proof.sizes.note(size, seconds)
            seconds_per_row = seconds / size


def answer_once(protocol: Protocol, content_type: str, body: bytes) -> None:
    """Have the model answer a request in a new process: what is lazy is done once in each."""
    try:
        request = protocol.parse(content_type, body)
        protocol.encode(request, protocol.predict(request))
    except BaseException as error:
        logs.log.debug("the request to warm up with failed: %s", type(error).__name__)
