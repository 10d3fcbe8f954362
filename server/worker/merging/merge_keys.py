"""Which requests share predictions, as far as this worker knows."""

from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from ..protocol import FORMATS, AnswerKind, MergeKey
from ..protocol.tables import ArrayKind, Kind
from .together import Answered, Differs, widest

# A key is proved by as many agreeing predictions, of as many rows, so many of them different: what
# looks across rows may leave equal ones as they are.
_PREDICTIONS = 8
_ROWS = 32
_DIFFERENT = 3
# And what stands in a column beside others by as many, of as many rows that have it.
_PREDICTIONS_BESIDE = 4
_ROWS_BESIDE = 8
# Keys hold what clients chose: names of columns, and parameters.
_MOST_KEYS = 256
# For so many keys, rows are kept that others are tried with.
_WITNESSES = 4
_MOST_WITNESSED = 16

_NUMBERS = frozenset({int, float})
_NULL = type(None)

Deviation: TypeAlias = tuple[int, Kind]
"""Another kind in a column than in those of a key that is proved; the column by its place."""


class Standing(NamedTuple):
    """What is known of requests of a key.

    Attributes:
        base: The proved key that they may be merged with: their own, or one that they are like.
        untried: How they differ from that, as far as nobody has seen yet whether it matters.
    """

    base: MergeKey | None
    untried: frozenset[Deviation] = frozenset()

    @property
    def merges(self) -> bool:
        """Whether they share predictions."""
        return self.base is not None and not self.untried


@dataclass(slots=True)
class _Trial:
    kinds: set[AnswerKind] = field(default_factory=set)
    predictions: int = 0
    rows: int = 0
    different: dict[bytes, Answered] = field(default_factory=dict)


@dataclass(slots=True)
class _Proved:
    """A key that is proved.

    Attributes:
        kind: What kind of answer was right.
        witnesses: Rows of it that others are tried with.
        fitting: Deviations from it that change nothing.
        barred: Those that do.
        trials: In how many predictions, and rows, another one has changed nothing so far.
    """

    kind: AnswerKind
    witnesses: list[Answered]
    fitting: set[Deviation] = field(default_factory=set)
    barred: set[Deviation] = field(default_factory=set)
    trials: dict[Deviation, tuple[int, int]] = field(default_factory=dict)


class MergeKeys:
    """The merge keys whose requests give the same answers together as alone.

    A key is proved by itself; those that differ from it by a missing value here, or a whole number
    there, need only show that this does not matter: each such deviation by itself, or there would
    be as many keys as there are ways to leave values out.

    Args:
        everything: Whether all keys count as proved, whatever the model answers.
        tries: Whether keys are on trial although none is proved.

    Attributes:
        formats: The request formats of those that share predictions.
    """

    def __init__(self, *, everything: bool = False, tries: bool = False) -> None:
        self._proved: dict[MergeKey, _Proved] = {}
        self._like: dict[Hashable, list[MergeKey]] = {}
        self._barred: set[MergeKey] = set()
        self._trials: dict[MergeKey, _Trial] = {}
        self._everything = everything
        self._tries = tries
        self.formats = FORMATS if everything else frozenset[str]()

    @property
    def any_merges(self) -> bool:
        """Whether there are requests that share predictions."""
        return self._everything or bool(self._proved)

    @property
    def any_tried(self) -> bool:
        """Whether requests may be on trial."""
        return not self._everything and (self._tries or bool(self._proved))

    def standing(self, key: MergeKey) -> Standing:
        """What is known of requests of a key."""
        if self._everything or key in self._proved:
            return Standing(key)
        for base in self._like.get((key.format, key.outline), ()):
            proved = self._proved[base]
            deviations = _deviations(base.kinds, key.kinds)
            if deviations is not None and proved.barred.isdisjoint(deviations):
                return Standing(base, deviations - proved.fitting)
        return Standing(None)

    def merges(self, key: MergeKey) -> bool:
        """Whether requests of this key share predictions."""
        return self.standing(key).merges

    def on_trial(self, key: MergeKey) -> bool:
        """Whether it is still to be seen if requests of this key may share predictions."""
        if not self.any_tried or key in self._barred:
            return False
        standing = self.standing(key)
        if standing.base is not None:
            return bool(standing.untried)
        return len(self._proved) + len(self._barred) < _MOST_KEYS

    def fits(self, base: MergeKey, kind: AnswerKind) -> bool:
        """Whether a shared answer is of the kind that was right for this key before.

        One row may turn a whole column into another type: a missing value integers into floats,
        a text numbers into texts.
        """
        return self._everything or kind <= self._proved[base].kind

    def witnesses(self, member: Answered) -> list[Answered]:
        """Different rows that a request on trial may be merged with."""
        key = _key_of(member)
        if (base := self.standing(key).base) is not None:
            return self._proved[base].witnesses
        trial = self._trials.get(key)
        return [*trial.different.values()] if trial else []

    def prove(self, key: MergeKey, kind: AnswerKind, members: Sequence[Answered] = ()) -> None:
        """Let requests of this key share predictions.

        Args:
            key: Their merge key.
            kind: What kind of answer was right for them.
            members: Some of them, all different.
        """
        self._trials.pop(key, None)
        kept = members[:_WITNESSES] if len(self._proved) < _MOST_WITNESSED else ()
        self._proved[key] = _Proved(kind, [*kept])
        self._like.setdefault((key.format, key.outline), []).append(key)
        self.formats |= {key.format}

    def meet(self, member: Answered) -> "_Trial":
        """Keep a request of a key that is on trial by itself, for others to be tried with."""
        key = _key_of(member)
        self._trials[key] = trial = self._trials.pop(key, None) or _Trial()
        if len(self._trials) > _MOST_KEYS:
            self._trials.pop(next(iter(self._trials)))
        if len(trial.different) < _WITNESSES:
            trial.different.setdefault(member.row, member)
        return trial

    def agree(self, members: Sequence[Answered], kind: AnswerKind, rows: int) -> None:
        """Note that a prediction of requests on trial gave what each got alone.

        Args:
            members: The requests, of one key, or all like one that is proved.
            kind: What kind of answer the model gave.
            rows: How many rows the prediction had.
        """
        key = _key_of(members[0])
        if (base := self.standing(key).base) is not None:
            self._agree_beside(base, members, kind, enough=False)
            return
        for member in members:
            trial = self.meet(member)
        trial.kinds.add(kind)
        trial.predictions += 1
        trial.rows += rows
        enough = trial.predictions >= _PREDICTIONS and trial.rows >= _ROWS
        if not enough or len(trial.different) < _DIFFERENT:
            return
        try:
            self.prove(key, widest(trial.kinds), [*trial.different.values()])
        except Differs:
            self.bar(members)

    def prove_beside(self, members: Sequence[Answered], kind: AnswerKind) -> None:
        """Let requests like those of a proved key share predictions with them.

        Args:
            members: Such requests, which have been tried together with others.
            kind: What kind of answer was right for all.
        """
        base = self.standing(_key_of(members[0])).base
        assert base is not None
        self._agree_beside(base, members, kind, enough=True)

    def _agree_beside(
        self, base: MergeKey, members: Sequence[Answered], kind: AnswerKind, *, enough: bool
    ) -> None:
        proved = self._proved[base]
        counts = Counter(
            deviation for member in members for deviation in self.standing(_key_of(member)).untried
        )
        try:
            proved.kind = widest({proved.kind, kind})
        except Differs:
            self._bar_beside(proved, counts)
            return
        for deviation, count in counts.items():
            predictions, rows = proved.trials.pop(deviation, (0, 0))
            predictions, rows = predictions + 1, rows + count
            if enough or (predictions >= _PREDICTIONS_BESIDE and rows >= _ROWS_BESIDE):
                proved.fitting.add(deviation)
            else:
                proved.trials[deviation] = predictions, rows

    def bar(self, members: Sequence[Answered]) -> None:
        """Never let requests like these, which were tried together, share a prediction again."""
        key = _key_of(members[0])
        if (base := self.standing(key).base) is not None:
            untried = [self.standing(_key_of(member)).untried for member in members]
            self._bar_beside(self._proved[base], frozenset().union(*untried))
            return
        self._trials.pop(key, None)
        self._barred.add(key)
        # What looks across rows in one format does so in all.
        self._tries = False

    def _bar_beside(self, proved: _Proved, deviations: Collection[Deviation]) -> None:
        proved.barred.update(deviations)
        for deviation in deviations:
            proved.trials.pop(deviation, None)

    def bar_all(self) -> None:
        """Let no requests share predictions any more."""
        self._everything = self._tries = False
        self._proved.clear()
        self._like.clear()
        self._trials.clear()
        self.formats = frozenset()


def _key_of(member: Answered) -> MergeKey:
    key = member.request.merge_key
    assert key is not None
    return key


def _deviations(base: Sequence[Kind], kinds: Sequence[Kind]) -> frozenset[Deviation] | None:
    """How kinds differ from others, None if in more than missing values and whole numbers."""
    if len(base) != len(kinds):
        return None
    pairs = enumerate(zip(base, kinds, strict=True))
    found = [(place, one, other) for place, (one, other) in pairs if one != other]
    if not all(_alike(one, other) for _, one, other in found):
        return None
    return frozenset((place, other) for place, _, other in found)


def _alike(one: Kind, other: Kind) -> bool:
    if isinstance(one, ArrayKind) and isinstance(other, ArrayKind):
        return one.shape == other.shape and _alike(one.items, other.items)
    if isinstance(one, ArrayKind) or isinstance(other, ArrayKind):
        return False
    types = (_types(one) | _types(other)) - {_NULL}
    return len(types) <= 1 or types <= _NUMBERS


def _types(kind: type | frozenset[type]) -> frozenset[type]:
    return kind if isinstance(kind, frozenset) else frozenset({kind})
