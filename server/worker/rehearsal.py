"""What a version must show before anyone meets it."""

from dataclasses import dataclass

from mlflow.pyfunc import PyFuncModel

from server.worker.entry import WorkerSpec
from server.worker.protocol import InvalidInput, ModelError, Protocol


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What the rehearsal found.

    Attributes:
        examples: How many requests were rehearsed.
        merge_formats: Request formats whose requests may share a prediction.
        reason: Why those, in words for `/info`.
    """

    examples: int
    merge_formats: frozenset[str]
    reason: str


class RehearsalFailed(Exception):
    """The version does not answer what it should."""


def rehearse(protocol: Protocol, model: PyFuncModel, path: str, spec: WorkerSpec) -> Rehearsed:
    """Have the model answer its own input example.

    Raises:
        RehearsalFailed: it does not.
    """
    example = model.metadata.get_serving_input(path)
    if example is None:
        return Rehearsed(0, frozenset(), "the model has no input example")
    try:
        request = protocol.parse("application/json", example.encode())
        protocol.encode(request, protocol.predict(request))
    except (InvalidInput, ModelError) as error:
        raise RehearsalFailed(f"the model fails on its own input example: {error}") from error
    return Rehearsed(1, frozenset(), "not proved")
