"""Which of NumPy's random number generators the system has seeded, and new seeds for those.

NumPy takes its entropy from `secrets.randbits`: what is asked of it while a model loads tells which
seeds are the system's. A generator's state tells whether it comes of one, as anyone can set it: by
PCG64's increment and Philox's key, which drawing leaves as they are, and by what of MT19937 can be
`traced`. Nothing of SFC64 stays, so there the seed sequence tells: one that was made without a seed
is the system's, even if its state was set later.
"""

import contextlib
import gc
import secrets
import sys
from collections.abc import Callable, Iterator
from itertools import compress
from typing import Any, NamedTuple

from .twister import Block, traced

# The last of its modules that `numpy.random` needs, and the one that asks for entropy.
_MODULE = "numpy.random.mtrand"
_ASKING = "numpy.random.bit_generator"


class NumpySeeds:
    """NumPy's global generator, and those that are made while watching."""

    def __init__(self) -> None:
        self._entropy: set[int] = set()
        self._starts: list[Block] = []
        self._sequences: list[Any] = []
        self._renewals: list[_Renewal] = []
        # NumPy need not be there yet.
        if _MODULE in sys.modules and isinstance(_global()._bit_generator, _numpy().MT19937):
            _global().set_state(_numpy().MT19937().state)
            self._starts.append(_block(_global()._bit_generator))

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        original = secrets.randbits
        watched = True

        def randbits(k: int) -> int:
            bits = original(k)
            if watched and k >= 64:  # fewer could be a user's seed by chance
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
        found = [*(_find_objects() if self._entropy else []), _global(), _global()._bit_generator]
        objects = list({id(each): each for each in found}.values())
        self._sequences = [each for each in objects if self._from_system(each)]
        states = [each for each in objects if isinstance(each, _numpy().RandomState)]
        for name in ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"):
            if kind := getattr(_numpy(), name, None):  # PCG64DXSM is there since NumPy 1.21
                for each in self._by_system(kind, [e for e in objects if isinstance(e, kind)]):
                    sequence = _sequence(each) if self._from_system(_sequence(each)) else None
                    drawing = [state for state in states if state._bit_generator is each]
                    self._renewals.append(_Renewal(kind, each, sequence, drawing))

    @property
    def keeps_global(self) -> bool:
        """Whether NumPy's global generator is not among those, once `settle` has found them."""
        if _MODULE not in sys.modules:
            return False
        used = _global()._bit_generator
        return all(renewal.generator is not used for renewal in self._renewals)

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
        for kind, generator, sequence, drawing in self._renewals:
            # A subclass takes its own name only.
            state = {**kind(sequence).state, "bit_generator": type(generator).__name__}
            generator.state = state
            for each in drawing:  # which may hold the second of two normal numbers
                each.set_state(state)

    def _from_system(self, sequence: Any) -> bool:
        entropy = getattr(sequence, "entropy", None)
        return isinstance(entropy, int) and entropy in self._entropy

    def _by_system(self, kind: Any, generators: list[Any]) -> list[Any]:
        """Those of one kind that come of a seed of the system's."""
        if not generators or kind is _numpy().SFC64:
            return [each for each in generators if self._from_system(_sequence(each))]
        # `RandomState.seed()` and `jumped` leave no sequence of the seed.
        if kind is _numpy().MT19937:
            # Each seed shortens how far the others are followed, so without those of other kinds.
            left = self._entropy - {each.entropy for each in self._sequences}
            own = filter(self._from_system, map(_sequence, generators))
            seeded = map(kind, [*own, *map(_numpy().SeedSequence, left)])
            blocks = traced(map(_block, generators), [*self._starts, *map(_block, seeded)])
            return [each for each in generators if _block(each) in blocks]
        seeded = map(kind, [*self._sequences, *map(_numpy().SeedSequence, self._entropy)])
        streams = {_stream(each) for each in seeded}
        return [each for each in generators if _stream(each) in streams]


class _Renewal(NamedTuple):
    kind: Any  # NumPy's class, of which the generator can be a subclass
    generator: Any
    sequence: Any  # as far as it is the system's
    drawing: list[Any]  # each `RandomState` that draws from the generator


def _find_objects() -> list[Any]:
    """What NumPy's generators consist of, among all objects that are not frozen."""
    bases = (_numpy().BitGenerator, _numpy().RandomState, _numpy().SeedSequence)
    kinds = {id(kind) for base in bases for kind in _with_subclasses(base)}
    objects = gc.get_objects()
    # In C: a model can consist of millions. By id: a class need not be hashable.
    return list(compress(objects, map(kinds.__contains__, map(id, map(type, objects)))))


def _with_subclasses(kind: Any) -> Iterator[Any]:
    yield kind
    for each in kind.__subclasses__():
        yield from _with_subclasses(each)


def _ask_for_entropy(function: Callable[[int], int]) -> None:
    secrets.randbits = function  # type: ignore[assignment]
    # NumPy has a name of its own for it. Imported only later, it takes the one above.
    if _ASKING in sys.modules:
        vars(sys.modules[_ASKING])["randbits"] = function


def _numpy() -> Any:
    return sys.modules["numpy.random"]


def _global() -> Any:
    """The `RandomState` whose methods the functions of `numpy.random` are."""
    return sys.modules["numpy.random.mtrand"]._rand


def _sequence(generator: Any) -> Any:
    """Its seed sequence, public since NumPy 1.25; None where `seed` was called."""
    return getattr(generator, "seed_seq", None) or getattr(generator, "_seed_seq", None)


def _block(twister: Any) -> Block:
    return tuple(twister.state["state"]["key"].tolist())


def _stream(generator: Any) -> Any:
    """What drawing leaves as it is: of PCG64 the increment, of Philox the key."""
    state = generator.state["state"]
    return state["inc"] if "inc" in state else tuple(state["key"].tolist())
