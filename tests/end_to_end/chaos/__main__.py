"""`make chaos`: CHAOS_SECONDS (60) of chaos, with CHAOS_SEED (random), CHAOS_KILLS (1)
and CHAOS_STREAMS (1): whether the versions wait and stream."""

import os
import random
import sys
import tempfile
from pathlib import Path

import mlflow

from tests.end_to_end.chaos.run import run


def main() -> int:
    """Run, print a summary, and return 1 if anything is wrong."""
    seconds = float(os.environ.get("CHAOS_SECONDS") or 60)
    seed = int(os.environ.get("CHAOS_SEED") or random.randrange(10**6))  # noqa: S311
    kills = os.environ.get("CHAOS_KILLS", "1") != "0"
    streams = os.environ.get("CHAOS_STREAMS", "1") != "0"
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        mlflow.set_tracking_uri(f"sqlite:///{directory}/unused.db")
        outcome = run(Path(directory), seed, seconds, kills=kills, streams=streams)
    summary, problems, server_log = outcome
    print(summary)
    if not problems:
        print("all is well")
        return 0
    for problem in problems[:20]:
        print(f"PROBLEM: {problem}")
    log = Path(tempfile.gettempdir()) / f"chaos-{seed}.log"
    log.write_text(server_log)
    print(f"{len(problems)} problems; the server's log is {log}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
