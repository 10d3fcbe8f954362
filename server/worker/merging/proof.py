"""Showing that a model treats each row by itself, so that requests may share a prediction."""

import contextlib
import itertools
import random
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from ..computing import unhurried
from ..protocol import (
    AnswerKind,
    EncodingError,
    InvalidInput,
    MergeKey,
    ModelError,
    Protocol,
    Request,
)
from .forms import alike, in_any_form
from .merge_keys import MergeKeys, key_of
from .sizes import BatchSizes
from .together import Answered, Differs, compare, widest
from .variations import Row, leave_out, vary

# What the proof may cost altogether, without what it waits for a core; a slow model gets fewer
# rows, a very slow one no proof. What a busy machine leaves no time for, live requests show.
_SECONDS = 2.0
_SECONDS_IN_ALL = 8.0
_ROWS = 16
_FEWEST_ROWS = 3
# Fewer than these of what a client happened to send are left to trials.
_FEWEST_RECORDED = 8
# Of the time, for predicting rows alone. The rest is for predicting them together, in so many
# orders.
_SHARE_ALONE = 1 / 3
_ORDERS = 5
_MOST_TOGETHER = 64

_SAFE = "rows predicted together gave what each gave alone: merging is safe"
LIVE = "rows of live requests predicted together gave what each gave alone: merging is safe"
NO_MORE = "live requests that shared predictions failed although each alone was answered"
UNTRIED = "live requests will tell"


@dataclass(frozen=True, slots=True)
class Proof:
    """What may be merged.

    Attributes:
        keys: Which requests may share predictions.
        sizes: How many of them do so best.
        reason: Why those, in words for `/info`.
    """

    keys: MergeKeys
    sizes: BatchSizes
    reason: str

    @classmethod
    def nothing(cls, most_rows: int, reason: str, *, tries: bool = False) -> "Proof":
        """No requests may share predictions, unless live ones show it.

        Args:
            tries: Whether they may be tried.
        """
        return cls(MergeKeys(tries=tries), BatchSizes(most_rows), reason)

    @property
    def formats(self) -> frozenset[str]:
        """The request formats of those that may."""
        return self.keys.formats


class _Undecided(Exception):
    """It can't be told of this form; the message says why."""


class _TooSlow(Exception):
    """There is no time left for this form, nor for those after it."""


class _Budget:
    """The time that is left."""

    def __init__(self) -> None:
        self._until = unhurried() + _SECONDS
        self._until_in_all = time.monotonic() + _SECONDS_IN_ALL

    @property
    def left(self) -> float:
        """Seconds of predicting, the time aside that is spent waiting for a core."""
        return self._until - unhurried()

    def require(self, seconds: float = 0.0) -> None:
        """Go on if there are so many.

        Raises:
            _TooSlow: there are not.
        """
        if time.monotonic() >= self._until_in_all:
            raise _TooSlow(f"the machine was too busy to try it: {UNTRIED}")
        if seconds > self.left:
            raise _TooSlow("a prediction takes too long to try merging")


@dataclass(frozen=True, slots=True)
class _Form:
    """A form that is proved: what was answered to which of the rows, and the kind of answer."""

    members: dict[int, Answered]
    kind: AnswerKind


def prove(
    protocol: Protocol,
    rows: Sequence[Row],
    nullable: Collection[str],
    recorded: Mapping[MergeKey, Sequence[Answered]],
    most_rows: int,
) -> Proof:
    """Predict rows alone and together, in several orders and numbers, and compare.

    It takes some two seconds at most, and longer where it must wait for a core.

    Args:
        protocol: The model.
        rows: Rows that the model takes.
        nullable: In which columns of these a value may be missing.
        recorded: Real requests of one row each, and what the model answered, by merge key.
        most_rows: Most rows in one prediction, at least 2.
    """
    return _Prover(protocol, most_rows).prove(rows, nullable, recorded)


class _Prover:
    def __init__(self, protocol: Protocol, most_rows: int) -> None:
        self._protocol = protocol
        self._most_rows = most_rows
        self._budget = _Budget()
        self._keys = MergeKeys(tries=True)
        self._sizes = BatchSizes(most_rows)
        self._forms: list[_Form] = []
        # What was answered to rows that lack values, and may be merged.
        self._lacking: list[dict[int, Answered]] = []

    def prove(
        self,
        rows: Sequence[Row],
        nullable: Collection[str],
        recorded: Mapping[MergeKey, Sequence[Answered]],
    ) -> Proof:
        reason = f"no example, and none can be made from the signature: {UNTRIED}"
        try:
            if rows:
                reason = self._prove_forms(vary(rows, _ROWS), nullable)
            self._prove_recorded(recorded)
        except _TooSlow as error:
            reason = str(error)
        except Differs as difference:
            # What looks across rows in one format does so in all.
            self._keys.bar_all()
            reason = str(difference)
        if self._keys.any_merges:
            reason = _SAFE
        return Proof(self._keys, self._sizes, reason)

    def _prove_forms(self, rows: Sequence[Row], nullable: Collection[str]) -> str:
        """Try rows like the model's example in each form; return why none is proved, if so."""
        reason = f"no request format of this model can be merged as its example is: {UNTRIED}"
        with_nulls = leave_out(rows, nullable)
        beside: list[tuple[Sequence[Request | None], list[Answered]]] = []
        for requests, lacking in zip_longest(
            in_any_form(self._protocol, rows), in_any_form(self._protocol, with_nulls)
        ):
            common = alike(requests or [])
            key = next((request.merge_key for request in common if request), None)
            if key is None or self._keys.merges(key):
                continue
            try:
                form = self._prove_form(common, self._forms)
            except _Undecided as undecided:
                reason = str(undecided)
                continue
            members = _with_requests(form.members, common)
            self._keys.prove(key, form.kind, members)
            beside.append((lacking or [], members))
        # Last, so that what these take is not lacking for any form.
        for lacking_some, members in beside:
            self._prove_nulls(lacking_some, members)
        return reason

    def _prove_form(self, requests: Sequence[Request | None], known: list[_Form]) -> _Form:
        self._budget.require()
        for other in known:
            if self._same_inputs(other.members, requests):
                # The model can't tell the two forms apart.
                return other
        members = self._answer_alone(requests, _FEWEST_ROWS)
        some = [*members.values()]
        form = _Form(members, self._compare_orders(some, some))
        known.append(form)
        return form

    def _prove_nulls(self, requests: Sequence[Request | None], whole: Sequence[Answered]) -> None:
        """Try rows that lack values, beside those of a form that is proved."""
        asked = [request and self._beside_proved(request) for request in requests]
        if not any(asked):
            return
        for other in self._lacking:
            if self._same_inputs(other, asked):
                kind = self._keys.kind_of(whole[0])
                self._keys.prove_beside(_with_requests(other, asked), kind)
                return
        with contextlib.suppress(_Undecided):
            members = self._answer_alone(asked, 1)
            self._prove_beside([*members.values()], whole)
            if all(self._keys.merges(key_of(member)) for member in members.values()):
                self._lacking.append(members)

    def _beside_proved(self, request: Request) -> Request | None:
        key = request.merge_key
        return request if key is not None and self._keys.standing(key).untried else None

    def _prove_recorded(self, recorded: Mapping[MergeKey, Sequence[Answered]]) -> None:
        """Prove, or bar, what clients send and no example is like."""
        for key, members in recorded.items():
            if self._keys.standing(key).base is None and len(members) >= _FEWEST_RECORDED:
                try:
                    self._keys.prove(key, self._compare_orders(members, members), members)
                except Differs:
                    self._keys.bar(members)
                    if not self._keys.any_tried:
                        raise
        beside: dict[MergeKey, list[Answered]] = {}
        for key, members in recorded.items():
            base, untried = self._keys.standing(key)
            if base is not None and untried:
                beside.setdefault(base, []).extend(members)
        for members in beside.values():
            self._prove_beside(members, self._keys.witnesses(members[0]))

    def _prove_beside(self, members: Sequence[Answered], whole: Sequence[Answered]) -> None:
        """Prove, or bar, what is like a proved key, beside some of that."""
        # All of them in one prediction, with some that lack nothing.
        most = max(min(self._most_rows, _MOST_TOGETHER) // 2, 1)
        for start in range(0, len(members), most):
            some = members[start : start + most]
            beside = [*some, *whole[: max(self._most_rows - len(some), 1)]]
            try:
                self._keys.prove_beside(some, self._compare_orders(beside, beside))
            except Differs:
                innocent = self._keys.bar_guilty(some, lambda alike: self._differ(alike, whole))
                if innocent:
                    self._prove_beside(innocent, whole)

    def _differ(self, members: Sequence[Answered], whole: Sequence[Answered]) -> bool:
        beside = [*members, *whole[: max(self._most_rows - len(members), 1)]]
        try:
            self._compare_orders(beside, beside)
        except Differs:
            return True
        return False

    def _same_inputs(
        self, members: Mapping[int, Answered], requests: Sequence[Request | None]
    ) -> bool:
        """Whether the model gets the same input for requests as for those that were answered, for
        some of them alone and for all together."""
        others = [member.request for member in members.values()]
        same_rows = [request for place in members if (request := requests[place])]
        if len(same_rows) < len(others):
            return False
        merge, same_input = self._protocol.merge, self._protocol.same_input
        pairs = [
            *itertools.islice(zip(same_rows, others, strict=True), _FEWEST_ROWS),
            (merge(same_rows), merge(others)),
        ]
        try:
            return all(itertools.starmap(same_input, pairs))
        except Exception:
            # Predicting will tell why it can't be converted.
            return False

    def _answer_alone(self, requests: Sequence[Request | None], fewest: int) -> dict[int, Answered]:
        """Return the answers by the request's place, without those that the model would not answer:
        it need not know a made-up value.

        Raises:
            _Undecided: they are too few.
        """
        allowed = self._budget.left * (1 - _SHARE_ALONE)
        began = self._budget.left
        answered: dict[int, Answered] = {}
        tried = 0
        for place, request in enumerate(requests):
            if request is None or (len(answered) >= fewest and self._budget.left < allowed):
                continue
            tried += 1
            started = time.perf_counter()
            with contextlib.suppress(InvalidInput, ModelError, EncodingError):
                body = self._protocol.encode(request, self._protocol.predict(request))
                answered[place] = Answered(request, body)
                self._sizes.note(1, time.perf_counter() - started)
            ahead = max(fewest - len(answered), 0) + _ORDERS
            self._budget.require((began - self._budget.left) / tried * ahead)
        if len(answered) < fewest:
            raise _Undecided(
                f"the model answers too few variations of its example to tell: {UNTRIED}"
            )
        return answered

    def _compare_orders(self, members: Sequence[Answered], known: Sequence[Answered]) -> AnswerKind:
        kinds = set()
        seconds_per_row = 0.0
        for order in _orders(len(members)):
            some = [members[place] for place in order[: self._most_rows]]
            self._budget.require(seconds_per_row * len(some))
            before, started = self._budget.left, time.perf_counter()
            kinds.add(compare(self._protocol, some, known))
            self._sizes.note(len(some), time.perf_counter() - started)
            seconds_per_row = (before - self._budget.left) / len(some)
        return widest(kinds)


def _with_requests(
    members: Mapping[int, Answered], requests: Sequence[Request | None]
) -> list[Answered]:
    """The same answers, to other requests in the same places."""
    return [
        Answered(request, answer)
        for place, (_, answer) in members.items()
        if (request := requests[place]) is not None
    ]


def _orders(count: int) -> list[list[int]]:
    """Which of `count` rows to predict together, the smallest numbers first."""
    everything = [*range(count)]
    chance = random.Random(1)  # noqa: S311  # the same orders at every load
    many = [chance.randrange(count) for _ in range(_MOST_TOGETHER)]
    return [everything[:2], everything[-2:], everything, everything[::-1], many]
