"""Servers as child processes, started and ended with everything below them."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from benchmarks.client import HOST, get
from benchmarks.errors import BenchmarkError

_ENDING_SECONDS = 20.0
_TAIL_LINES = 20
_TAIL_COLUMNS = 500


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


class ServerProcess:
    """A server in a process group of its own. Leaving the context ends all its processes.

    Args:
        name: What messages call it.
        command: What to run.
        directory: Where it runs.
        env: Environment variables on top of the parent's.
        log: The file that takes its output.
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
        # MLflow looks for uvicorn on the path.
        path = f"{Path(command[0]).parent}{os.pathsep}{os.environ['PATH']}"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                env={**os.environ, "PATH": path, **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.end()

    def wait_until_ready(self, port: int, path: str, seconds: float) -> None:
        """Return when `GET path` is answered with 200.

        Raises:
            BenchmarkError: it ended, or `seconds` passed.
        """
        deadline = time.monotonic() + seconds
        while get(port, path) is None:
            if self._process.poll() is not None:
                raise self._failure(f"ended (exit code {self._process.returncode})")
            if time.monotonic() > deadline:
                raise self._failure(f"isn't ready after {seconds:g} s")
            time.sleep(0.1)

    @property
    def pid(self) -> int:
        """The process started here."""
        return self._process.pid

    def pids(self) -> list[int]:
        """Its processes: the one started here and all below it."""
        return [process.pid for process in self._family()]

    def end(self) -> None:
        """Ask it to end, and kill what is left of it after a while."""
        family = self._family()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDING_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for process in family:
            # Some put children into groups of their own. psutil kills none whose pid was reused.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()

    def _family(self) -> list[psutil.Process]:
        try:
            parent = psutil.Process(self._process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _failure(self, what: str) -> BenchmarkError:
        lines = self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        tail = [line[:_TAIL_COLUMNS] for line in lines]
        return BenchmarkError("\n".join([f"{self.name} {what}. The end of its log:", *tail]))
