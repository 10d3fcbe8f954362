"""Models that answer with random numbers: workers that share one do not repeat one another, and
what the model seeded goes on in each of them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.end_to_end.faults.models import text
from tests.support.live import Live, serving
from tests.support.models import SavedModels
from tests.support.registry import Registry
from tests.support.server import Server
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.untimed]

WORKERS = 2
DRAWS = 5
# What a rehearsal draws at most, and what follows.
MOST = 1000

# Where a model's numbers come from, and what the model does to seed it.
SOURCES = {
    "random": "random.random()",
    "random.SystemRandom": "random.SystemRandom().random()",
    "a random.Random made while loading": "self.own.random()",
    "numpy.random": "numpy.random.random()",
    "a numpy generator made while loading": "self.generator.random()",
    "a numpy state made while loading": "self.state.random()",
    "uuid": "uuid.uuid4().hex",
    "secrets": "secrets.token_hex()",
}
SEEDED = {
    "random": ("random.seed(7)", "random.random()"),
    "a random.Random": ("self.own = random.Random(7)", "self.own.random()"),
    "numpy.random": ("numpy.random.seed(7)", "numpy.random.random()"),
    "a numpy generator": (
        "self.generator = numpy.random.default_rng(7)",
        "self.generator.random()",
    ),
    "a numpy state": ("self.state = numpy.random.RandomState(7)", "self.state.random()"),
    "both, and it draws": (
        "random.seed(7); numpy.random.seed(7); random.random(); numpy.random.random()",
        "random.random() + numpy.random.random()",
    ),
}
_PREAMBLE = "import os, random, secrets, uuid\nimport numpy"
_MAKES_ALL = """
    self.own = random.Random()
    self.generator = numpy.random.default_rng()
    self.state = numpy.random.RandomState()
"""


@pytest.fixture(scope="module")
def live(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels
) -> Iterator[Live]:
    """A server whose workers share the model."""
    directory = tmp_path_factory.mktemp("random")
    with serving(directory, registry, saved, "random", WORKERS=str(WORKERS)) as live:
        yield live


def serve(live: Live, load: str, draw: str) -> None:
    """Have a model serve that answers each request with its process id and a number."""
    predict = f"return [f'{{os.getpid()}} {{{draw}}}' for _ in model_input.text]"
    live.serve(live.saved.save(predict, load=load, preamble=_PREAMBLE))


def drawn(server: Server) -> dict[int, list[str]]:
    """The first numbers that each worker answers with, by its process id."""
    wait_until(lambda: len(server.working()) == WORKERS, "the workers are there")
    numbers: dict[int, list[str]] = {pid: [] for pid in server.working()}

    def ask() -> bool:
        (answer,) = server.predict(text("draw")).json["predictions"]
        pid, number = answer.split()
        numbers[int(pid)].append(number)
        return all(len(drawn) >= DRAWS for drawn in numbers.values())

    wait_until(ask, "each worker has answered")
    return {pid: drawn[:DRAWS] for pid, drawn in numbers.items()}


def drawn_by_one_more(server: Server) -> list[str]:
    """Kill a worker, and return the first numbers of the one that comes in its place."""
    before = server.working()
    os.kill(min(before), signal.SIGKILL)
    wait_until(lambda: len(server.working() - before) == 1, "it is replaced")
    (new,) = server.working() - before
    return drawn(server)[new]


@pytest.mark.parametrize("draw", SOURCES.values(), ids=SOURCES.keys())
def test_workers_do_not_repeat_one_another(live: Live, draw: str) -> None:
    serve(live, _MAKES_ALL, draw)
    assert live.server.info()["workers_share"] is True

    first = [number for numbers in drawn(live.server).values() for number in numbers]
    later = [number for _ in range(2) for number in drawn_by_one_more(live.server)]

    assert len(set(first + later)) == len(first) + len(later)


@pytest.mark.parametrize(("seed", "draw"), SEEDED.values(), ids=SEEDED.keys())
def test_a_model_that_seeds_itself_answers_as_it_does_where_it_is_loaded(
    live: Live, seed: str, draw: str
) -> None:
    serve(live, seed, draw)
    assert live.server.info()["workers_share"] is True

    workers = [*drawn(live.server).values(), drawn_by_one_more(live.server)]

    stream = numbers_after(seed, draw)
    for numbers in workers:
        # Some have been drawn in the rehearsal.
        assert numbers[0] in stream
        begin = stream.index(numbers[0])
        assert numbers == stream[begin : begin + DRAWS]


def numbers_after(seed: str, draw: str) -> list[str]:
    """The first numbers that a process draws which has run this code."""
    code = f"{_PREAMBLE}\nclass self: pass\n{seed}\nfor _ in range({MOST}): print({draw})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.split()
