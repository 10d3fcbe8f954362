"""The directories that models are downloaded into."""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "mlflow-server-"
_LOCK = ".lock"


class Scratch:
    """A directory of this gateway's own, with a directory for each release in it.

    Only this user can read it. A lock says that its gateway runs: directories whose lock nobody
    holds were left by a gateway that was killed, and are removed when the next one starts.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self.parent = parent or Path(tempfile.gettempdir())
        self._remove_abandoned()
        # Under a name that nobody looks for until the lock is held: a gateway that starts at the
        # same time would take it for abandoned.
        path = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=self.parent))
        self._lock = os.open(path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.path = path.rename(self.parent / path.name.removeprefix("."))
        self._releases = 0

    def new_directory(self, label: str) -> Path:
        """Make an empty directory for a release.

        Raises:
            OSError: the file system does not allow it.
        """
        self._releases += 1
        safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in label)
        directory = self.path / f"{self._releases}-{safe}"
        # Whoever cleans up temporary files may have removed it.
        self.path.mkdir(mode=0o700, exist_ok=True)
        directory.mkdir(mode=0o700)
        return directory

    def close(self) -> None:
        """Remove everything."""
        remove_tree(self.path)
        os.close(self._lock)

    def _remove_abandoned(self) -> None:
        for directory in self.parent.glob(f"{_PREFIX}*"):
            if _is_abandoned(directory):
                remove_tree(directory)


def _is_abandoned(directory: Path) -> bool:
    try:
        lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        # Another user's, or nothing of a gateway's.
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


def remove_tree(directory: Path) -> None:
    """Remove a directory and all in it, as far as that is possible; a model may have written
    files that can't be removed, and that must not stop a swap."""
    shutil.rmtree(directory, ignore_errors=True)
