"""Whether predictions write to temporary files that loading has made.

Each process that loads a model has files of its own then. Workers that are forked from one have
the same, and would read what another one has written.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

Files: TypeAlias = Mapping[str, tuple[int, int, int]]
"""What changes in a file, or in a folder, when it is written to, by its path."""


def look_at_files(folder: Path) -> Files:
    """What there is below a folder."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            found[str(path)] = (status.st_ino, status.st_mtime_ns, status.st_size)
    return found


def what_forbids_sharing(loaded: Files, rehearsed: Files, *, asked: bool) -> str | None:
    """Why workers must not share the temporary files of this process; None where they may.

    What predictions make for themselves has names of its own in each process (`tempfile`).

    Args:
        loaded: What there was when the model had been loaded.
        rehearsed: What there was when it had answered requests.
        asked: Whether it has answered any.

    Returns:
        A sentence for users.
    """
    if any(rehearsed.get(path) != status for path, status in loaded.items()):
        return "predictions write to temporary files that loading has made"
    if loaded and not asked:
        return "loading has left temporary files, and no request shows whether they are written to"
    return None
