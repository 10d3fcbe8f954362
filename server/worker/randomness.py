"""Random numbers after a fork: what the system had seeded is seeded anew in each process that is
forked from one that has loaded a model, what the model's code had seeded goes on from there.

So workers don't repeat one another, and a model that seeds itself while loading answers as it
would in a process that loaded it.
"""

import contextlib
import random
import sys
from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

from .numpy_seeds import NumpySeeds
from .twister import Block, traced

_SEED = random.Random.seed.__code__
_SETSTATE = random.Random.setstate.__code__


@contextlib.contextmanager
def watching_seeds() -> Iterator["Seeds"]:
    """Watch who seeds which generators meanwhile: for loading a model, in the process that will be
    forked. NumPy's and torch's global generators get new seeds first, since this process itself
    was forked from one that had them."""
    seeds = Seeds()
    with seeds._python.watching(), seeds._numpy.watching():
        yield seeds


class Seeds:
    """Which random number generators a process has, and who has seeded them: Python's, NumPy's,
    and torch's global one on the CPU."""

    def __init__(self) -> None:
        self._python = _PythonSeeds()
        self._numpy = NumpySeeds()
        _renew_torch()

    def settle(self) -> None:
        """Look up which generators are to be seeded anew; once, after loading, before the first
        fork and before `gc.freeze()`, which hides them. Nothing may be drawn after it."""
        self._python.settle()
        self._numpy.settle()

    @property
    def kept(self) -> bool:
        """Whether the model has seeded Python's or NumPy's global generator: each number that is
        drawn is missing to it then."""
        return self._python.keeps_global or self._numpy.keeps_global

    def renew(self) -> None:
        """Seed them anew; in each process that was forked after `settle`, before anything is
        drawn."""
        self._python.renew()
        self._numpy.renew()
        if _system_seeded_torch():
            _renew_torch()


class _PythonSeeds:
    """Those of class `random.Random`: the global one, and those that are made while loading.

    While watching this is the descriptor of their attribute `gauss_next`, which `seed` and
    `setstate` set, and which are seen so however the model came by them.
    """

    def __init__(self) -> None:
        # The module's functions are its methods; Python seeds it anew in each child.
        self._global: random.Random = random._inst
        self._by_system = WeakSet([self._global])
        self._restored: WeakSet[random.Random] = WeakSet()
        self._start = _block(self._global)
        self._state: Any = None
        self._to_renew: list[random.Random] = []

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        name = "gauss_next"
        setattr(random.Random, name, self)
        try:
            yield
        finally:
            delattr(random.Random, name)

    def __get__(self, generator: random.Random | None, _: type) -> Any:
        if generator is None:
            return self
        try:
            return generator.__dict__["gauss_next"]
        except KeyError:
            raise AttributeError("gauss_next") from None

    def __set__(self, generator: random.Random, value: float | None) -> None:
        generator.__dict__["gauss_next"] = value
        caller = sys._getframe(1)
        # One that can't be in such a set keeps its state.
        with contextlib.suppress(TypeError):
            if caller.f_code is _SEED:
                self._restored.discard(generator)
                if caller.f_locals[_SEED.co_varnames[1]] is None:
                    self._by_system.add(generator)
                else:
                    self._by_system.discard(generator)
            elif caller.f_code is _SETSTATE:
                self._by_system.discard(generator)
                self._restored.add(generator)

    @property
    def keeps_global(self) -> bool:
        """Whether Python's global generator is not among those, once `settle` has found them."""
        return self._state is not None

    def settle(self) -> None:
        by_system = set(self._by_system) | set(self._found_again())
        if self._global not in by_system:
            self._state = self._global.getstate()
        self._to_renew = [each for each in by_system if each is not self._global]

    def _found_again(self) -> Iterator[random.Random]:
        """Those that were given the state of one that the system had seeded: when copied, or once
        done with a seed that the model wanted for a while."""
        found = traced(map(_block, self._restored), [self._start, *map(_block, self._by_system)])
        return (each for each in self._restored if _block(each) in found)

    def renew(self) -> None:
        for generator in self._to_renew:
            random.Random.seed(generator)
        if self._state is not None:
            self._global.setstate(self._state)


def _block(generator: random.Random) -> Block:
    words: Block = random.Random.getstate(generator)[1]
    return words[:-1]


def _torchs() -> Any:
    return getattr(sys.modules.get("torch"), "default_generator", None)


def _system_seeded_torch() -> bool:
    """Whether torch has seeded its generator: with 64 bits, which users' seeds rarely need.
    Negative ones it takes modulo 2**64."""
    generator = _torchs()
    return generator is not None and 2**53 <= generator.initial_seed() < 2**64 - 2**53


def _renew_torch() -> None:
    if (generator := _torchs()) is not None:
        generator.seed()
