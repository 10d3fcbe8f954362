"""Which requests share predictions, as far as this worker knows."""

from collections.abc import Hashable
from dataclasses import dataclass, field

from ..protocol import AnswerKind
from .together import Differs, widest

# A key is proved by as many agreeing predictions, of as many requests.
_PREDICTIONS = 8
_REQUESTS = 32
# Keys hold what clients chose: names of columns, and parameters.
_MOST_KEYS = 256


@dataclass(slots=True)
class _Trial:
    kinds: set[AnswerKind] = field(default_factory=set)
    predictions: int = 0
    requests: int = 0


class MergeKeys:
    """The merge keys whose requests give the same answers together as alone.

    A key that is not known yet is on trial, provided that others are proved: for a model that
    never treats rows by themselves, trials would be a waste.

    Args:
        everything: Whether all keys count as proved, whatever the model answers.
    """

    def __init__(self, *, everything: bool = False) -> None:
        self._proved: dict[Hashable, AnswerKind] = {}
        self._barred: set[Hashable] = set()
        self._trials: dict[Hashable, _Trial] = {}
        self._everything = everything

    @property
    def any_merges(self) -> bool:
        """Whether there are requests that share predictions."""
        return self._everything or bool(self._proved)

    def merges(self, key: Hashable) -> bool:
        """Whether requests of this key share predictions."""
        return self._everything or key in self._proved

    def on_trial(self, key: Hashable) -> bool:
        """Whether it is still to be seen if requests of this key may share predictions."""
        if self._everything or not self._proved or key in self._proved or key in self._barred:
            return False
        return len(self._proved) + len(self._barred) < _MOST_KEYS

    def fits(self, key: Hashable, kind: AnswerKind) -> bool:
        """Whether a shared answer is of the kind that was right for this key before.

        One row may turn a whole column into another type: a missing value integers into floats,
        a text numbers into texts.
        """
        return self._everything or kind <= self._proved[key]

    def prove(self, key: Hashable, kind: AnswerKind) -> None:
        """Let requests of this key share predictions.

        Args:
            key: Their merge key.
            kind: What kind of answer was right for them.
        """
        self._trials.pop(key, None)
        self._proved[key] = kind

    def agree(self, key: Hashable, kind: AnswerKind, requests: int) -> None:
        """Note that a prediction of so many requests on trial gave what each got alone."""
        trial = self._trials.pop(key, None) or _Trial()
        trial.kinds.add(kind)
        trial.predictions += 1
        trial.requests += requests
        if trial.predictions < _PREDICTIONS or trial.requests < _REQUESTS:
            self._trials[key] = trial
            if len(self._trials) > _MOST_KEYS:
                self._trials.pop(next(iter(self._trials)))
            return
        try:
            self.prove(key, widest(trial.kinds))
        except Differs:
            self.bar(key)

    def bar(self, key: Hashable) -> None:
        """Never let requests of this key share a prediction again."""
        self._trials.pop(key, None)
        self._proved.pop(key, None)
        self._barred.add(key)

    def bar_all(self) -> None:
        """Let no requests share predictions any more."""
        self._everything = False
        self._proved.clear()
        self._trials.clear()
