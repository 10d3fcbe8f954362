"""The process that every other one is forked from, with the heavy imports done ahead."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.process import _children  # type: ignore[attr-defined]
from typing import Any

from server.worker.descendants import become_reaper, end_children

# Read by BLAS and OpenMP libraries when they are loaded.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

_ARROW_ALLOCATOR = "JE_ARROW_MALLOC_CONF"
PRELOAD_VARIABLE = "_MODEL_SERVER_PRELOAD"


class ForkServer:
    """Starts the fork server in such a way that it holds one thread and prints to `output`.

    A process may only be forked safely while it has one thread, and a BLAS library starts its pool
    when it is imported: there it gets one thread, and each worker raises that again.

    Args:
        output: Descriptor that becomes standard output and error.
        preload: Modules to import ahead.
    """

    def __init__(self, output: int, preload: tuple[str, ...]) -> None:
        self._output = output
        self._preload = preload
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._adopts = False
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")

    def start(self) -> None:
        """Start it, or start it again if it has ended. May be called from any thread."""
        with self._lock:
            if _runs():
                return
            self._context.set_forkserver_preload(["watcher.registry", "server.worker.ahead"])
            with self._environment(), self._redirected():
                # Else the fork server would start it, and that lifts the signal mask.
                resource_tracker.ensure_running()
                with _signals_blocked():
                    forkserver.ensure_running()

    def start_process(
        self, target: Callable[..., None], args: tuple[Any, ...], name: str
    ) -> ForkServerProcess:
        """Fork a process that runs `target`; blocks until it has been forked. May be called from
        any thread, and so may be the process's methods, from one thread at a time.

        Raises:
            OSError, EOFError: the machine would not start one.
        """
        self.start()
        process = self._context.Process(target=target, args=args, name=name)
        with self._starting:
            process.start()
            # Whoever starts a process collects the exit codes of all that are in here. A code can
            # be read once: its owner, in another thread, would take the end of file for 255.
            _children.discard(process)
        return process

    def adopt_orphans(self) -> None:
        """Have whatever outlives the worker that started it become a child of this process, for
        `end_orphans`. Only for a process that starts nothing but this."""
        become_reaper()
        self._adopts = True

    def end_orphans(self) -> None:
        """End what workers that are no more have left running, in whichever session it is."""
        if not self._adopts:
            return
        with self._lock:
            end_children(keep={pid for pid in (_pid(), _tracker_pid()) if pid is not None})

    def stop(self) -> None:
        """End it, and wait until it has ended; what was forked from it must have ended before."""
        with self._lock:
            forkserver._forkserver._stop()  # type: ignore[attr-defined]
            resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]

    @contextmanager
    def _environment(self) -> Iterator[None]:
        added = {name: "1" for name in THREAD_VARIABLES if name not in os.environ}
        if _ARROW_ALLOCATOR not in os.environ:
            # Arrow's jemalloc starts a thread of its own as soon as it is loaded.
            added[_ARROW_ALLOCATOR] = "background_thread:false"
        added[PRELOAD_VARIABLE] = ",".join(self._preload)
        os.environ.update(added)
        try:
            yield
        finally:
            for name in added:
                del os.environ[name]

    @contextmanager
    def _redirected(self) -> Iterator[None]:
        """The fork server is started by the standard library, which hands its own standard output
        and error on: they are the log's, where nobody else may write."""
        saved = os.dup(1), os.dup(2)
        os.dup2(self._output, 1)
        os.dup2(self._output, 2)
        try:
            yield
        finally:
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            os.close(saved[0])
            os.close(saved[1])


def _pid() -> int | None:
    pid: int | None = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    return pid


def _tracker_pid() -> int | None:
    pid: int | None = resource_tracker._resource_tracker._pid  # type: ignore[attr-defined]
    return pid


def _runs() -> bool:
    """Whether there is a fork server that has not ended; leaves its exit code to be collected."""
    pid = _pid()
    if pid is None:
        return False
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """What is started inside leaves SIGINT and SIGTERM to the gateway.

    A terminal and a service manager signal every process. The mask is inherited, and holds from
    the first instant; workers lift it once they have handlers of their own.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
