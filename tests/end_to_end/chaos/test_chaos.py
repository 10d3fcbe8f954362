"""A short run of `make chaos`, with a schedule that is the same each time."""

from pathlib import Path

import pytest

from tests.end_to_end.chaos.run import run


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("seed", "seconds", "kills", "sharing"),
    [
        # Versions move before and after the registry is away, workers die at either time.
        (100, 12.0, True, "auto"),
        pytest.param(1, 20.0, True, "auto", marks=pytest.mark.faults),
        pytest.param(1, 12.0, True, "off", marks=pytest.mark.faults),
        pytest.param(2, 10.0, False, "auto", marks=pytest.mark.faults),
    ],
    ids=["kills", "kills for longer", "kills, not shared", "no kills"],
)
def test_chaos_fails_no_request_and_ends_in_order(
    tmp_path_factory: pytest.TempPathFactory,
    database: Path,
    seed: int,
    seconds: float,
    kills: bool,
    sharing: str,
) -> None:
    outcome = run(
        tmp_path_factory.mktemp("chaos"),
        seed,
        seconds,
        kills=kills,
        database=database,
        SHARE_MODEL=sharing,
    )
    print(outcome.summary, outcome.log, sep="\n")
    assert outcome.problems == []
