"""What a version must show before anyone meets it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from mlflow.pyfunc import PyFuncModel

from ..blocking import Judge
from ..conversations import converses
from ..merging.forms import in_each_form
from ..merging.merge_keys import MergeKeys
from ..merging.proof import UNTRIED, Proof, prove
from ..merging.sizes import BatchSizes
from ..merging.together import Answered, by_merge_key
from ..merging.variations import Row, nullable_columns, row_of_signature, rows_of_example
from ..protocol import MergeKey, Protocol
from ..spec import WorkerSpec
from .concurrency import Concurrency, find_concurrency
from .examples import Example, try_example
from .questions import ask_until_told, questions_of, replayed_questions
from .replay import Replay, replay
from .warming import warm

_DIFFERENCES_NAMED = 3
_PAIR = 2


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What the rehearsal found.

    Attributes:
        example: The model's own example, and what came of it.
        replay: What it answered to real requests.
        proof: Which requests may share a prediction.
        concurrency: How many predictions it may make at a time.
        sample: Content type and body of a request that it answered soon and may be asked again and
            again, if there was one.
        replay_skipped: Why it was not asked all real requests, other than for want of time.
    """

    example: Example
    replay: Replay
    proof: Proof
    concurrency: Concurrency
    sample: tuple[str, bytes] | None
    replay_skipped: str | None

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
    merged, or be asked at a time.

    A model that waits for something else, or converses, is asked its example and what is made from
    that, eight requests at most: each may cost money, or do something.

    Args:
        path: Where the model lies.
        limit: Called with the seconds that what follows may take, or it is a hang; with None where
            nothing limits it.

    Raises:
        RehearsalFailed: it answers real requests worse than the version before; or not its own
            example, where that decides.
    """
    ask = spec.rehearse and not spec.only_recorded
    judge = Judge()
    example = try_example(protocol, model, path, judge, ask=ask, hide=spec.directory)
    questions = questions_of(example)
    if spec.slots is None:
        ask_until_told(protocol, questions, judge)
    why_dear = partial(_why_dear, judge, spec, conversing=converses(model))
    # What an example has shown holds; without one, the first real requests must.
    known = why_dear() if questions else None

    def enough() -> bool:
        dear = known if questions else why_dear()
        return dear is not None and not spec.replay_always

    limit(spec.hang_seconds)
    replayed = replay(protocol, spec.recorded, spec.rehearsal_seconds, judge, enough)
    limit(None)
    _judge(example, replayed, spec)
    if len(questions) < _PAIR and spec.replay_always:
        questions = replayed_questions(spec.recorded, replayed.answers)
    concurrency = find_concurrency(protocol, questions, judge, spec)
    dear = why_dear()
    recorded = by_merge_key(replayed.quick)
    untried = None if spec.replay_always and not judge.verdict else dear
    proof = _proof(protocol, model, example.usable, recorded, spec, concurrency, untried)
    warm(protocol, recorded, proof, spec.max_batch_rows)
    return Rehearsed(
        example,
        replayed,
        proof,
        concurrency,
        sample=None if dear is not None else _sample(example, replayed),
        replay_skipped=dear if spec.recorded and enough() else None,
    )


def _why_dear(judge: Judge, spec: WorkerSpec, *, conversing: bool) -> str | None:
    """Why no answer of the model is to be had for nothing, in words for the log."""
    if conversing:
        return "the model converses: it may call others, which costs money"
    if judge.verdict or (spec.concurrency is None and (spec.slots or 1) > 1):
        return "the model waits for something else, which may cost money"
    return None


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
    recorded: Mapping[MergeKey, Sequence[Answered]],
    spec: WorkerSpec,
    concurrency: Concurrency,
    untried: str | None,
) -> Proof:
    if spec.batching == "on":
        return Proof(MergeKeys(everything=True), BatchSizes(spec.max_batch_rows), "BATCHING=on")
    if (forbidden := _what_forbids(spec, concurrency, untried)) is not None:
        return Proof.nothing(spec.max_batch_rows, forbidden)
    if spec.merged_formats == ():
        reason = f"not proved by the first worker: {UNTRIED}"
        return Proof.nothing(spec.max_batch_rows, reason, tries=True)
    try:
        rows = _rows(protocol, model, example, concurrency.judge)
        nullable = nullable_columns(model, rows)
        return prove(protocol, rows, nullable, recorded, spec.max_batch_rows)
    except _MayWait:
        reason = f"not tried: the model may wait for something else; {UNTRIED}"
        return Proof.nothing(spec.max_batch_rows, reason, tries=True)
    except BaseException as error:
        # A version serves as well without.
        return Proof.nothing(spec.max_batch_rows, f"trying it failed: {type(error).__name__}")


def _what_forbids(spec: WorkerSpec, concurrency: Concurrency, untried: str | None) -> str | None:
    """Why no requests may share a prediction, or be tried, if so, in words for `/info`."""
    if spec.batching == "off":
        return "BATCHING=off"
    if concurrency.slots > 1:
        return "several requests are predicted at a time instead"
    if spec.max_batch_rows == 1:
        return "MAX_BATCH_ROWS=1"
    if untried is not None:
        return f"not tried: {untried}"
    if spec.only_recorded:
        return "not tried again: a worker ended or hung when it was"
    return None


class _MayWait(Exception):
    """Each answer of the model may cost money."""


def _rows(
    protocol: Protocol, model: PyFuncModel, example: str | None, judge: Judge | None
) -> list[Row]:
    """Return rows to try the model with, none where it has no example and none can be made.

    Raises:
        _MayWait: it is better to ask it no more.
    """
    rows = rows_of_example(example) if example is not None else []
    rows = rows or row_of_signature(model)
    if rows and judge is not None and _may_wait(protocol, rows, judge):
        raise _MayWait
    return rows


def _may_wait(protocol: Protocol, rows: Sequence[Row], judge: Judge) -> bool:
    """Whether it is better to ask the model no more, as each answer may cost money; it has been
    asked little so far."""
    (request, *_), *_ = in_each_form(protocol, rows[:1])
    if request is not None:
        with judge.measuring():
            protocol.predict(request)
    return judge.may_wait
