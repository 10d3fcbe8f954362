"""Running the server as people run it, and reading its log."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).parents[2]

Event = dict[str, Any]


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """Return the first true value of `condition`; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)
    return value


class Answer:
    """What the server answered."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def version(self) -> str | None:
        """The version that says it answered."""
        return self.headers.get("x-model-version")


class Server:
    """`python -m server` in a process of its own.

    Args:
        scratch: Directory that becomes its TMPDIR.
        environment: Its settings. PORT is 0 and POLL_INTERVAL_SECONDS 0.2 unless given.
    """

    def __init__(self, scratch: Path, **environment: str) -> None:
        self.scratch = scratch
        self.lines: list[str] = []
        self.events: list[Event] = []
        settings = {
            "HOST": "127.0.0.1",
            "PORT": "0",
            "POLL_INTERVAL_SECONDS": "0.2",
            "LOG_FORMAT": "json",
            "TMPDIR": str(scratch),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "server"],
            cwd=REPOSITORY,
            env={**os.environ, **settings, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._psutil = psutil.Process(self.process.pid)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = int(self.wait_for("server_started")["port"])

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            self.events.append(json.loads(line))

    def find(self, event: str, **fields: Any) -> list[Event]:
        """The events of this name with these fields so far."""
        return [
            e
            for e in list(self.events)
            if e["event"] == event and all(e.get(k) == v for k, v in fields.items())
        ]

    def wait_for(self, event: str, seconds: float = 60.0, count: int = 1, **fields: Any) -> Event:
        """Wait until the log has `count` such events and return the last of them."""

        def found() -> list[Event] | None:
            if self.process.poll() is not None and len(self.find(event, **fields)) < count:
                raise AssertionError(f"the server ended: {self.errors()}\n{self.tail()}")
            events = self.find(event, **fields)
            return events if len(events) >= count else None

        try:
            events: list[Event] = wait_until(found, f"{count} {event} {fields}", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None
        return events[-1]

    def tail(self) -> str:
        """The last lines of the log, for messages."""
        return "".join(self.lines[-25:])

    def errors(self) -> str:
        """What stands on standard error, once it has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read()

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
                return _answer(response.status, response.headers.items(), response.read())
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error.headers.items(), error.read())

    def get(self, path: str) -> Answer:
        """GET a path."""
        return self.request("GET", path)

    def predict(self, body: Any, **headers: str) -> Answer:
        """POST to /invocations."""
        return self.request("POST", "/invocations", body, headers)

    def reload(self, query: str = "") -> Answer:
        """POST to /reload."""
        return self.request("POST", f"/reload{query}")

    def wait_healthy(self, seconds: float = 60.0) -> None:
        """Wait until /health is 200."""
        try:
            wait_until(lambda: self.get("/health").status == 200, "healthy", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None

    def worker_pids(self) -> list[int]:
        """The pids of the serving release's workers."""
        return [worker["pid"] for worker in self.get("/info").json["workers"]]

    def processes(self) -> list[psutil.Process]:
        """The server's process and all below it."""
        try:
            return [self._psutil, *self._psutil.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def release_directories(self) -> list[Path]:
        """The download directories that exist now."""
        return sorted(p for p in self.scratch.glob("mlflow-server-*/*") if p.is_dir())

    def signal(self, number: int) -> None:
        """Send the server's process a signal."""
        self.process.send_signal(number)

    def stop(self, seconds: float = 40.0) -> int:
        """Send SIGTERM and return the exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code

    def close(self) -> None:
        """Make sure that it has ended, with all that it started."""
        family = self.processes()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        for process in family:
            if process.is_running() and process.pid != self.process.pid:
                process.kill()
        self._reader.join(5)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def _answer(status: int, headers: Any, body: bytes) -> Answer:
    return Answer(status, {k.lower(): v for k, v in headers}, body)
