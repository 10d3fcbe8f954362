"""What a version must show before anyone meets it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mlflow.pyfunc import PyFuncModel

from ..merging.merge_keys import MergeKeys
from ..merging.proof import Proof, prove
from ..merging.together import Answered, by_merge_key
from ..merging.variations import row_of_signature, rows_of_example
from ..protocol import FORMATS, Protocol
from ..spec import WorkerSpec
from .examples import Example, try_example
from .replay import Replay, replay
from .warming import warm

_DIFFERENCES_NAMED = 3


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What the rehearsal found.

    Attributes:
        example: The model's own example, and what came of it.
        replay: What it answered to real requests.
        proof: Which requests may share a prediction.
        sample: Content type and body of a request that it answered soon, if there was one.
    """

    example: Example
    replay: Replay
    proof: Proof
    sample: tuple[str, bytes] | None

    @property
    def requests(self) -> int:
        """How many requests it answered."""
        return len(self.replay.answered) + self.example.answered


class RehearsalFailed(Exception):
    """The version does not answer what it should."""


def rehearse(
    protocol: Protocol,
    model: PyFuncModel,
    path: str,
    spec: WorkerSpec,
    limit: Callable[[float | None], None],
) -> Rehearsed:
    """Have the model answer its own input example and the real requests, and find out what may be
    merged.

    Args:
        path: Where the model lies.
        limit: Called with the seconds that what follows may take, or it is a hang; with None where
            nothing limits it.

    Raises:
        RehearsalFailed: it answers real requests worse than the version before; or not its own
            example, where that decides.
    """
    ask = spec.rehearse and not spec.only_recorded
    example = try_example(protocol, model, path, ask=ask, hide=spec.directory)
    limit(spec.hang_seconds)
    replayed = replay(protocol, spec.recorded, spec.rehearsal_seconds)
    limit(None)
    _judge(example, replayed, spec)
    recorded = by_merge_key(replayed.quick)
    proof = _proof(protocol, model, example.usable, recorded, spec)
    warm(protocol, recorded, proof.keys, spec.max_batch_rows)
    return Rehearsed(example, replayed, proof, _sample(example, replayed))


def _sample(example: Example, replayed: Replay) -> tuple[str, bytes] | None:
    if (recorded := replayed.quickest) is not None:
        return str(recorded.content_type, "latin-1"), recorded.body
    if example.answered and example.body is not None:
        return "application/json", example.body.encode()
    return None


def _judge(example: Example, replayed: Replay, spec: WorkerSpec) -> None:
    """What real requests show outweighs an example, which may have been wrong from the start."""
    failed, asked = replayed.failed, replayed.asked
    # Divided, and not multiplied: 29 of 100 are just 0.29.
    too_many = spec.rehearse and failed > 0 and failed / asked > spec.max_failures
    faults = []
    if too_many:
        faults.append(
            f"{failed} of {asked} recent requests failed, a larger share than "
            f"REHEARSAL_MAX_FAILURES={spec.max_failures:g}: {_first(replayed.differences)}"
        )
    decides = too_many or (spec.example_decides and failed == asked)
    if example.failed is not None and decides:
        faults.insert(0, f"the model fails on its own input example: {example.failed.error}")
    if faults:
        cause = example.failed.cause if example.failed is not None else None
        raise RehearsalFailed("; ".join(faults)) from cause


def _first(differences: list[str]) -> str:
    more = len(differences) - _DIFFERENCES_NAMED
    tail = f" (and {more} more)" if more > 0 else ""
    return "; ".join(differences[:_DIFFERENCES_NAMED]) + tail


def _proof(
    protocol: Protocol,
    model: PyFuncModel,
    example: str | None,
    recorded: Mapping[object, Sequence[Answered]],
    spec: WorkerSpec,
) -> Proof:
    if spec.batching == "off":
        return Proof.nothing("BATCHING=off")
    if spec.max_batch_rows == 1:
        return Proof.nothing("MAX_BATCH_ROWS=1")
    if spec.batching == "on":
        return Proof(MergeKeys(everything=True), FORMATS, "BATCHING=on")
    if spec.only_recorded:
        return Proof.nothing("not tried again: a worker ended or hung when it was")
    if spec.merged_formats == ():
        return Proof.nothing("not proved by the first worker")
    try:
        rows = rows_of_example(example) if example is not None else []
        rows = rows or row_of_signature(model)
        if not rows:
            return Proof.nothing("no example, and none can be made from the signature")
        return prove(protocol, rows, recorded, spec.max_batch_rows)
    except BaseException as error:
        # A version serves as well without.
        return Proof.nothing(f"trying it failed: {type(error).__name__}")
