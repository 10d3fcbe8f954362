"""Which of NumPy's random number generators the system has seeded, and new seeds for those.

NumPy takes its entropy from `secrets.randbits`; a seed sequence keeps it, and a generator its seed
sequence. So what is asked of that function while a model loads tells which seeds are the
system's; and as a state can be set as well, it has to be one that comes of such a seed.
"""

import contextlib
import gc
import secrets
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, islice
from typing import Any

from .twister import blocks

# So much may be drawn of a generator of kind MT19937 before it is taken for one that was seeded
# otherwise, in blocks of 624 words: where nothing has called `seed`, where something has, and of
# each other seed of the system's that it could have been given.
_MOST_BLOCKS = 10_000
_FEW_BLOCKS = 1_000
_BLOCKS_OF_OTHERS = 100
# As many words of one of kind SFC64.
_MOST_WORDS = 10_000_000
# How many of the system's seeds are tried for states whose origin isn't known.
_MOST_SEEDS = 64

_MODULE = "numpy.random.bit_generator"
# Attribute of a `RandomState`; public only in `Generator`, which keeps no state of its own.
_GENERATOR = "_bit_generator"


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
            if watched:
                self._entropy.add(bits)
            return bits

        secrets.randbits = randbits
        # Has a name of its own for it; if it is imported only now, takes the one above.
        with_name: Any = sys.modules.get(_MODULE)
        if with_name is not None:
            with_name.randbits = randbits
        try:
            yield
        finally:
            watched = False
            secrets.randbits = original
            with_name = sys.modules.get(_MODULE)
            if with_name is not None:
                with_name.randbits = original

    def settle(self) -> None:
        """Find those that the system has seeded."""
        if _MODULE not in sys.modules:
            return
        # Without new entropy nothing new was seeded by the system.
        found = _find_objects() if self._entropy else []
        self._sequences = [each for each in found if self._from_system(each)]
        states = {id(each): each for each in (*found, _global()) if hasattr(each, _GENERATOR)}
        generators = {id(each): each for each in found if _kind(each) is not None}
        for state in states.values():
            generators[id(state._bit_generator)] = state._bit_generator
        for generator in self._system_seeded(generators.values()):
            sequence = _sequence(generator)
            self._renewals.append(
                _Renewal(
                    generator,
                    sequence if self._from_system(sequence) else None,
                    [each for each in states.values() if each._bit_generator is generator],
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

    def _system_seeded(self, generators: Collection[Any]) -> Iterator[Any]:
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

    def _twisters_of_system(self, generators: Collection[Any]) -> Iterator[Any]:
        """All are looked for at once in what follows from each seed."""
        wanted: dict[int, list[Any]] = {}
        for generator in generators:
            wanted.setdefault(next(blocks(_block(generator), 1)), []).append(generator)
        for start, most in self._starts(generators):
            for block in blocks(start, most):
                if not wanted:
                    return
                yield from wanted.pop(block, ())

    def _starts(self, generators: Collection[Any]) -> Iterator[tuple[Sequence[int], int]]:
        """The states that seeds of the system's lead to, and how far to follow each."""
        if self._start is not None:
            never_seeded = _sequence(_global()._bit_generator) is not None
            yield self._start, _MOST_BLOCKS if never_seeded else _FEW_BLOCKS
        own = [each for each in map(_sequence, generators) if self._from_system(each)]
        for sequence in own:
            yield _block(_numpy().MT19937(sequence)), max(_MOST_BLOCKS // len(own), 1)
        for sequence in self._roots():
            yield _block(_numpy().MT19937(sequence)), _BLOCKS_OF_OTHERS


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
    # A loop in C: a model can consist of millions. By id, as a class need not be hashable.
    ids = {id(kind) for kind in kinds}
    return list(compress(objects, map(ids.__contains__, map(id, map(type, objects)))))


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
