"""A short run of `make chaos`, with a schedule that is the same each time."""

from pathlib import Path

import pytest

from tests.end_to_end.chaos.run import run

SECONDS = 20.0


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("seed", "kills"),
    [(1, True), pytest.param(2, False, marks=pytest.mark.faults)],
    ids=["kills", "no kills"],
)
def test_chaos_fails_no_request_and_ends_in_order(
    tmp_path: Path, database: Path, seed: int, kills: bool
) -> None:
    outcome = run(tmp_path, seed, SECONDS if kills else SECONDS / 2, kills=kills)
    print(outcome.summary, outcome.log, sep="\n")
    assert outcome.problems == []
