"""`python -m benchmarks.kinds.saving MODULE FUNCTION DIRECTORY`: save a model in `model`, and in
`rows.json` what it is asked."""

import importlib
import logging
import sys
import warnings
from pathlib import Path

from benchmarks.kinds.requests import BODIES, ROWS, Requests


def main(module: str, function: str, directory: Path) -> None:
    """Make a model."""
    # MLflow recommends this and that to who saves one.
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    make = getattr(importlib.import_module(f"benchmarks.kinds.saving.{module}"), function)
    requests: Requests = make(str(directory / "model"))
    assert len(requests.rows) == ROWS
    assert len({str(row) for row in requests.rows[:BODIES]}) == BODIES
    requests.save(directory / "rows.json")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
