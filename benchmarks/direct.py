"""Calling the model without a server: `python -m benchmarks.direct MODEL_PATH TEXTS SECONDS`.

TEXTS is a JSON file with a list of texts. Prints JSON: the label of each, and the median time of
`model.predict` of one row, in milliseconds.
"""

import itertools
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.errors import BenchmarkError
from benchmarks.paths import REPOSITORY


def predict_directly(model_path: Path, texts: Path, seconds: float) -> dict[str, Any]:
    """Run this module in a process of its own; the keys are `labels` and `p50_ms`.

    Raises:
        BenchmarkError: it failed.
    """
    command = [sys.executable, "-m", "benchmarks.direct", str(model_path), str(texts), str(seconds)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise BenchmarkError(f"calling the model directly failed:\n{result.stderr.strip()}")
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def _main(model_path: str, texts_path: str, seconds: float) -> None:
    # Here, as the parent needs none of it.
    import mlflow.pyfunc
    import pandas as pd

    model = mlflow.pyfunc.load_model(model_path)
    texts = json.loads(Path(texts_path).read_text())
    labels = model.predict(pd.DataFrame({"text": texts})).tolist()
    rows = [pd.DataFrame({"text": [text]}) for text in texts]
    durations = []
    end = time.monotonic() + seconds
    for row in itertools.cycle(rows):
        started = time.perf_counter()
        model.predict(row)
        durations.append(time.perf_counter() - started)
        if time.monotonic() > end:
            break
    json.dump({"labels": labels, "p50_ms": 1000 * statistics.median(durations)}, sys.stdout)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
