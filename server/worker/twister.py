"""The Mersenne Twister (MT19937), which Python's and NumPy's global generators are."""

import random
from collections.abc import Iterator, Sequence

# Of a block's 624 words of 32 bits; enough to tell it from any other.
_IDENTIFYING = (1 << 128) - 1


def blocks(block: Sequence[int], most: int) -> Iterator[int]:
    """What identifies this block of a generator's state, and those that follow as it draws.

    Drawing leaves a block as it is, and after 624 words computes the next from it. Takes 3 µs for
    each.

    Args:
        block: The state's 624 words, without the place in it.
        most: How many to give, this one among them.
    """
    twister = random.Random()  # noqa: S311
    twister.setstate((3, (*block, 0), None))
    for _ in range(most):
        yield twister.getrandbits(624 * 32) & _IDENTIFYING
