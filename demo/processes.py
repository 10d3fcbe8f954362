"""Processes that are started, watched and ended together."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from demo.settings import HOST
from demo.tail import Tail

TICK_SECONDS = 0.2
ENDING_SECONDS = 35.0
"""What a process gets after SIGTERM: more than a server's 30 s for requests in flight."""

TAIL_LINES = 20
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Failed(Exception):
    """A process didn't do its part. The message says which, and shows the end of its log."""


class Interrupted(Exception):
    """Somebody asked to end."""


class Child:
    """A Python module that runs in a process of its own.

    Its session is its own as well: the terminal's Ctrl-C then reaches only the parent, which ends
    its children in order.

    Args:
        name: What people call it.
        command: The module and its arguments, as after `python -m`.
        directory: Where it runs.
        env: Environment variables on top of the parent's.
        log: The file that takes its output, emptied first.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        directory: Path,
        env: Mapping[str, str],
        log: Path,
    ) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=directory,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """None while it runs; below zero: the number of the signal that ended it."""
        return self._process.poll()

    def failure(self, what: str) -> Failed:
        """An exception that says `what` went wrong and shows the end of the log."""
        end = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return Failed("\n".join([f"{self.name} {what}. The end of {self.log}:", *end]))

    def terminate(self) -> None:
        """Ask the process to end. Its own children are its business as long as it lives."""
        self._process.terminate()

    def kill(self) -> None:
        """End whatever remains of its session."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Processes:
    """The children that are to run until the end. Leaving the context ends them, last one first.

    SIGINT, SIGTERM and SIGHUP are only noted, and raised by `tick`: an exception out of a signal
    handler could lose a child between its start and its place in the list.

    Args:
        directory: Where the children run.
        logs: The directory that takes their logs.
    """

    def __init__(self, directory: Path, logs: Path) -> None:
        self._directory = directory
        self._logs = logs
        self._children: list[Child] = []
        self._signals = 0

    def __enter__(self) -> Self:
        self._handlers = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> Child:
        """Start a child that is to run until the end."""
        child = self._child(name, command, env)
        self._children.append(child)
        return child

    def run(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Run a child to its end, and print what it says.

        Raises:
            Interrupted: a signal came.
            Failed: it failed, or another child ended.
        """
        child = self._child(name, command, env)
        with Tail(child.log) as output:
            try:
                while child.exit_code is None:
                    self.tick()
                    _print_lines(output)
            finally:
                child.kill()
            _print_lines(output)
        if child.exit_code != 0:
            raise child.failure(f"failed (exit code {child.exit_code})")

    def _child(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> Child:
        log = self._logs / f"{name}.log"
        return Child(name, command, directory=self._directory, env=env, log=log)

    def wait_until_healthy(
        self,
        child: Child,
        port: int,
        seconds: float,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """Return when `GET /health` at `port` is answered with 200.

        Args:
            child: Who is to answer.
            port: Where.
            seconds: Patience.
            meanwhile: Called between attempts.

        Raises:
            Interrupted: a signal came.
            Failed: a child ended, or `seconds` passed.
        """
        deadline = time.monotonic() + seconds
        while fetch(port, "/health") is None:
            if time.monotonic() > deadline:
                raise child.failure(f"isn't healthy after {seconds:g} s")
            meanwhile()
            self.tick()

    def tick(self) -> None:
        """Let a moment pass.

        Raises:
            Interrupted: a signal came.
            Failed: a child ended.
        """
        time.sleep(TICK_SECONDS)
        if self._signals:
            raise Interrupted
        for child in self._children:
            if child.exit_code is not None:
                raise child.failure(f"ended by itself (exit code {child.exit_code})")

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        for child in reversed(self._children):
            # The terminal may be gone by now, and the children must end all the same.
            with contextlib.suppress(OSError):
                print(f"Ending {child.name} ...", flush=True)
            self._end(child)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _end(self, child: Child) -> None:
        """End a child: in time, or at once when another signal says that there is no patience."""
        deadline = time.monotonic() + ENDING_SECONDS
        signals = self._signals
        child.terminate()
        while child.exit_code is None and time.monotonic() < deadline and self._signals == signals:
            time.sleep(TICK_SECONDS / 4)
        child.kill()

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1


def _print_lines(tail: Tail) -> None:
    for line in tail.new_lines():
        print(line, flush=True)


def fetch(port: int, path: str) -> bytes | None:
    """The body of a 200 answer to `GET path` on this machine, or None."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2.0)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.read() if answer.status == http.HTTPStatus.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
