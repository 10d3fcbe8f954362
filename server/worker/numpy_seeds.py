"""Which of NumPy's random number generators the system has seeded, and new seeds for those.

NumPy takes its entropy from `secrets.randbits`; a seed sequence keeps it, and a generator its seed
sequence. So what is asked of that function while a model loads tells which seeds are the
system's; and as a state can be set as well, it has to be one that comes of such a seed.
"""

import contextlib
import gc
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, compress, islice
from typing import Any

from .twister import blocks

# How far to follow generators of kind MT19937, in blocks of 624 words, for a state that comes of
# the system's seeds: all together where something has called `seed`, and where nothing has.
_FEW_BLOCKS = 500
_MOST_BLOCKS = 20_000
# One of kind SFC64, in words.
_MOST_WORDS = 10_000_000
# How many of the system's seeds are tried for states whose origin isn't known.
_MOST_SEEDS = 64

_ENTROPY_BITS = 64

# The last of its modules that `numpy.random` needs, and the one that asks for entropy.
_MODULE = "numpy.random.mtrand"
_ASKING = "numpy.random.bit_generator"


class NumpySeeds:
    """NumPy's global generator, and those that are made while watching."""

    def __init__(self) -> None:
        self._entropy: set[int] = set()
        self._start: tuple[int, ...] | None = None
        self._sequences: list[Any] = []
        self._renewals: list[_Renewal] = []
        # NumPy need not be there yet.
        if _MODULE in sys.modules and isinstance(_global()._bit_generator, _numpy().MT19937):
            _global().set_state(_numpy().MT19937().state)
            self._start = _block(_global()._bit_generator)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        original = secrets.randbits
        watched = True

        def randbits(k: int) -> int:
            bits = original(k)
            # Fewer could be a user's seed by chance.
            if watched and k >= _ENTROPY_BITS:
                self._entropy.add(bits)
            return bits

        _ask_for_entropy(randbits)
        try:
            yield
        finally:
            watched = False
            _ask_for_entropy(original)

    def settle(self) -> None:
        """Find those that the system has seeded."""
        if _MODULE not in sys.modules:
            return
        # Without new entropy nothing new was seeded by the system.
        found = _find_objects() if self._entropy else []
        self._sequences = [each for each in found if self._from_system(each)]
        found += [_global(), _global()._bit_generator]
        objects = {id(each): each for each in found}.values()
        states = [each for each in objects if isinstance(each, _numpy().RandomState)]
        generators = [each for each in objects if _kind(each) is not None]
        for generator in self._system_seeded(generators):
            sequence = _sequence(generator)
            self._renewals.append(
                _Renewal(
                    generator,
                    sequence if self._from_system(sequence) else None,
                    [each for each in states if each._bit_generator is generator],
                )
            )

    def renew(self) -> None:
        """Give those new seeds, in place, since the model refers to them."""
        for sequence in self._sequences:
            _numpy().SeedSequence.__init__(
                sequence,
                secrets.randbits(128),
                spawn_key=sequence.spawn_key,
                pool_size=sequence.pool_size,
                n_children_spawned=sequence.n_children_spawned,
            )
        for renewal in self._renewals:
            renewal.carry_out()

    def _from_system(self, sequence: Any) -> bool:
        entropy = getattr(sequence, "entropy", None)
        return isinstance(entropy, int) and entropy in self._entropy

    def _system_seeded(self, generators: Sequence[Any]) -> Iterator[Any]:
        """Those whose state comes of a seed of the system's."""
        twisters = []
        for generator in generators:
            sequence = _sequence(generator)
            if isinstance(generator, _numpy().MT19937):
                if (
                    sequence is None  # `seed` has been called
                    or self._from_system(sequence)
                    or generator is _global()._bit_generator
                ):
                    twisters.append(generator)
            elif self._from_system(sequence) and (
                _same_stream(generator, sequence)
                or any(_same_stream(generator, each) for each in self._roots())
            ):
                yield generator
        yield from self._twisters_of_system(twisters)

    def _roots(self) -> Iterator[Any]:
        return map(_numpy().SeedSequence, islice(self._entropy, _MOST_SEEDS))

    def _twisters_of_system(self, generators: Sequence[Any]) -> Iterator[Any]:
        """Those of kind MT19937. All are looked for at once in what follows from each seed."""
        wanted: dict[int, list[Any]] = {}
        for generator in generators:
            wanted.setdefault(_identity(generator), []).append(generator)
        origins = {id(each): self._origin(each) for each in generators}
        # The global one may have been given back a state of before `seed`.
        starts = [*origins.values(), self._start]
        starts.extend(_block(_numpy().MT19937(each)) for each in self._roots())
        known = list(dict.fromkeys(filter(None, starts)))
        # Most have drawn little.
        for most in (2, _FEW_BLOCKS // max(len(known), 1)):
            for start in known:
                for block in blocks(start, most if wanted else 0):
                    yield from wanted.pop(block, ())
        # Where nothing has called `seed`, it is rather one that has drawn much.
        rest = [each for each in chain(*wanted.values()) if origins[id(each)]]
        for generator in rest:
            origin = origins[id(generator)] or ()
            if _identity(generator) in blocks(origin, _MOST_BLOCKS // len(rest)):
                yield generator

    def _origin(self, generator: Any) -> tuple[int, ...] | None:
        """The state that a generator of kind MT19937 began with; None where `seed` was called."""
        if (sequence := _sequence(generator)) is None:
            return None
        if self._from_system(sequence):
            return _block(_numpy().MT19937(sequence))
        return self._start


@dataclass(frozen=True)
class _Renewal:
    """A bit generator, its seed sequence as far as that is the system's, and each `RandomState`
    that draws from it."""

    generator: Any
    sequence: Any
    states: list[Any]

    def carry_out(self) -> None:
        kind = _kind(self.generator)
        assert kind is not None
        # A subclass takes its own name only.
        state = {**kind(self.sequence).state, "bit_generator": type(self.generator).__name__}
        self.generator.state = state
        for each in self.states:  # which may hold the second of two normal numbers
            each.set_state(state)


def _find_objects() -> list[Any]:
    """What NumPy's generators consist of, among all objects that are not frozen."""
    numpy = _numpy()
    kinds: set[Any] = set()
    new = {numpy.BitGenerator, numpy.RandomState, numpy.SeedSequence}
    while new:
        kinds |= new
        new = {subclass for kind in new for subclass in kind.__subclasses__()} - kinds
    objects = gc.get_objects()
    # In C: a model can consist of millions.
    try:
        return list(compress(objects, map(kinds.__contains__, map(type, objects))))
    except Exception:  # there is a class that can't be hashed
        ids = {id(kind) for kind in kinds}
        return list(compress(objects, map(ids.__contains__, map(id, map(type, objects)))))


def _ask_for_entropy(function: Callable[[int], int]) -> None:
    secrets.randbits = function  # type: ignore[assignment]
    # NumPy has a name of its own for it. Imported only later, it takes the one above.
    asking: Any = sys.modules.get(_ASKING)
    if asking is not None:
        asking.randbits = function


def _numpy() -> Any:
    return sys.modules["numpy.random"]


def _global() -> Any:
    """The `RandomState` whose methods the functions of `numpy.random` are."""
    return sys.modules["numpy.random.mtrand"]._rand


def _kind(generator: Any) -> type[Any] | None:
    """NumPy's class of a bit generator; None of anything else."""
    for name in ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"):
        kind: type[Any] | None = getattr(_numpy(), name, None)
        if kind is not None and isinstance(generator, kind):
            return kind
    return None


def _sequence(generator: Any) -> Any:
    """Its seed sequence, public since NumPy 1.25; None where `seed` was called."""
    return getattr(generator, "seed_seq", None) or getattr(generator, "_seed_seq", None)


def _block(generator: Any) -> tuple[int, ...]:
    words: list[int] = generator.state["state"]["key"].tolist()
    return tuple(words)


def _identity(generator: Any) -> int:
    return next(blocks(_block(generator), 1))


def _same_stream(generator: Any, sequence: Any) -> bool:
    """Whether a generator other than MT19937 has, by drawing alone, come from this seed."""
    kind = _kind(generator)
    assert kind is not None
    origin = kind(sequence)
    now, then = generator.state["state"], origin.state["state"]
    if "inc" in now:  # PCG64 steps through all states there are with one increment
        return bool(now["inc"] == then["inc"])
    if "key" in now:  # Philox encrypts a counter
        return bool((now["key"] == then["key"]).all())
    # SFC64 counts its steps in the last word.
    steps = int(now["state"][3]) - int(then["state"][3])
    if not 0 <= steps <= _MOST_WORDS:
        return False
    origin.random_raw(steps, output=False)
    return bool((now["state"] == origin.state["state"]["state"]).all())
