"""A short run of `make chaos`, with a schedule that is the same each time."""

from pathlib import Path

import pytest

from tests.end_to_end.chaos.run import run


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("seed", "seconds", "kills", "streams", "sharing"),
    [
        # Versions move before and after the registry is away, workers die at either time.
        (100, 12.0, True, False, "auto"),
        pytest.param(1, 20.0, True, True, "auto", marks=pytest.mark.faults),
        pytest.param(1, 12.0, True, False, "off", marks=pytest.mark.faults),
        pytest.param(2, 10.0, False, True, "auto", marks=pytest.mark.faults),
    ],
    ids=["kills", "kills for longer, streams", "kills, not shared", "no kills, streams"],
)
def test_chaos_fails_no_request_and_ends_in_order(
    tmp_path_factory: pytest.TempPathFactory,
    database: Path,
    seed: int,
    seconds: float,
    kills: bool,
    streams: bool,
    sharing: str,
) -> None:
    outcome = run(
        tmp_path_factory.mktemp("chaos"),
        seed,
        seconds,
        kills=kills,
        streams=streams,
        database=database,
        SHARE_MODEL=sharing,
    )
    print(outcome.summary, outcome.log, sep="\n")
    assert outcome.problems == []
