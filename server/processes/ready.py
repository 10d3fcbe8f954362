"""What a process says of the version that it has loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, TypeAdapter, ValidationError, with_config

from server.errors import LoadFailed

_WRONG = "the process says what none does"
# Of what is said beside the answers; the description of a model takes kilobytes.
_LARGEST = 16 * 1024 * 1024
# As deep as answers of this server may put what a model has said: orjson writes 254 levels.
_ENVELOPE = 64
_MOST_SLOTS = 1024


@dataclass(frozen=True, slots=True)
class _Signature:
    """As `ModelSignature.to_dict` in mlflow/models/signature.py has it: each a JSON text."""

    inputs: str | None
    outputs: str | None
    params: str | None


@dataclass(frozen=True, slots=True)
class _Description:
    """What MLflow knows of a model, see `server.worker.loading.describe`."""

    run_id: str | None
    model_id: str | None
    model_uuid: str | None
    mlflow_version: str | None
    flavors: list[str]
    signature: _Signature | None
    from_type_hint: bool
    example: Any


@with_config(extra="forbid")
@dataclass(frozen=True, slots=True)
class _ExampleFailed:
    """Fields of the log, see `server.worker.rehearsal.examples`."""

    error: str
    exception: str | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """The parts of a READY frame.

    Attributes:
        path: Where the model lies on disk.
        model: What MLflow knows of it; without an example that is too deep to be shown.
        rehearsed: Requests answered in the rehearsal.
        example_failed: The `error`, and the `exception` with its traceback, where the model does
            not answer its own example and may serve all the same.
        replayed: How many real requests it was asked; there was no time for the others.
        answers_changed: How many of these it answered in another way than before.
        answers_failed: How many of these it refused, or answered worse.
        sandbox: What the model is kept from, or why from nothing.
        answers: What was answered to the real requests; empty where nothing was.
        merged_formats: Request formats whose requests share predictions.
        merging_reason: Why those.
        slots: How many predictions it can make at a time.
        slots_reason: Why so many.
        waits: Whether the model waits for something else for most of a prediction; None where
            that could not be told.
        speaks: Which of MLflow's interfaces for conversations the model has, see
            `server.worker.conversations`.
        streams: Whether it can answer in pieces.
        replay_skipped: Why it was not asked all real requests, other than for want of time.
        unshared: Why no workers can be forked from the process; None where they can.
    """

    path: str
    model: dict[str, Any]
    rehearsed: int
    example_failed: dict[str, str] | None
    replayed: int
    answers_changed: int
    answers_failed: int
    merged_formats: tuple[str, ...]
    merging_reason: str
    slots: Annotated[int, Field(ge=1, le=_MOST_SLOTS)]
    slots_reason: str
    waits: bool | None
    speaks: Literal["chat", "agent", "responses"] | None
    streams: bool
    replay_skipped: str | None
    unshared: str | None
    sandbox: str
    answers: tuple[bytes, ...]

    @classmethod
    def of(cls, parts: Sequence[memoryview], answers: int) -> "Ready":
        """Read the parts.

        Args:
            answers: How many requests it was to answer.

        Raises:
            LoadFailed: they are not what a process says; a model's code may have written them.
        """
        if parts and len(parts[0]) > _LARGEST:
            raise LoadFailed("load", f"{_WRONG}: {len(parts[0])} bytes")
        try:
            told = orjson.loads(parts[0])
            ready = _READY.validate_python({**told, "answers": [*map(bytes, parts[1:])]})
            _DESCRIPTION.validate_python(ready.model)
            _EXAMPLE_FAILED.validate_python(ready.example_failed)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, problem["loc"]))
            raise LoadFailed("load", f"{_WRONG}: {where}: {problem['msg']}") from None
        except (LookupError, TypeError, ValueError) as error:
            raise LoadFailed("load", f"{_WRONG}: {error}") from error
        if len(ready.answers) != answers:
            raise LoadFailed("rehearsal", f"{_WRONG}: {len(ready.answers)} answers to {answers}")
        if not _can_be_shown(ready.model["example"]):
            ready.model["example"] = None
        return ready


def _can_be_shown(value: Any) -> bool:
    for _ in range(_ENVELOPE):
        value = [value]
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


_READY = TypeAdapter(Ready)
_DESCRIPTION = TypeAdapter(_Description)
_EXAMPLE_FAILED: TypeAdapter[Any] = TypeAdapter(_ExampleFailed | None)
