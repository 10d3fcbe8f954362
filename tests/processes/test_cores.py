"""How many threads a worker's libraries get."""

import os
from pathlib import Path

import pytest

from server.processes import cores
from server.worker.threads import CORE_VARIABLES, POOL_VARIABLES, THREAD_VARIABLES

ALL = THREAD_VARIABLES + POOL_VARIABLES + CORE_VARIABLES


@pytest.fixture
def cpu_max(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that holds the container's quota, on a machine with eight cores."""
    path = tmp_path / "cpu.max"
    monkeypatch.setattr(cores, "_CPU_MAX", path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for name in ALL:
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
    for workers, threads in {1: "8", 2: "4", 3: "2", 8: "1", 100: "1"}.items():
        assert cores.thread_variables(workers) == dict.fromkeys(ALL, threads)


def test_what_the_user_set_stays_and_the_others_follow_it(
    cpu_max: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MKL_NUM_THREADS", "2")
    chosen = {"MKL_NUM_THREADS": "2"}
    assert cores.thread_variables(1) == {**dict.fromkeys(ALL, "1"), **chosen}
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert cores.thread_variables(1) == {**dict.fromkeys(ALL, "3"), **chosen}


def test_the_size_of_one_pool_says_nothing_of_the_others(
    cpu_max: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLARS_MAX_THREADS", "3")
    assert cores.thread_variables(2) == {**dict.fromkeys(ALL, "4"), "POLARS_MAX_THREADS": "3"}


@pytest.mark.parametrize(("said", "size"), [("3,2", "3"), ("unknown", "8")])
def test_pools_take_the_first_number_that_openmp_is_told(
    cpu_max: Path, monkeypatch: pytest.MonkeyPatch, said: str, size: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    variables = cores.thread_variables(1)
    assert {variables[name] for name in THREAD_VARIABLES} == {said}
    assert {variables[name] for name in POOL_VARIABLES + CORE_VARIABLES} == {size}
