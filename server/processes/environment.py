"""The process that every other one is forked from, with the heavy imports done ahead."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from server.processes.child import watch
from server.processes.flavor import Flavor
from server.processes.forker import Forker
from server.processes.model_process import Source
from server.processes.supervised import Supervised
from server.worker.descendants import become_reaper, end_children
from server.worker.threads import THREAD_VARIABLES

_DEFAULTS = {
    # Arrow's jemalloc starts a thread of its own as soon as it is loaded.
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    # How long OpenBLAS's idle threads spin before they sleep: so many cycles as a power of two.
    # The default takes a core from the others for 20 ms after each prediction; this for 0.4.
    "OPENBLAS_THREAD_TIMEOUT": "20",
    # OpenMP's threads that wait for each other sleep. They would spin for some milliseconds, also
    # while the one that they wait for is waiting for the core that they spin on: on a machine with
    # much else to do, such as a gateway, two threads then take ten to a hundred times as long.
    "OMP_WAIT_POLICY": "passive",
    # ONNX Runtime opens a database of its own as soon as it is loaded, with a thread for it.
    "ORT_DISABLE_TELEMETRY": "1",
}
# What it needs of the gateway's own; what models need is for `server.worker.preload`.
_MODULES = ("watcher.lookup", "watcher.registry")
_BEGIN = (
    "import sys; from server.worker.alias import import_privately; "
    "import_privately('environment').main(int(sys.argv[1]))"
)
# What its resource tracker gets to clean up when all that used it has ended.
_LAST_SECONDS = 2.0
_PAUSE_SECONDS = 0.005


class Environment(Supervised):
    """Starts the environment process in such a way that it holds one thread and prints to `output`,
    and starts it anew when it has ended or was stopped. What it has forked lives on then.

    A process may only be forked safely while it has one thread, and a BLAS library starts its pool
    when it is imported: there it gets one thread, and each worker raises that again.

    Args:
        output: Descriptor that becomes standard output and error.
        preload: Modules to import ahead.
        log_level: What is logged in all that comes from it.

    Attributes:
        family: The numbers of all processes that are spoken to, itself among them.
    """

    def __init__(self, output: int, preload: tuple[str, ...], log_level: str = "info") -> None:
        super().__init__()
        self.family: set[int] = set()
        self._output = output
        self._preload = preload
        self._log_level = log_level
        # Orphans are told from it by `family`.
        self._starting = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._adopts = False
        self._flavors: dict[tuple[str, ...], Flavor] = {}
        self._unfit: set[tuple[str, ...]] = set()

    @property
    def pid(self) -> int | None:
        """The process's number, if it runs."""
        return self._process.pid if self._process else None

    def take(self, modules: tuple[str, ...], *, nice: bool = True) -> Source:
        """What forks processes that find these modules imported, for as long as it is not left.
        Those who take the same ones share a process.

        Args:
            nice: Whether others serve that importing must not disturb.
        """
        if not modules:
            return self
        if modules not in self._flavors:
            self._flavors[modules] = Flavor(self, modules, self._unfit, self._log_level, nice=nice)
        flavor = self._flavors[modules]
        flavor.users += 1
        return flavor

    async def leave(self, source: Source) -> None:
        """End what was taken, if nobody else has. What it has forked lives on."""
        if isinstance(source, Flavor):
            source.users -= 1
            if not source.users:
                del self._flavors[source.modules]
                await source.stop()

    def adopt_orphans(self) -> None:
        """Have whatever outlives the process that started it become a child of this process, for
        `end_orphans`. Only for a process that starts nothing but this."""
        become_reaper()
        self._adopts = True

    def end_orphans(self) -> None:
        """End what workers that are no more have left running, in whichever session it is. May be
        called from any thread."""
        if self._adopts:
            with self._starting:
                end_children(keep=self.family)

    async def stop(self) -> None:
        """End it, and wait until it has ended; what was forked from it must have ended before."""
        await super().stop()
        for flavor in [*self._flavors.values()]:
            await flavor.stop()
        if self._adopts:
            await asyncio.to_thread(_wait_for_children)

    async def _begin(self) -> Forker:
        ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = await asyncio.to_thread(self._execute, theirs.fileno())
                ours.send(self._told())
            except BaseException:
                ours.close()
                raise
        forker = Forker(self._process.pid, ours, self.family, lambda: self._lost(forker))
        forker.ready.add_done_callback(self._spare_children)
        return forker

    def _told(self) -> bytes:
        """What it reads first."""
        told = {
            "path": sys.path,
            "argv": sys.argv,
            "modules": _MODULES,
            "preload": self._preload,
            "log_level": self._log_level,
        }
        return json.dumps(told).encode()

    def _execute(self, channel: int) -> subprocess.Popen[bytes]:
        # As `multiprocessing` hands them on: -P, -W, -X and others.
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        with self._starting, _signals_blocked():
            process = subprocess.Popen(  # noqa: S603  # this very Python
                [sys.executable, *flags, "-c", _BEGIN, str(channel)],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                pass_fds=[channel],
                env=_variables(),
            )
            self.family.add(process.pid)
        return process

    def _spare_children(self, ready: "asyncio.Future[list[int]]") -> None:
        # Its resource tracker, which ends when no process is left that may use it: that may be long
        # after this one, and it is to be collected here then.
        for pid in () if ready.cancelled() else ready.result():
            with contextlib.suppress(OSError):
                unknown = ready.get_loop().create_future()
                unknown.set_result(None)
                watch(pid, self.family, os.pidfd_open(pid), unknown)

    def _kill(self) -> None:
        assert self._process is not None
        self._process.kill()

    async def _collect(self) -> None:
        await asyncio.to_thread(self._end_process)

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self.family.discard(self._process.pid)
            self._process = None


def _variables() -> dict[str, str]:
    # What the user has chosen for BLAS and OpenMP is for the workers.
    return {**_DEFAULTS, **os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")}


def _wait_for_children() -> None:
    """Collect children that are about to end by themselves, and end those that do not."""
    deadline = time.monotonic() + _LAST_SECONDS
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(_PAUSE_SECONDS)
    end_children()


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
