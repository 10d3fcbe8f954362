"""Which requests share predictions, as far as this worker knows."""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..protocol import FORMATS, AnswerKind, MergeKey
from ..protocol.tables import Kind
from .together import Answered, Differs, widest

# A key is proved by as many agreeing predictions, of as many rows, so many of them different: what
# looks across rows may leave equal ones as they are.
_PREDICTIONS = 8
_ROWS = 32
_DIFFERENT = 3
# And that a column may lack values, beside rows that have them, by as many, of as many such rows.
_PREDICTIONS_BESIDE = 4
_ROWS_BESIDE = 8
# After so many keys that differ together, and none that does not, nothing is tried any more.
_BARRED_AT_FIRST = 3
# Keys hold what clients chose: names of columns, and parameters.
_MOST_KEYS = 256
# Of each key, and of all keys in bytes of bodies, which take some ten times that when parsed.
_WITNESSES = 4
_MOST_BYTES = 1024 * 1024

_NULL = type(None)
# Beside a missing value, a column of these stays what it is; one of integers or truth values would
# become another one for rows that lack nothing.
_NULLABLE = frozenset({float, str, list, dict})


class Standing(NamedTuple):
    """What is known of requests of a key.

    Attributes:
        base: The proved key that they may be merged with: their own, or that of requests which
            lack fewer values.
        untried: In which columns, by their place, they lack values, as far as nobody has seen yet
            whether that matters.
    """

    base: MergeKey | None
    untried: frozenset[int] = frozenset()

    @property
    def merges(self) -> bool:
        """Whether they share predictions."""
        return self.base is not None and not self.untried


@dataclass(slots=True)
class _Witnesses:
    """Different requests of a key, and their answers, that others are tried with."""

    rows: dict[bytes, Answered] = field(default_factory=dict)
    size: int = 0

    def take(self, member: Answered, room: int) -> None:
        """Keep a request where there is room, in bytes."""
        size = member.request.size + len(member.answer)
        if len(self.rows) < _WITNESSES and size <= room and member.row not in self.rows:
            self.rows[member.row] = member
            self.size += size


@dataclass(slots=True)
class _Trial:
    kinds: set[AnswerKind] = field(default_factory=set)
    predictions: int = 0
    rows: int = 0
    witnesses: _Witnesses = field(default_factory=_Witnesses)


@dataclass(slots=True)
class _Proved:
    """A key that is proved.

    Attributes:
        kind: What kind of answer was right.
        witnesses: Rows of it that others are tried with.
        may_lack: Columns that may lack a value without changing another answer.
        must_not: Those that may not.
        apart: Keys of requests that lack values which may be lacking singly only.
        trials: In how many predictions, and rows, one that lacks others has changed nothing so far.
    """

    kind: AnswerKind
    witnesses: _Witnesses
    may_lack: set[int] = field(default_factory=set)
    must_not: set[int] = field(default_factory=set)
    apart: set[MergeKey] = field(default_factory=set)
    trials: dict[int, tuple[int, int]] = field(default_factory=dict)


class MergeKeys:
    """The merge keys whose requests give the same answers together as alone.

    A key is proved by itself; requests that differ from it only in that they lack values need show
    that this does not matter for one column after the other, or there would be as many keys as
    there are ways to leave values out.

    Args:
        everything: Whether all keys count as proved, whatever the model answers.
        tries: Whether keys are on trial although none is proved.

    Attributes:
        formats: The request formats of those that share predictions.
        changes: How often it has changed which do.
    """

    def __init__(self, *, everything: bool = False, tries: bool = False) -> None:
        self._proved: dict[MergeKey, _Proved] = {}
        self._like: dict[Hashable, list[MergeKey]] = {}
        self._barred: set[MergeKey] = set()
        self._trials: dict[MergeKey, _Trial] = {}
        self._everything = everything
        self._tries = tries
        self.formats = FORMATS if everything else frozenset[str]()
        self.changes = 0

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
            lacking = _lacking(base.kinds, key.kinds)
            if lacking is None or not proved.must_not.isdisjoint(lacking) or key in proved.apart:
                continue
            if (untried := lacking - proved.may_lack) and not proved.witnesses.rows:
                continue
            return Standing(base, untried)
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

    def kind_of(self, member: Answered) -> AnswerKind:
        """What kind of answer was right for requests of a proved key."""
        return self._proved[key_of(member)].kind

    def witnesses(self, member: Answered) -> list[Answered]:
        """Different rows that a request on trial may be merged with."""
        key = key_of(member)
        if (base := self.standing(key).base) is not None:
            return [*self._proved[base].witnesses.rows.values()]
        trial = self._trials.get(key)
        return [*trial.witnesses.rows.values()] if trial else []

    def prove(self, key: MergeKey, kind: AnswerKind, members: Iterable[Answered] = ()) -> None:
        """Let requests of this key share predictions.

        Args:
            key: Their merge key.
            kind: What kind of answer was right for them.
            members: Some of them, for others to be tried with.
        """
        self._trials.pop(key, None)
        room = _MOST_BYTES - sum(proved.witnesses.size for proved in self._proved.values())
        witnesses = _Witnesses()
        for member in members:
            witnesses.take(member, room - witnesses.size)
        self._proved[key] = _Proved(kind, witnesses)
        self._like.setdefault((key.format, key.outline), []).append(key)
        self.formats |= {key.format}
        self.changes += 1

    def meet(self, member: Answered) -> _Trial:
        """Keep a request of a key that is on trial by itself, for others to be tried with."""
        key = key_of(member)
        self._trials[key] = trial = self._trials.pop(key, None) or _Trial()
        trial.witnesses.take(member, _MOST_BYTES)
        held = sum(one.witnesses.size for one in self._trials.values())
        while len(self._trials) > 1 and (held > _MOST_BYTES or len(self._trials) > _MOST_KEYS):
            held -= self._trials.pop(next(iter(self._trials))).witnesses.size
        return trial

    def agree(self, members: Sequence[Answered], kind: AnswerKind, rows: int) -> None:
        """Note that a prediction of requests on trial gave what each got alone.

        Args:
            members: The requests, of one key, or all like one that is proved.
            kind: What kind of answer the model gave.
            rows: How many rows the prediction had.
        """
        key = key_of(members[0])
        if (base := self.standing(key).base) is not None:
            self._agree_beside(base, members, kind, enough=False)
            return
        for member in members:
            trial = self.meet(member)
        trial.kinds.add(kind)
        trial.predictions += 1
        trial.rows += rows
        enough = trial.predictions >= _PREDICTIONS and trial.rows >= _ROWS
        if not enough or len(trial.witnesses.rows) < _DIFFERENT:
            return
        try:
            self.prove(key, widest(trial.kinds), trial.witnesses.rows.values())
        except Differs:
            self.bar(members)

    def prove_beside(self, members: Sequence[Answered], kind: AnswerKind) -> None:
        """Let requests like those of a proved key share predictions with them.

        Args:
            members: Such requests, each of which has been predicted together with others.
            kind: What kind of answer was right for all.
        """
        base = self.standing(key_of(members[0])).base
        assert base is not None
        self._agree_beside(base, members, kind, enough=True)

    def _agree_beside(
        self, base: MergeKey, members: Sequence[Answered], kind: AnswerKind, *, enough: bool
    ) -> None:
        proved = self._proved[base]
        counts = Counter(
            column for member in members for column in self.standing(key_of(member)).untried
        )
        try:
            proved.kind = widest({proved.kind, kind})
        except Differs:
            self._bar_beside(proved, counts)
            return
        for column, count in counts.items():
            predictions, rows = proved.trials.pop(column, (0, 0))
            predictions, rows = predictions + 1, rows + count
            if enough or (predictions >= _PREDICTIONS_BESIDE and rows >= _ROWS_BESIDE):
                proved.may_lack.add(column)
                self.changes += 1
            else:
                proved.trials[column] = predictions, rows

    def bar(self, members: Sequence[Answered]) -> None:
        """Never again let requests like these, which were tried together, share a prediction: not
        by themselves if that is how they were tried, and otherwise not beside others.

        Of some that lack several values it may be each or all that matters: those alone are kept
        from others, unless they lack but one.
        """
        key = key_of(members[0])
        if (base := self.standing(key).base) is not None:
            proved = self._proved[base]
            untried = {key_of(member): self.standing(key_of(member)).untried for member in members}
            singly = [columns for columns in untried.values() if len(columns) == 1]
            self._bar_beside(proved, frozenset[int]().union(*singly))
            proved.apart.update(one for one, columns in untried.items() if len(columns) > 1)
            if len(proved.apart) > _MOST_KEYS:
                proved.must_not.update(range(len(base.kinds)))
            self.changes += 1
            return
        self._trials.pop(key, None)
        self._barred.add(key)
        self._tries &= bool(self._proved) or len(self._barred) < _BARRED_AT_FIRST
        self.changes += 1

    def bar_guilty(
        self, members: Sequence[Answered], differ: Callable[[Sequence[Answered]], bool]
    ) -> list[Answered]:
        """Bar those of requests, which did not get together what each got alone, that are the
        reason; return the others.

        Args:
            differ: Tells whether some that lack the same values differ without the others.
        """
        some: dict[frozenset[int], list[Answered]] = {}
        for member in members:
            some.setdefault(self.standing(key_of(member)).untried, []).append(member)
        guilty = [columns for columns in some if len(some) > 1 and differ(some[columns])]
        if not guilty:
            self.bar(members)
            return []
        for columns in guilty:
            self.bar(some.pop(columns))
        return [member for alike in some.values() for member in alike]

    def _bar_beside(self, proved: _Proved, columns: Collection[int]) -> None:
        proved.must_not.update(columns)
        for column in columns:
            proved.trials.pop(column, None)

    def drop(self, key: MergeKey) -> None:
        """Let no requests of a proved key, or like one, share predictions any more."""
        if self._everything:
            self.bar_all()
        elif self._proved.pop(key, None) is not None:
            self._like[key.format, key.outline].remove(key)
            self._barred.add(key)
            self.formats = frozenset(known.format for known in self._proved)
            self.changes += 1

    def bar_all(self) -> None:
        """Let no requests share predictions any more."""
        self._everything = self._tries = False
        self._proved.clear()
        self._like.clear()
        self._trials.clear()
        self.formats = frozenset()
        self.changes += 1


def key_of(member: Answered) -> MergeKey:
    """The merge key of a request that has one."""
    key = member.request.merge_key
    assert key is not None
    return key


def _lacking(base: Sequence[Kind], kinds: Sequence[Kind]) -> frozenset[int] | None:
    """In which columns there is nothing where others have a value; None if there is another
    difference, or if that would change those others."""
    if len(base) != len(kinds):
        return None
    columns = []
    for column, (whole, kind) in enumerate(zip(base, kinds, strict=True)):
        if whole != kind:
            if kind is not _NULL or whole not in _NULLABLE:
                return None
            columns.append(column)
    return frozenset(columns)
