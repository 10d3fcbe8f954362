"""What several benchmarks share: checkouts, models, servers and loads."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.client import get, post
from benchmarks.errors import BenchmarkError
from benchmarks.eventlog import EventLog
from benchmarks.models import Registry, Traits
from benchmarks.openloop import OpenLoop
from benchmarks.openloop import Running as RunningLoad
from benchmarks.paths import REPOSITORY
from benchmarks.processes import free_port
from benchmarks.samples import Samples
from benchmarks.servers import Competitor, Running, Site, this_server

_START_SECONDS = 120.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Checkout:
    """A repository of this server, and what results call it."""

    title: str
    directory: Path

    @property
    def commit(self) -> str:
        """Its commit, shortened; `+` for changes since. Empty where there is no git to tell."""
        command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
        result = subprocess.run(
            command, cwd=self.directory, capture_output=True, text=True, check=False
        )
        return result.stdout.strip()

    def require(self) -> None:
        """Raise BenchmarkError unless it can be run."""
        python = self.directory / ".venv/bin/python"
        if self.directory != REPOSITORY and not python.exists():
            raise BenchmarkError(f"there is no {python}: run `make install` in {self.directory}")


@dataclass(frozen=True, slots=True)
class Server:
    """A server that serves, and its log."""

    running: Running
    log: EventLog

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.running.port

    def info(self) -> dict[str, Any]:
        """What `/info` answers."""
        return info(self.port)

    def concurrency(self) -> dict[str, Any]:
        """How many predictions a worker runs at a time, and why; empty before there was such a
        thing."""
        found: dict[str, Any] = self.info().get("concurrency", {})
        return found

    def reload(self) -> None:
        """Swap, and return when the new release serves."""
        post(self.port, "/reload", None)

    def kill_worker(self) -> float:
        """Kill a worker that serves; returns when, by the monotonic clock."""
        family = self.running.process.pids()
        pid = next(pid for pid in self._serving() if pid in family)
        os.kill(pid, signal.SIGKILL)
        return time.monotonic()

    def wait_for_workers(self, count: int) -> None:
        """Return when that many serve."""
        deadline = time.monotonic() + _START_SECONDS
        while len(self._serving()) < count:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"there are no {count} workers after {_START_SECONDS:g} s")
            time.sleep(_POLL_SECONDS)

    def _serving(self) -> list[int]:
        return [w["pid"] for w in self.info()["workers"] if w["state"] in ("idle", "busy")]


class Ground:
    """The registry, and a directory for each server.

    Args:
        directory: For all files.
    """

    def __init__(self, directory: Path) -> None:
        self.registry = Registry(directory)
        self._directory = directory
        self._count = 0

    def add(self, name: str, traits: Traits, versions: int = 1) -> None:
        """Register a model, and put its first version to Production."""
        self.registry.add_configured(name, traits, versions)
        self.registry.promote(name, 1)

    @contextmanager
    def running(self, kind: Competitor, name: str) -> Iterator[Running]:
        """A server of any kind that needs nothing of its own, for the Production version of a
        model; ready."""
        home = self.path("server")
        home.mkdir()
        site = Site(
            port=free_port(),
            directory=home,
            programs=Path(),
            tracking_uri=self.registry.uri,
            model_uri=f"models:/{name}/Production",
            model_path=Path(),
        )
        with Running(kind, site) as running:
            running.wait_until_ready()
            yield running

    @contextmanager
    def serving(
        self,
        checkout: Checkout,
        name: str,
        workers: int = 1,
        python: Path | None = None,
        **settings: str,
    ) -> Iterator[Server]:
        """This server with the Production version of a model, ready; run by a Python of its own
        where one is given."""
        settings |= {"POLL_INTERVAL_SECONDS": "0", "WORKERS": f"{workers}"}
        kind = this_server(checkout.directory, python=python, **settings)
        with self.running(kind, name) as running:
            log = EventLog(running.process.log)
            try:
                server = Server(running, log)
                server.wait_for_workers(workers)
                yield server
            finally:
                log.close()

    def load(
        self,
        server: Server,
        texts: Sequence[str],
        *,
        rate: float,
        seconds: float,
        connections: int = 16,
    ) -> RunningLoad:
        """Requests for one text each, in turns; see `OpenLoop`."""
        bodies = self.bodies({"instances": [text]} for text in texts)
        output = str(self.path("samples.json"))
        return RunningLoad(
            OpenLoop(server.port, rate, seconds, str(bodies), output, connections=connections)
        )

    def closed_loop(
        self, port: int, body: Any, connections: int, seconds: float, patience: float = 10.0
    ) -> Samples:
        """What became of one body that each connection posts as often as it is answered."""
        load = OpenLoop(
            port,
            0,
            seconds,
            str(self.bodies([body])),
            str(self.path("samples.json")),
            connections=connections,
            patience_seconds=patience,
        )
        with RunningLoad(load) as running:
            return running.samples()

    def bodies(self, values: Iterable[Any]) -> Path:
        """A file with each value as JSON on a line of its own."""
        path = self.path("bodies.jsonl")
        path.write_text("".join(f"{json.dumps(value)}\n" for value in values))
        return path

    def path(self, name: str) -> Path:
        """A path that nothing has."""
        self._count += 1
        return self._directory / f"{self._count}-{name}"


def info(port: int) -> dict[str, Any]:
    """What `/info` of the server at a port answers.

    Raises:
        BenchmarkError: nothing.
    """
    body = get(port, "/info")
    if body is None:
        raise BenchmarkError("/info was not answered")
    known: dict[str, Any] = json.loads(body)
    return known


def good_texts(count: int) -> list[str]:
    """Texts that the model in configured.py answers."""
    return [f"text {number}" for number in range(count)]


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, flush=True)
