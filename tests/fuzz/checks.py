"""What must hold whatever is sent to a server, or written by its model."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.fuzz.requests import Pipeline
from tests.fuzz.ways import talk
from tests.support.live import serving
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.puppet import save_puppet, told_to_answer, told_to_write
from tests.support.registry import Registry
from tests.support.server import Server
from tests.support.waiting import wait_until

MEBIBYTE = 1024 * 1024
_MOST_MEMORY = 512 * MEBIBYTE
_PROMPT_SECONDS = 5.0
# Seconds between the pieces of a pipeline, and for one server to catch up with the other.
_ATTEMPTS = ((0.001, 0.5), (0.01, 1.0), (0.05, 2.0), (0.2, 6.0))
# Errors that a model, or a client, can bring about.
_EXPECTED = {
    "answer_refused",
    "prediction_failed",
    "reload_failed",
    "template_not_replaced",
    "version_given_up",
    "worker_not_replaced",
    "worker_protocol_error",
}


class Checked:
    """A server that is looked at after each input.

    Args:
        server: The server.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self._mark = self.server.mark()

    def expect_well(self) -> None:
        """The event loop turns, nothing has crashed, and no memory has gone."""
        started = time.monotonic()
        assert self.server.get("/livez").status == 200
        assert time.monotonic() - started < _PROMPT_SECONDS
        events = self.server.events[self._mark :]
        self._mark += len(events)
        wrong = [
            e.fields
            for e in events
            if e["level"] in ("error", "critical") and e["event"] not in _EXPECTED
        ]
        assert wrong == []
        assert psutil.Process(self.server.pid).memory_info().rss < _MOST_MEMORY


class Ways:
    """The same version behind the short way, and behind aiohttp's."""

    def __init__(self, short: Checked, ordinary: Checked) -> None:
        self._servers = (short, ordinary)

    def check(self, pipeline: Pipeline) -> None:
        """Both answer the same to a pipeline, and are well."""
        ports = [each.server.port for each in self._servers]
        for pause, patience in _ATTEMPTS:
            # Where a piece ends may count, and the kernel joins what comes in quick succession.
            short, ordinary = talk(ports, pipeline, pause, patience)
            if short == ordinary:
                break
        else:
            raise AssertionError(f"the short way: {short}\nthe ordinary one: {ordinary}")
        for each in self._servers:
            each.expect_well()


class Puppet:
    """A server whose model writes to it what it is told to.

    Args:
        checked: The server.
        plan: What the model does as it loads.
    """

    def __init__(self, checked: Checked, plan: Path) -> None:
        self._checked = checked
        self._server = checked.server
        self._plan = plan

    def check_predicting(self, data: bytes) -> None:
        """What a worker writes besides its answer costs no more than that worker."""
        self._server.predict(told_to_write(data))
        self._expect_to_serve()

    def check_answering(self, data: bytes) -> None:
        """What it writes in place of an answer costs no more either."""
        self._server.predict(told_to_answer(data))
        self._expect_to_serve()

    def check_loading(self, data: bytes) -> None:
        """What a version writes as it loads costs no more than that version."""
        self._plan.write_text(json.dumps({"write": data.hex(), "seconds": 0}))
        try:
            assert self._server.reload().status in (200, 500)
        finally:
            self._plan.unlink()
        for path in ("/info", "/openapi.json", "/metrics"):
            assert self._server.get(path).status == 200
        assert self._server.get("/health").status in (200, 503)
        answer = self._server.reload()
        assert answer.status == 200, answer.json
        self._expect_to_serve()

    def _expect_to_serve(self) -> None:
        def serves() -> bool:
            answer = self._server.predict(TEXT_REQUEST)
            return answer.status == 200 and answer.json == {"predictions": ["done"]}

        self._checked.expect_well()
        wait_until(serves, "the next request is answered")


@contextmanager
def both_ways(directory: Path, registry: Registry, saved: SavedModels) -> Iterator[Ways]:
    """A server that takes the short way, and one that leaves all to aiohttp."""
    scratches = [directory / "short", directory / "ordinary"]
    for scratch in scratches:
        scratch.mkdir()
    settings = {
        "MLFLOW_TRACKING_URI": registry.uri,
        "MAX_BODY_BYTES": "1000000",
        # MLflow's messages list what a set holds.
        "PYTHONHASHSEED": "0",
    }
    with serving(scratches[0], registry, saved, "fuzz", **settings) as live:
        # Of the same model, which some answers name; the short way writes no access log.
        settings |= {"MODEL_URI": "models:/fuzz/Production", "ACCESS_LOG": "1"}
        ordinary = Server(scratches[1], **settings)
        try:
            ordinary.wait_healthy()
            yield Ways(Checked(live.server), Checked(ordinary))
        finally:
            ordinary.close()


@contextmanager
def puppet(directory: Path, registry: Registry, saved: SavedModels) -> Iterator[Puppet]:
    """A server with such a model."""
    plan = directory / "plan.json"
    model = save_puppet(saved, plan)
    settings = {
        "REQUEST_TIMEOUT_SECONDS": "2",
        "LOAD_TIMEOUT_SECONDS": "10",
        "WORKERS": "2",
        # It would do again what it was told to.
        "REHEARSAL_REQUESTS": "0",
    }
    with serving(directory, registry, saved, "fuzz-puppet", model, **settings) as live:
        yield Puppet(Checked(live.server), plan)
