"""Running the server as people run it, and reading its log."""

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.answers import Answer
from tests.support.events import is_complete
from tests.support.waiting import wait_until

REPOSITORY = Path(__file__).parents[2]

only_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root sees descriptors and mappings of the server's processes"
)

_SETTINGS = {
    "HOST": "127.0.0.1",
    "PORT": "0",
    "POLL_INTERVAL_SECONDS": "0.2",
    "LOG_FORMAT": "json",
    # scikit-learn takes a second to import, and few tests need it.
    "PRELOAD": "pandas",
}


@dataclass(frozen=True, slots=True)
class Event:
    """A line of the log: `read_at` (seconds, monotonic) is just after it was written."""

    fields: dict[str, Any]
    read_at: float

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    def __contains__(self, name: str) -> bool:
        return name in self.fields


class Server:
    """`python -m server` in a process of its own.

    Args:
        scratch: Directory that becomes its TMPDIR.
        environment: Its settings.

    Attributes:
        command: What Python is started with.
        directory: Its working directory.
    """

    command: Sequence[str] = ("-m", "server")
    directory = REPOSITORY

    def __init__(self, scratch: Path, **environment: str) -> None:
        self.scratch = scratch
        self.lines: list[str] = []
        self.events: list[Event] = []
        self._reads = threading.Event()
        self._reads.set()
        self._has_paused = False
        self._malformed: list[str] = []
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the server
        self.process = subprocess.Popen(
            [sys.executable, *self.command],
            cwd=self.directory,
            env={**os.environ, **_SETTINGS, "TMPDIR": str(scratch), **environment},
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            # A server that signals its whole process group must not end the tests with it.
            start_new_session=True,
        )
        # For whom something goes wrong between its start and the place that closes it.
        atexit.register(self.process.kill)
        self._psutil = psutil.Process(self.process.pid)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.port = int(self.wait_for("server_started")["port"])
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._reads.wait()
            if self._has_paused and not line.endswith("\n"):
                # It has ended while nobody read the rest.
                break
            self.lines.append(line)
            try:
                fields = json.loads(line)
                complete = is_complete(fields)
            except (ValueError, TypeError, KeyError, AttributeError):
                self._malformed.append(line)
                continue
            # A line of the gateway's own must not come back as another process's output.
            if not complete or str(fields.get("message")).startswith('{"timestamp"'):
                self._malformed.append(line)
            self.events.append(Event(fields, time.monotonic()))

    def stop_reading(self) -> None:
        """Leave what it logs in its pipe, until that is full."""
        self._has_paused = True
        self._reads.clear()

    def read_on(self) -> None:
        """Read what it logs again."""
        self._reads.set()

    def mark(self) -> int:
        """A place in the log: what is logged from here on."""
        return len(self.events)

    def find(self, event: str, since: int = 0, **fields: Any) -> list[Event]:
        """The events of this name with these fields that have been logged after the mark."""
        return [
            e
            for e in self.events[since:]
            if e["event"] == event and all(e.fields.get(k) == v for k, v in fields.items())
        ]

    def wait_for(
        self, event: str, seconds: float = 60.0, *, count: int = 1, since: int = 0, **fields: Any
    ) -> Event:
        """Wait until there are `count` such events and return the last of them."""

        def found() -> list[Event] | None:
            ended = self.process.poll() is not None and not self._reader.is_alive()
            events = self.find(event, since, **fields)
            if ended and len(events) < count:
                raise AssertionError(f"ended with {self.process.returncode}: {self.errors()}")
            return events if len(events) >= count else None

        try:
            events = wait_until(found, f"{count} {event} {fields}", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None
        assert events is not None
        return events[-1]

    def wait_swapped(self, version: str, since: int = 0, **fields: Any) -> Event:
        """Wait until the version with this number serves."""
        return self.wait_for("model_swapped", since=since, new_version=f"v{version}", **fields)

    def tail(self) -> str:
        """The last lines of the log, for messages."""
        return "".join(self.lines[-25:])

    def errors(self) -> str:
        """What it has written to standard error."""
        self._stderr.seek(0)
        return self._stderr.read()

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        timeout: float = 60.0,
    ) -> Answer:
        """Send a request; `body` is sent as JSON unless it is bytes."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310
            self.url + path,
            data=data,
            method=method,
            headers={"Content-Type": "application/json", **(headers or {})},
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310
                return Answer.of(response.status, response.headers.items(), response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer.of(error.code, error.headers.items(), error.read())

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        """GET a path."""
        return self.request("GET", path, headers=headers)

    def predict(self, body: Any, headers: dict[str, str] | None = None) -> Answer:
        """POST to /invocations."""
        return self.request("POST", "/invocations", body, headers)

    def reload(self, token: str | None = None) -> Answer:
        """POST to /reload, with the token if there is one."""
        headers = {"Authorization": f"Bearer {token}"} if token else None
        return self.request("POST", "/reload", headers=headers)

    def info(self) -> Any:
        """What /info answers."""
        return self.get("/info").json

    def wait_healthy(self, seconds: float = 60.0) -> None:
        """Wait until /health is 200."""
        try:
            wait_until(lambda: self.get("/health").status == 200, "healthy", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None

    def is_busy(self) -> bool:
        """Whether a worker predicts."""
        return any(worker["state"] == "busy" for worker in self.info()["workers"])

    def connections(self) -> int:
        """How many clients are connected."""
        sockets = psutil.net_connections("tcp")
        mine = [socket for socket in sockets if socket.laddr and socket.laddr.port == self.port]
        return sum(socket.status == psutil.CONN_ESTABLISHED for socket in mine)

    def worker_pids(self) -> list[int]:
        """The process ids of the serving release's workers."""
        return [worker["pid"] for worker in self.info()["workers"]]

    def working(self) -> set[int]:
        """The process ids of those of them that can answer."""
        return {w["pid"] for w in self.info()["workers"] if w["state"] in ("idle", "busy")}

    def processes(self) -> list[psutil.Process]:
        """The server's process and all below it."""
        try:
            # One whose parent ends during a look is missed, and found by the next look below the
            # process that has adopted it.
            looks = [self._psutil.children(recursive=True) for _ in range(2)]
        except psutil.NoSuchProcess:
            return []
        return [self._psutil, *dict.fromkeys(chain(*looks))]

    def named(self, name: str) -> list[psutil.Process]:
        """The processes of this name, such as `environment`, `template` or `worker`, that run."""
        return [p for p in self.processes() if _name(p) == name and _runs(p)]

    def running(self) -> Counter[str]:
        """How many processes of each name run below it."""
        names = ("environment", "lookup", "download", "template", "worker")
        return +Counter({name: len(self.named(name)) for name in names})

    def hit(self, name: str, number: signal.Signals) -> list[psutil.Process]:
        """Stop or kill all processes of this name, and return them once that has come to pass."""
        processes = self.named(name)
        assert processes != []
        for process in processes:
            process.send_signal(number)
        stopped = {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
        wait_until(
            lambda: all(ended([p]) or status_of(p) in stopped for p in processes),
            f"{name} got {number}",
        )
        return processes

    def environment(self) -> psutil.Process:
        """The process that all others are forked from."""
        (environment,) = self.named("environment")
        return environment

    def release_directories(self) -> list[Path]:
        """The download directories that exist now."""
        return sorted(p for p in self.scratch.glob("mlflow-server-*/*") if p.is_dir())

    def signal(self, number: int) -> None:
        """Send the server's process a signal."""
        self.process.send_signal(number)

    def wait_exit(self, seconds: float = 40.0) -> int:
        """Wait until the process has ended and return its exit code; the log is complete then."""
        code = self.process.wait(seconds)
        self._reader.join(10)
        return code

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait_exit()

    def close(self) -> None:
        """Make sure that it has ended, with all that it started, and that its log was in order."""
        self.read_on()
        family = self.processes()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: ended(family), "all have ended", 5)
        remaining = [process for process in family if not ended([process])]
        for process in remaining:
            process.kill()
        self._reader.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()
        errors = self.errors()
        self._stderr.close()
        assert [p.pid for p in remaining] == [], "processes were left behind"
        assert self._malformed == [], "lines of the log are not as they should be"
        assert errors == "", "standard error is for settings that can't be used"


def ended(processes: Iterable[psutil.Process]) -> bool:
    """Whether none of the processes runs any more. Who should reap them may have ended first."""
    return not any(_runs(process) for process in processes)


def status_of(process: psutil.Process) -> str:
    """Its status; `psutil.STATUS_DEAD` once it is no more, which may come to pass at any time."""
    try:
        return process.status()
    except psutil.NoSuchProcess:
        return psutil.STATUS_DEAD


def _name(process: psutil.Process) -> str:
    try:
        return Path(f"/proc/{process.pid}/comm").read_text().strip()
    except OSError:
        return ""


def _runs(process: psutil.Process) -> bool:
    gone = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    return process.is_running() and status_of(process) not in gone
