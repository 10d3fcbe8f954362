"""What a hostile model tries, as code that runs in its process or in one that it starts.

It needs nothing but Python: models carry it as text.
"""

import contextlib
import ctypes
import errno
import fcntl
import multiprocessing
import os
import signal
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import util
from pathlib import Path
from typing import Any

_PTRACE_DETACH, _PTRACE_SEIZE = 17, 0x4206
_PIDFD_GETFD = 438
_F_SETSIG = 10

_libc = ctypes.CDLL(None, use_errno=True)


def _fields(pid: int) -> list[str]:
    """State, parent, group … (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()


def name_of(pid: int) -> str:
    """What `ps` shows."""
    return Path(f"/proc/{pid}/comm").read_text().strip()


def _line(pid: int) -> list[int]:
    """A process, its parent, and so on."""
    line = [pid]
    while (parent := int(_fields(line[-1])[1])) > 0:
        line.append(parent)
    return line


def others(me: int | None = None) -> list[int]:
    """The server's processes without the model's own one and what that has started; the gateway is
    the first."""
    above = _line(me or os.getpid())
    names = [name_of(pid) for pid in above]
    gateway = above[names.index("environment") + 1]
    own = next(p for p, n in zip(above, names, strict=True) if n in ("worker", "template"))
    found = []
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):  # noqa: PTH208
        try:
            line = _line(pid)
        except OSError:
            continue
        if gateway in line and own not in line:
            found.append(pid)
    return sorted(found, key=lambda pid: pid != gateway)


def attack(told: dict[str, Any]) -> dict[str, str]:
    """Try all of it, and return what came of each: the name of an errno, or `done`.

    Args:
        told: `signals`, the numbers to send; `victim`, a folder that is not the model's, which
            holds `file`, `code.py` and an empty `folder`; `absent`, paths of files to make; `init`,
            whether the system's first process is another's.
    """
    with tempfile.TemporaryDirectory() as own:
        attempts = [*_on_files(told, Path(own)), *_on_processes(told)]
        return {name: _outcome(act) for name, act in attempts}


def _outcome(act: Callable[[], object]) -> str:
    try:
        act()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def _on_files(told: dict[str, Any], own: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    victim = Path(told["victim"])
    file, code = victim / "file", victim / "code.py"

    def mine() -> Path:
        path = own / "mine"
        path.write_text("evil")
        return path

    def leave(path: Path) -> None:
        path.touch(exist_ok=False)
        path.unlink()

    def link() -> None:
        path = own / "linked"
        path.hardlink_to(code)
        path.write_text("evil")

    def listen() -> None:
        folder = os.open(victim, os.O_PATH)
        try:
            with socket.socket(socket.AF_UNIX) as listener:
                # Its whole path may be too long for an address.
                listener.bind(f"/proc/self/fd/{folder}/socket")
        finally:
            os.close(folder)

    yield "write", lambda: file.write_text("evil")
    yield "append", lambda: file.open("a").write("evil")
    yield "open to write", lambda: file.open("r+b").close()
    yield "truncate", lambda: os.truncate(file, 0)
    yield "rename", lambda: file.rename(victim / "other")
    yield "take away", lambda: code.rename(own / "taken")
    yield "replace", lambda: mine().replace(code)
    yield "link and write", link
    yield "link into it", lambda: (victim / "hard").hardlink_to(mine())
    yield "symlink into it", lambda: (victim / "soft").symlink_to(own)
    yield "make a folder", lambda: (victim / "new").mkdir()
    yield "make a pipe", lambda: os.mkfifo(victim / "pipe")
    yield "make a socket", listen
    yield "remove a folder", lambda: (victim / "folder").rmdir()
    yield "remove a file", lambda: next(p for p in (code, victim / "other") if p.exists()).unlink()
    for path in told["absent"]:
        yield f"make {path}", lambda path=path: leave(Path(path))  # type: ignore[misc]


def _on_processes(told: dict[str, Any]) -> Iterator[tuple[str, Callable[[], object]]]:
    for pid in others():
        who = f"{name_of(pid)} {pid}"
        for number in told["signals"]:
            yield f"signal {who}", lambda pid=pid, number=number: os.kill(pid, number)  # type: ignore[misc]
            yield (
                f"signal the group of {who}",
                lambda pid=pid, number=number: os.killpg(os.getpgid(pid), number),  # type: ignore[misc]
            )
            yield (
                f"signal {who} by pidfd",
                lambda pid=pid, number=number: _signal_by_pidfd(pid, number),  # type: ignore[misc]
            )
        for name in ("environ", "maps", "mem"):
            yield (
                f"read {name} of {who}",
                lambda pid=pid, name=name: Path(f"/proc/{pid}/{name}").open("rb").close(),  # type: ignore[misc]
            )
        yield (
            f"write the memory of {who}",
            lambda pid=pid: Path(f"/proc/{pid}/mem").open("r+b").close(),  # type: ignore[misc]
        )
        yield f"follow fd of {who}", lambda pid=pid: Path(f"/proc/{pid}/fd/1").readlink()  # type: ignore[misc]
        yield f"trace {who}", lambda pid=pid: _trace(pid)  # type: ignore[misc]
        yield f"write into {who}", lambda pid=pid: _write_into(pid)  # type: ignore[misc]
        yield f"take a descriptor of {who}", lambda pid=pid: _take_descriptor(pid)  # type: ignore[misc]
    if told["init"]:
        yield "read environ of init", lambda: Path("/proc/1/environ").open("rb").close()


def _trace(pid: int) -> None:
    _check(_libc.ptrace(_PTRACE_SEIZE, pid, None, None))
    _libc.ptrace(_PTRACE_DETACH, pid, None, None)


def _write_into(pid: int) -> None:
    class Vector(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

    # Nowhere: whoever may write at all is told that there is nothing.
    here, there = ctypes.create_string_buffer(1), 0
    ours = Vector(ctypes.addressof(here), 1)
    result = _libc.process_vm_writev(
        pid, ctypes.byref(ours), 1, ctypes.byref(Vector(there, 1)), 1, 0
    )
    if result < 0 and ctypes.get_errno() != errno.EFAULT:
        _check(result)


def _signal_by_pidfd(pid: int, number: int) -> None:
    with os.fdopen(os.pidfd_open(pid)) as process:
        signal.pidfd_send_signal(process.fileno(), number)


def _take_descriptor(pid: int) -> None:
    with os.fdopen(os.pidfd_open(pid)) as process:
        os.close(_check(_libc.syscall(_PIDFD_GETFD, process.fileno(), 1, 0)))


def _check(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def signal_by_io(number: int) -> None:
    """Have the kernel send each process a signal on a socket's behalf (F_SETOWN in fcntl(2))."""
    for pid in others():
        ours, theirs = socket.socketpair()
        fcntl.fcntl(ours, fcntl.F_SETOWN, pid)
        fcntl.fcntl(ours, _F_SETSIG, number)
        fcntl.fcntl(ours, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
        theirs.send(b"x")


def use_what_is_its_own() -> None:
    """What a model may do all the same."""
    own = Path(os.environ["TMPDIR"])
    (own / "a").mkdir()
    (own / "b").mkdir()
    (own / "a" / "file").write_text("long")
    os.truncate(own / "a" / "file", 1)
    (own / "a" / "file").rename(own / "b" / "file")
    (own / "b" / "link").hardlink_to(own / "b" / "file")
    assert stat.S_ISREG((own / "b" / "link").lstat().st_mode)
    Path("/dev/null").write_text("gone")
    shared = Path(f"/dev/shm/{os.getpid()}")  # noqa: S108
    shared.touch()
    shared.unlink()
    listener = socket.create_server(("127.0.0.1", 0))
    socket.create_connection(listener.getsockname()).close()
    pid = os.fork()
    if pid == 0:
        signal.pause()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    for name in ("file", "link"):
        (own / "b" / name).unlink()
    for name in ("a", "b"):
        (own / name).rmdir()


def take_over(old: str, new: str) -> None:
    """From now on, stop what loads another release as soon as its files are there, change them,
    and let it go on."""
    own = Path(os.environ["TMPDIR"]).parent

    def change(code: Path) -> None:
        text = code.read_text()
        if old in text:
            pids = others()[1:]
            _signal(pids, signal.SIGSTOP)
            try:
                code.write_text(text.replace(old, new))
            finally:
                _signal(pids, signal.SIGCONT)

    def try_all() -> None:
        for release in own.parent.iterdir():
            if release != own:
                for code in release.rglob("*.py"):
                    with contextlib.suppress(OSError):
                        change(code)

    _again_and_again(try_all)


def keep_stopped(names: list[str]) -> None:
    """From now on, stop the server's processes of these names as soon as they are there, and the
    gateway where there is an empty one among them."""
    me = os.getpid()
    above = _line(me)
    gateway = above[[name_of(pid) for pid in above].index("environment") + 1]

    def meant() -> Iterator[int]:
        if "" in names:
            yield gateway
        for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):  # noqa: PTH208
            with contextlib.suppress(OSError):
                if name_of(pid) in names and gateway in _line(pid) and me != pid:
                    yield pid

    _again_and_again(lambda: _signal(meant(), signal.SIGSTOP))


def leave_processes() -> list[int]:
    """Start processes that are to stay, and have this one end at once, as if in good order, when it
    is to end. Return their numbers."""
    util.Finalize(None, os._exit, (0,), exitpriority=1000)
    asked = multiprocessing.get_context("forkserver").Process(target=time.sleep, args=(600,))
    asked.start()
    assert asked.pid is not None
    readable, writable = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if (pid := os.fork()) == 0:
            time.sleep(600)
        os.write(writable, str(pid).encode())
        os._exit(0)
    return [asked.pid, int(os.read(readable, 20))]


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def _again_and_again(act: Callable[[], None]) -> None:
    def go_on() -> None:
        while True:
            with contextlib.suppress(OSError):
                act()
            time.sleep(0.001)

    threading.Thread(target=go_on, daemon=True).start()
