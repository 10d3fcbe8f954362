"""Where the benchmarks read and write."""

from pathlib import Path

PACKAGE = Path(__file__).parent
REPOSITORY = PACKAGE.parent
BENCH = REPOSITORY / ".bench"
RESULTS = PACKAGE / "results"
