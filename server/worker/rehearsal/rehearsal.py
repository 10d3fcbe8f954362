"""What a version must show before anyone meets it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow.models.utils import convert_input_example_to_serving_input
from mlflow.pyfunc import PyFuncModel

from ..merging.merge_keys import MergeKeys
from ..merging.proof import Proof, prove
from ..merging.together import Answered, by_merge_key
from ..merging.variations import row_of_signature, rows_of_example
from ..protocol import (
    FORMATS,
    EncodingError,
    InvalidInput,
    ModelError,
    Protocol,
)
from ..spec import WorkerSpec
from .replay import Replay, replay
from .warming import warm

_DIFFERENCES_NAMED = 3


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What the rehearsal found.

    Attributes:
        examples: How many examples of its own the model answered.
        replay: What it answered to real requests.
        proof: Which requests may share a prediction.
    """

    examples: int
    replay: Replay
    proof: Proof


class RehearsalFailed(Exception):
    """The version does not answer what it should."""


def rehearse(
    protocol: Protocol, model: PyFuncModel, example: str | None, spec: WorkerSpec
) -> Rehearsed:
    """Have the model answer its own input example and the real requests, and find out what may be
    merged.

    Args:
        example: The body of a request that the model brought as its input example.

    Raises:
        RehearsalFailed: it does not answer its own example, or answers real requests worse than
            the version before.
    """
    if example is not None and spec.rehearse:
        try:
            request = protocol.parse("application/json", example.encode())
            protocol.encode(request, protocol.predict(request))
        except (InvalidInput, ModelError, EncodingError) as error:
            raise RehearsalFailed(f"the model fails on its own input example: {error}") from error
    replayed = replay(protocol, spec.recorded)
    if replayed.differences and spec.rehearse:
        raise RehearsalFailed(_first(replayed.differences))
    rehearsed = int(example is not None and spec.rehearse)
    recorded = by_merge_key(replayed.answered)
    proof = _proof(protocol, model, example, recorded, spec)
    warm(protocol, recorded, proof.keys, spec.max_batch_rows)
    return Rehearsed(rehearsed, replayed, proof)


def _first(differences: list[str]) -> str:
    more = len(differences) - _DIFFERENCES_NAMED
    tail = f" (and {more} more)" if more > 0 else ""
    return "; ".join(differences[:_DIFFERENCES_NAMED]) + tail


def serving_example(model: PyFuncModel, path: str) -> str | None:
    """Return the model's input example as the body of a request, if it has one.

    Args:
        path: Where the model lies.
    """
    example: str | None = model.metadata.get_serving_input(path)
    if example is None and model.input_example is not None:
        # Logged by an MLflow older than 2.16, which kept no example of a request.
        example = convert_input_example_to_serving_input(model.input_example)
    return example


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
