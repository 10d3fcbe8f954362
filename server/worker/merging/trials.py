"""Seeing from live requests whether they may share predictions."""

import random
import time
from collections.abc import Sequence

from .. import logs
from ..frames import TRIED_AT_A_TIME
from ..protocol import Protocol
from .merge_keys import MergeKeys
from .sizes import BatchSizes
from .together import Answered, Differs, compare

# Of the worker's time, and so much at once after it had no reason to try anything for a while.
_SHARE = 0.05
_SECONDS_AT_ONCE = 0.5
# Whoever comes next waits for a trial: where one row takes longer than this, merging is not tried.
_SLOWEST_SECONDS = 0.25


class Trials:
    """Predicts requests, each of which has been answered alone, once more together.

    Args:
        protocol: Predicts.
        keys: Hears what came of it.
        sizes: How long predictions take.
    """

    def __init__(self, protocol: Protocol, keys: MergeKeys, sizes: BatchSizes) -> None:
        self._protocol = protocol
        self._keys = keys
        self._sizes = sizes
        self._chance = random.Random(3)  # noqa: S311  # any order will do
        self._credit = _SECONDS_AT_ONCE
        self._counted = time.monotonic()

    def most(self) -> int:
        """How many requests may go into a trial now; 0 if there is to be none."""
        if not self._keys.any_tried or self._left() <= 0:
            return 0
        if (self._sizes.alone or 0.0) > _SLOWEST_SECONDS:
            return 0
        # Few, so that a key is proved within one large batch, and the rest of that is merged.
        return min(TRIED_AT_A_TIME, max(self._sizes.best(), 2))

    def hold(self, members: Sequence[Answered]) -> bool:
        """Try requests, all of one key or all like one that is proved; return whether there was
        anything to be learnt from them."""
        if not (rows := self._beside_others(members)):
            self._keys.meet(members[0])
            return False
        started = time.monotonic()
        try:
            kind = compare(self._protocol, rows)
        except Differs as difference:
            logs.log.debug("merging barred: %s", difference)
            self._keys.bar_guilty(members, self._differ)
        else:
            self._sizes.note(len(rows), time.monotonic() - started)
            self._keys.agree(members, kind, len(rows))
        finally:
            self._credit -= time.monotonic() - started
        return True

    def _differ(self, members: Sequence[Answered]) -> bool:
        try:
            compare(self._protocol, self._beside_others(members) or members)
        except Differs:
            return True
        return False

    def _beside_others(self, members: Sequence[Answered]) -> list[Answered]:
        """These, and others that they are tried with, in any order; none if nothing is to be learnt
        from it."""
        if not (others := self._others(members, max(self._sizes.best(), 2))):
            return []
        rows = [*members, *others]
        self._chance.shuffle(rows)
        return rows

    def _others(self, members: Sequence[Answered], most: int) -> list[Answered]:
        """Rows that these are tried with: others than they are, and the same a second time where
        these are different already; none if there is nothing to be learnt."""
        rows = {member.row for member in members}
        witnesses = [w for w in self._keys.witnesses(members[0]) if w.row not in rows]
        if not witnesses and len(rows) == 1:
            # What looks across rows may well leave equal ones as they are.
            return []
        return [*witnesses, *reversed(members)][: max(most - len(members), 1)]

    def _left(self) -> float:
        now = time.monotonic()
        earned = _SHARE * (now - self._counted)
        self._counted = now
        self._credit = min(self._credit + earned, _SECONDS_AT_ONCE)
        return self._credit
