"""How much memory the server takes itself to have."""

import os
from pathlib import Path

import pytest

from server.processes import memory

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("version_2", "version_1", "expected"),
    [
        (None, None, MACHINE),
        ("268435456\n", None, 268435456),
        ("max\n", None, MACHINE),
        (None, "134217728\n", 134217728),
        (None, "9223372036854771712\n", MACHINE),
    ],
)
def test_the_limit_of_the_container_counts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version_2: str | None,
    version_1: str | None,
    expected: int,
) -> None:
    paths = (tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes")
    monkeypatch.setattr(memory, "_LIMITS", paths)
    for path, text in zip(paths, (version_2, version_1), strict=True):
        if text is not None:
            path.write_text(text)
    assert memory.available_memory() == expected
