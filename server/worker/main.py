"""What runs in a worker process, from its start to its end."""

import contextlib
import io
import os
import select
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from pathlib import Path
from types import FrameType

import threadpoolctl

from . import logs, strict_json
from .channel import Channel
from .descendants import become_reaper, end_children
from .frames import Kind
from .loading import describe, fetch, load
from .merging.batching import Predictor
from .multiprocessing_defaults import restore_defaults
from .protocol import Protocol
from .protocol.errors import named
from .rehearsal.rehearsal import rehearse
from .spec import WorkerSpec

LOADING_NICENESS = 10
# What the gateway answers for its workers.
_COORDINATED = (signal.SIGINT, signal.SIGTERM)
# What the process gets to end by itself once the gateway has closed its end.
_LAST_SECONDS = 2.0

# Read by libraries that the model may load only now; the fork server has set them to 1.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def run(sock: socket.socket, output: Connection, spec: WorkerSpec) -> None:
    """Load the model, say so, and answer requests until the gateway closes the socket pair."""
    _set_up_process(output, spec)
    channel = Channel(sock)
    threading.Thread(target=_end_with_gateway, args=(channel.fileno(),), daemon=True).start()
    # Niceness belongs to a thread and, without privileges, can't be lowered again: the thread that
    # predicts is made before this one becomes nice.
    serving = _Serving(channel, spec.threads)
    serving.start()
    _set_niceness(LOADING_NICENESS)
    try:
        predictor, ready = _load(channel, spec)
    except BaseException as error:  # sys.exit in a model's code, too
        _report_failure(channel, error, spec)
        return
    serving.begin(predictor, ready)
    serving.join()


class _Serving(threading.Thread):
    """The thread that predicts: reads a batch, answers it, reads the next."""

    def __init__(self, channel: Channel, threads: int | None) -> None:
        super().__init__(name="serving", daemon=True)
        self._channel = channel
        self._threads = threads
        self._loaded = threading.Event()
        self._predictor: Predictor | None = None
        self._ready: list[bytes] = []

    def begin(self, predictor: Predictor, ready: list[bytes]) -> None:
        """Hand over the loaded model, and what to say of it to the gateway."""
        self._predictor = predictor
        self._ready = ready
        self._loaded.set()

    def run(self) -> None:
        self._loaded.wait()
        assert self._predictor is not None
        # Once more: OpenMP keeps the number for each thread that starts its pools.
        _limit_threads(self._threads)
        with contextlib.suppress(OSError):
            self._channel.send(Kind.READY, *self._ready)
            while (frame := self._channel.receive()) is not None:
                _, parts = frame
                for answers in self._predictor.answer(parts):
                    self._channel.send_answers(answers)
                self._channel.send(Kind.DONE, b"" if self._predictor.merges else b"alone")


def _load(channel: Channel, spec: WorkerSpec) -> tuple[Predictor, list[bytes]]:
    _enter(channel, "download")
    path = fetch(spec)
    _enter(channel, "load")
    _limit_threads(spec.threads)
    model = load(path)
    protocol = Protocol(model, hide=spec.directory)
    _enter(channel, "rehearsal")
    rehearsed = rehearse(protocol, model, path, spec)
    failed = rehearsed.example.failed
    ready = {
        "path": path,
        "model": describe(model, rehearsed.example.body),
        "rehearsed": rehearsed.requests,
        "example_failed": failed and failed.to_json(),
        "answers_changed": rehearsed.replay.changed,
        "merged_formats": sorted(rehearsed.proof.formats),
        "merging_reason": rehearsed.proof.reason,
    }
    predictor = Predictor(protocol, rehearsed.proof.keys, spec.max_batch_rows)
    return predictor, [strict_json.dumps(ready), *rehearsed.replay.answers]


def _enter(channel: Channel, phase: str) -> None:
    channel.send(Kind.PHASE, phase.encode())


def _report_failure(channel: Channel, error: BaseException, spec: WorkerSpec) -> None:
    """Say why the model did not load. Paths of this machine are for the log only."""
    report = {
        "error": named(error, hide=spec.directory),
        "exception": "".join(traceback.format_exception(error)),
    }
    with contextlib.suppress(OSError):
        channel.send(Kind.FAILED, strict_json.dumps(report))


def _set_up_process(output: Connection, spec: WorkerSpec) -> None:
    # A group of its own: a terminal's Ctrl-C goes to the gateway alone, which coordinates, and
    # what the model starts can be ended with the worker. Not a session: on Linux each session
    # may be an autogroup, and niceness then means nothing outside it.
    os.setpgid(0, 0)
    become_reaper()
    restore_defaults()
    # When this process ends by itself, after what the model itself has to end in good order, such
    # as a `multiprocessing.Pool`.
    Finalize(None, end_children, exitpriority=-100)
    # Handlers rather than SIG_IGN, which programs that the model starts would inherit.
    for number in _COORDINATED:
        signal.signal(number, _ignore)
    os.register_at_fork(
        before=_block_signals,
        after_in_parent=_unblock_signals,
        after_in_child=_restore_signals,
    )
    # Blocked since the fork server started; what the model starts must be able to get them.
    _unblock_signals()
    os.umask(0o077)
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    output.close()
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(line_buffering=True, errors="backslashreplace")
    logs.configure_logging(spec.log_level)
    temporary = Path(spec.directory) / "tmp"
    temporary.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)


def _block_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, _COORDINATED)


def _unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _COORDINATED)


def _restore_signals() -> None:
    """A process that the model forks is the model's to end: `multiprocessing.Pool` sends its
    workers SIGTERM and waits for them. One that comes before this is done stays blocked till
    then, and is not lost."""
    if signal.getsignal(signal.SIGINT) is _ignore:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGTERM) is _ignore:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _unblock_signals()


def _ignore(_signal: int, _frame: FrameType | None) -> None:
    """The gateway says when to end, by closing the socket pair."""


def _set_niceness(niceness: int) -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)


def _limit_threads(threads: int | None) -> None:
    """Give BLAS and OpenMP this worker's share of the cores; in the fork server they had one."""
    if threads is None:
        return
    for name in _THREAD_VARIABLES:
        os.environ[name] = str(threads)
    threadpoolctl.threadpool_limits(threads)


def _end_with_gateway(descriptor: int) -> None:
    """End this process, and what it started, once the gateway has closed its end or was killed,
    even while the model computes, waits or hangs."""
    poll = select.poll()
    poll.register(descriptor, 0)
    poll.poll()
    time.sleep(_LAST_SECONDS)
    end_children()
    os.killpg(0, signal.SIGKILL)
