"""What a process is to be like before a model's code runs in it."""

import contextlib
import io
import os
import select
import signal
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import dataclass
from multiprocessing.util import Finalize
from pathlib import Path
from types import FrameType

from . import alias, logs, strict_json
from .channel import Channel
from .descendants import become_reaper, end_children, leave_orphans
from .forking import COORDINATED
from .frames import Kind
from .protocol.errors import named

_NICENESS = 10
# What the process gets to end by itself once the gateway has closed its end.
_LAST_SECONDS = 2.0


def prepare_environment(log_level: str) -> None:
    """Do in the environment process what would be done by each process that comes from it, and
    touch, and so copy, the memory that they share."""
    logs.configure_logging(log_level)
    _gateways_modules.extend(alias.gateways_modules())


def prepare_process(output: int) -> None:
    """Make this process, which comes from the environment process, one for a model.

    Args:
        output: What becomes standard output and error.
    """
    alias.forget_the_gateways_names(_gateways_modules)
    # Handlers rather than SIG_IGN, which programs that the model starts would inherit.
    for number in COORDINATED:
        signal.signal(number, _ignore)
    os.register_at_fork(
        before=_block_signals,
        after_in_parent=_unblock_signals,
        after_in_child=_restore_signals,
    )
    own_process(output)
    os.umask(0o077)
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(line_buffering=True, errors="backslashreplace")


def own_process(output: int) -> None:
    """Give this process what no two share: a group, descendants, signals, a place to print to."""
    # A group of its own: a terminal's Ctrl-C goes to the gateway alone, which coordinates, and
    # what the model starts can be ended with the worker. Not a session: on Linux each session
    # may be an autogroup, and niceness then means nothing outside it.
    os.setpgid(0, 0)
    become_reaper()
    # When this process ends by itself, after what the model itself has to end in good order, such
    # as a `multiprocessing.Pool`.
    _fork.at_end = Finalize(None, end_children, exitpriority=-100)
    _fork.workers = False
    _unblock_signals()
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)


def fork_workers_only() -> None:
    """From now on, what this process forks are workers: they keep its signal handlers, no signal
    gets in between, and they live on when it ends. Called by the thread that forks."""
    signal.pthread_sigmask(signal.SIG_BLOCK, COORDINATED)
    leave_orphans()
    if _fork.at_end is not None:
        _fork.at_end.cancel()
    _fork.workers = True


def settle_in(directory: str) -> Path:
    """Have temporary files go to a directory of this process's own, in the release's; return it."""
    # Its path is short: sockets in it have but 107 bytes for theirs.
    temporary = Path(directory, str(os.getpid()))
    os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
    make_directory(temporary)
    return temporary


def lead_into(temporary: Path) -> None:
    """Have programs and libraries write there that do not ask for TMPDIR, and would write where a
    model may not: Java below /tmp, numba beside the sources whose compiled code it keeps."""
    options = f"-Djava.io.tmpdir={temporary} {os.environ.get('JAVA_TOOL_OPTIONS', '')}"
    os.environ["JAVA_TOOL_OPTIONS"] = options.rstrip()
    os.environ.setdefault("NUMBA_CACHE_DIR", str(temporary))


def make_directory(directory: Path) -> None:
    """Make a directory of this process's own, unless it is there; some clean up what is old."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def become_nice() -> None:
    """Have this thread wait for others. It can't be taken back without privileges."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def report_failure(
    channel: Channel,
    error: BaseException,
    hide: str,
    *,
    explanation: str = "",
    public: str | None = None,
) -> None:
    """Say what went wrong before this process could serve.

    Args:
        hide: A directory that is for the log only.
        explanation: What to add to that.
        public: What anybody may be told, if the error's message is for the log only.
    """
    report = {
        "error": named(error, hide=hide) + explanation,
        "exception": "".join(traceback.format_exception(error)),
        **({"public": public} if public else {}),
    }
    with contextlib.suppress(OSError):
        channel.send(Kind.FAILED, strict_json.dumps(report))


def end_with_gateway(channel: Channel) -> None:
    """From now on, end this process, and what it started, once the gateway has closed its end or
    was killed, even while the model computes, waits or hangs."""
    threading.Thread(target=_watch, args=(channel.fileno(),), daemon=True).start()


def end_process() -> None:
    """End this process, and what it started, unless it does so by itself at once."""
    time.sleep(_LAST_SECONDS)
    end_children()
    os.killpg(0, signal.SIGKILL)


def _watch(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, 0)
    poll.poll()
    end_process()


@dataclass(slots=True)
class _Fork:
    """What this process forks.

    Attributes:
        workers: Whether it is workers, rather than what the model starts.
        at_end: Ends its children when it ends by itself.
    """

    workers: bool = False
    at_end: Finalize | None = None


_fork = _Fork()
_gateways_modules: list[str] = []


def _block_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, COORDINATED)


def _unblock_signals() -> None:
    if not _fork.workers:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, COORDINATED)


def _restore_signals() -> None:
    """A process that the model forks is the model's to end: `multiprocessing.Pool` sends its
    workers SIGTERM and waits for them. One that comes before this is done stays blocked till
    then, and is not lost."""
    if _fork.workers:
        return
    if signal.getsignal(signal.SIGINT) is _ignore:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGTERM) is _ignore:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _unblock_signals()


def _ignore(_signal: int, _frame: FrameType | None) -> None:
    """The gateway says when to end, by closing the socket pair."""
