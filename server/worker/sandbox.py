"""What a model's code may not do to others: the rules, as far as this kernel can hold them.

Reading stays free, and so do connections and ports: models ask databases, and Spark binds ports.
"""

import errno
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from . import landlock
from .landlock import Files, Scopes

# From which ABI on the kernel can hold what.
_FILES = 2
_TRUNCATION = 3
_SIGNALS = 6

# `multiprocessing` has its semaphores and memory in /dev/shm, and GPUs are devices.
_DEVICES = "/dev"
# Where this server's code is.
_CODE = Path(__file__).resolve().parents[2]


def lacking(abi: int) -> str | None:
    """What a kernel lacks to hold all of it, as a sentence for users; None where it can.

    Args:
        abi: Its version of Landlock.
    """
    if abi == 0:
        return "this kernel has no Landlock"
    if abi < _FILES:
        return f"Landlock ABI {abi} can't allow files to be moved between folders"
    if abi < _SIGNALS:
        return f"Landlock ABI {abi} can't forbid signals, which takes ABI {_SIGNALS} (Linux 6.12)"
    return None


class Sandbox:
    """Confines threads, and so what they start, in what the kernel can hold.

    Args:
        setting: `auto`, `required` or `off`.
        writable: Files and folders that may be written to, beside `/dev`.
        abi: The kernel's version of Landlock.
    """

    def __init__(self, setting: str, writable: Sequence[str], abi: int) -> None:
        self._required = setting == "required"
        self._abi = abi
        self._why_not = "SANDBOX=off" if setting == "off" else None
        if self._why_not is None and (self._required or abi < _FILES):
            self._why_not = lacking(abi)
        self._writable = (*writable, _DEVICES)
        self._entered = False

    def enter(self) -> None:
        """Confine the calling thread; and in a process that was forked from one that is confined
        already, once more: then it is so towards that one, too.

        Raises:
            OSError: the kernel can't or won't, and it is required, or holds above this process.
        """
        if self._why_not is not None:
            if self._required:
                raise OSError(errno.EOPNOTSUPP, f"SANDBOX=required: {self._why_not}")
            return
        files = Files(sum(Files))
        if self._abi < _TRUNCATION:
            files &= ~Files.TRUNCATE
        scopes = Scopes(sum(Scopes)) if self._abi >= _SIGNALS else Scopes(0)
        try:
            landlock.restrict(files, scopes, self._writable)
        except OSError as error:
            if self._required or self._entered:
                raise
            self._why_not = f"the kernel refuses it: {error.strerror}"
        else:
            self._entered = True

    @property
    def holds(self) -> bool:
        """Whether anything is held."""
        return self._entered

    def describe(self) -> str:
        """What holds, for users: what processes are kept from, or why from nothing."""
        if self._why_not is not None:
            return f"none: {self._why_not}"
        return f"Landlock ABI {self._abi}: {', '.join(self._held())}"

    def explain(self, error: BaseException) -> str:
        """What to add to what is said of an error, if it may come of what is held; else nothing."""
        if self._why_not is not None or not any(map(_is_refusal, _chain(error))):
            return ""
        return (
            ". The sandbox lets a model write in its version's own folder, in /dev and in what"
            " SANDBOX_WRITABLE names, and nowhere else"
        )

    def _held(self) -> Iterator[str]:
        yield "files" if self._abi >= _TRUNCATION else "files (but not from being cut short)"
        yield "memory of other processes"
        if self._abi >= _SIGNALS:
            yield "signals"
            yield "abstract sockets"


def tracking_store(uri: str | None) -> tuple[str, ...]:
    """The folder of a tracking store that is a local path, or a SQLite database, whose journals lie
    beside it: what a model logs goes there. None that this server's code is in.

    Args:
        uri: As in `MLFLOW_TRACKING_URI`.
    """
    if not uri:
        return ()
    scheme, _, rest = uri.partition(":")
    if scheme.partition("+")[0] == "sqlite":
        # As SQLAlchemy reads it: of three slashes, the last one is not the path's.
        database = Path(rest.removeprefix("///").partition("?")[0])
        if database.name in ("", ":memory:"):
            return ()
        folder = database.parent
    elif scheme == "file":
        folder = Path(unquote(urlsplit(uri).path))
    elif "/" in uri and not urlsplit(uri).scheme:
        folder = Path(uri)
    else:
        return ()
    folder = folder.resolve()
    return () if _CODE.is_relative_to(folder) else (str(folder),)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it came of, which libraries wrap."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_refusal(error: BaseException) -> bool:
    # Files that may not be moved out of a folder seem to be on another device.
    return isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EXDEV)
