"""`make fuzz`: FUZZ_SECONDS (60) of random input, with FUZZ_SEED (random)."""

import os
import random
import signal
import sys
import tempfile
from pathlib import Path

import mlflow

from tests.fuzz.checks import both_ways, puppet
from tests.fuzz.fuzzing import fuzz
from tests.fuzz.requests import pipelines
from tests.fuzz.writings import writings
from tests.support.models import SavedModels
from tests.support.registry import Registry


def main() -> int:
    """Fuzz, and tell what was tried; what is wrong is raised."""
    # As Ctrl-C does, so that servers are ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seconds = float(os.environ.get("FUZZ_SECONDS") or 60)
    seed = int(os.environ.get("FUZZ_SEED") or random.randrange(10**6))  # noqa: S311
    print(f"FUZZ_SEED={seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        directory = Path(name)
        uri = f"sqlite:///{directory}/mlflow.db"
        mlflow.set_tracking_uri(uri)
        registry = Registry(uri)
        registry.client.search_registered_models()
        (directory / "models").mkdir()
        saved = SavedModels(directory / "models")
        with both_ways(directory, registry, saved) as ways:
            count = fuzz(ways.check, pipelines(), seed, seconds / 2)
        print(f"{count} pipelines were answered the same both ways", flush=True)
        with puppet(directory, registry, saved) as model:
            for check, what, share in (
                (model.check_predicting, "a worker writes beside its answer", 6),
                (model.check_answering, "a worker writes in place of its answer", 6),
                (model.check_loading, "a version writes while it loads", 6),
            ):
                count = fuzz(check, writings(), seed, seconds / share)
                print(f"{count} times {what}, and others answered on", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
