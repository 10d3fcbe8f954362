"""How many threads a worker's libraries get."""

import os
from pathlib import Path

import pytest

from server.processes import cores
from server.processes.cores import THREAD_VARIABLES


@pytest.fixture
def cpu_max(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that holds the container's quota, on a machine with eight cores."""
    path = tmp_path / "cpu.max"
    monkeypatch.setattr(cores, "_CPU_MAX", path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, 8),
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("50000 100000\n", 1),
        ("1600000 100000\n", 8),
        ("nonsense", 8),
    ],
)
def test_the_quota_of_the_container_counts(cpu_max: Path, text: str | None, expected: int) -> None:
    if text is not None:
        cpu_max.write_text(text)
    assert cores.available_cores() == expected


def test_workers_share_the_cores(cpu_max: Path) -> None:
    assert [cores.threads_per_worker(n) for n in (1, 2, 3, 8, 100)] == [8, 4, 2, 1, 1]


def test_what_the_user_set_stays(cpu_max: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert cores.threads_per_worker(1) is None
