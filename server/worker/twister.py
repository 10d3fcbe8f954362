"""The Mersenne Twister (MT19937), which Python's and NumPy's global generators are."""

import random
from collections.abc import Iterable, Iterator
from itertools import islice

# The 624 words of 32 bits of a generator's state, without the place in them. Drawing leaves a block
# as it is, and after 624 words computes the next from it.
Block = tuple[int, ...]

# How far to follow the system's seeds, all together; takes 4 µs for each.
_MOST_BLOCKS = 10_000

# Of a block's bits; enough to tell it from any other.
_IDENTIFYING = (1 << 128) - 1


def traced(blocks: Iterable[Block], starts: Iterable[Block]) -> set[Block]:
    """Those of the blocks that come of a seed of the system's, by drawing alone.

    Anyone can set a state, so it alone tells where it came from. One that can't be traced within
    10,000 blocks of a seed of the system's, divided among those, is the model's own.

    Args:
        blocks: What generators are at.
        starts: What the system's seeds have made, and any that came of it.
    """
    identities = {next(_following(block)): block for block in blocks}
    rest = set(identities)
    walks = [_following(start) for start in set(starts)]
    # At least to the block after a start, from which the first number is drawn.
    most = max(2, _MOST_BLOCKS // max(1, len(walks)))
    # Side by side, since most have drawn little.
    for step in islice(zip(*walks, strict=True), most):
        rest.difference_update(step)
        if not rest:
            break
    return {block for identity, block in identities.items() if identity not in rest}


def _following(block: Block) -> Iterator[int]:
    """What identifies this block, and those that follow as a generator draws; without end."""
    twister = random.Random()  # noqa: S311
    twister.setstate((3, (*block, 0), None))
    while True:
        yield twister.getrandbits(624 * 32) & _IDENTIFYING
