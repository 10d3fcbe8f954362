"""How many rows a prediction takes best."""

# For as long as nothing is known.
_AT_FIRST = 16
# A request may wait in a batch for that many times what it takes alone, and so much longer.
_TIMES_ALONE = 2
_LONGER_SECONDS = 0.010
# More rows must bring more of them in the same time, by so much.
_GAIN = 1.05
# What took longer than thought may have been held up: it counts for less than what took less time.
_WEIGHT_LONGER = 0.1
_WEIGHT_SHORTER = 0.3
# So that a size which seemed too large is tried again now and then.
_FORGETTING = 0.998


class BatchSizes:
    """Learns from what predictions took.

    Args:
        most: Most rows in a prediction.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # Seconds by the power of two that the number of rows comes up to.
        self._seconds: dict[int, float] = {}

    @property
    def alone(self) -> float | None:
        """Seconds that one row takes alone; None where that has not been seen."""
        return self._seconds.get(0)

    def note(self, rows: int, seconds: float) -> None:
        """Take a prediction into account."""
        power = (rows - 1).bit_length()
        known = self._seconds.get(power)
        if known is None:
            self._seconds[power] = seconds
            return
        weight = _WEIGHT_LONGER if seconds > known else _WEIGHT_SHORTER
        self._seconds[power] = known + weight * (seconds - known)
        for other in self._seconds:
            if other > power:
                self._seconds[other] *= _FORGETTING

    def best(self) -> int:
        """Return the number of rows from which on more of them bring nothing, or would keep
        requests waiting for too long; the next larger one where that is not known yet."""
        if not self._seconds:
            return min(_AT_FIRST, self._most)
        powers = sorted(self._seconds)
        longest = _TIMES_ALONE * self._seconds[powers[0]] + _LONGER_SECONDS
        best, best_rate = powers[0], 1 / self._seconds[powers[0]] * (1 << powers[0])
        for power in powers[1:]:
            rate = (1 << power) / self._seconds[power]
            if self._seconds[power] > longest:
                break
            if rate >= _GAIN * best_rate:
                best, best_rate = power, rate
        if best + 1 not in self._seconds and self._foreseen(best + 1) <= longest:
            best += 1
        return min(1 << best, self._most)

    def _foreseen(self, power: int) -> float:
        """What so many rows will take, as far as half of them, and a quarter, tell."""
        half = self._seconds[power - 1]
        quarter = self._seconds.get(power - 2, 0.0)
        return half + 2 * max(half - quarter, 0.0) if quarter else 2 * half

    def share(self, rows: int) -> int:
        """How many of so many rows go into the next prediction: they are cut evenly."""
        predictions = -(-rows // self.best())
        return -(-rows // predictions)
